#!/usr/bin/env bash
# Generates this package from the suite's .proto files, at the version that
# tools/conformance/go.mod names.
set -euo pipefail
suite=connectrpc.com/conformance
tools=../../../tools/conformance/go.mod
go mod download -modfile="$tools" "$suite"
dir=connectrpc/conformance/v1
files=()
for name in client_compat config server_compat service; do
  files+=("--go_opt=M$dir/$name.proto=github.com/pollbridge/pollbridge/conformance/gen/conformancepb" "$dir/$name.proto")
done
protoc -I "$(go list -modfile="$tools" -m -f '{{.Dir}}' "$suite")/proto" \
  --go_out=../../.. --go_opt=module=github.com/pollbridge/pollbridge "${files[@]}"
