#!/usr/bin/env bash
# pgo.sh writes cmd/bridge/default.pgo, by which go build then compiles the bridge: a
# profile of it under the benchmark's RPCs.
set -euo pipefail
cd "$(dirname "$0")"

profiles=$(mktemp -d)
trap 'rm -rf "$profiles"' EXIT
go run . -only rpc -own-only -rounds 1 -window 4s -ways '^Pollbridge' -profiles "$profiles" -out /dev/null
go tool pprof -proto -output ../cmd/bridge/default.pgo "$profiles"/*.cpu
