#!/usr/bin/env bash
# Generates gen from the suite's .proto files, at the version that
# tools/conformance/go.mod names. Needs protoc and jsclient's npm packages.
set -euo pipefail
cd "$(dirname "$0")"
suite=connectrpc.com/conformance
tools=../../tools/conformance/go.mod
go mod download -modfile="$tools" "$suite"
rm -rf gen
mkdir gen
protoc -I "$(go list -modfile="$tools" -m -f '{{.Dir}}' "$suite")/proto" \
  --plugin=../../jsclient/node_modules/.bin/protoc-gen-es --es_out=gen --es_opt=target=ts,import_extension=js \
  connectrpc/conformance/v1/{client_compat,config,service}.proto
