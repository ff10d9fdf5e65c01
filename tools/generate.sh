#!/usr/bin/env bash
# Regenerates what is generated and committed: Go code from the .proto files,
# and the JavaScript bundle. Needs protoc; the generators come from tools/go.mod.
set -euo pipefail
cd "$(dirname "$0")/.."

bin=$PWD/.cache/bin
mkdir -p "$bin"
for package in google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc; do
  go build -modfile=tools/go.mod -o "$bin/" "$package"
done
PATH=$bin:$PATH go generate ./...
