#!/usr/bin/env bash
# Generates test/gen: the clients that the tests of the adapters use, from the
# test service's .proto, as an application would: one folder for each generator.
# Run by `npm run generate`. Needs protoc. protoc-gen-ts is kept out of
# package.json: its command has the name of @protobuf-ts/plugin's.
set -euo pipefail
cd "$(dirname "$0")/.."

old=$(mktemp -d)
trap 'rm -rf "$old"' EXIT
npm install --prefix "$old" --silent --no-save protoc-gen-ts@0.8.7

# generate FOLDER PLUGIN COMMAND OPTIONS
generate() {
  rm -rf "test/gen/$1"
  mkdir -p "test/gen/$1"
  protoc -I ../internal/testsvc/echopb --plugin="protoc-gen-$2=$3" "--$2_out=$4:test/gen/$1" echo.proto
}
generate connect es node_modules/.bin/protoc-gen-es target=ts,import_extension=js
generate protobuf-ts ts node_modules/@protobuf-ts/plugin/bin/protoc-gen-ts long_type_number,ts_nocheck
generate nice-grpc ts_proto node_modules/.bin/protoc-gen-ts_proto outputServices=nice-grpc,outputServices=generic-definitions,esModuleInterop=true,importSuffix=.js
generate grpc-web ts "$old/node_modules/.bin/protoc-gen-ts" target=web
# It names the types of @grpc/grpc-js, for servers that nobody has here.
sed -i '1i // @ts-nocheck' test/gen/grpc-web/echo.ts
