#!/usr/bin/env bash
# run.sh runs the public conformance suite (connectrpc.com/conformance) through
# bridges.
#
#   conformance/run.sh                 in every mode
#   conformance/run.sh ws node-ws      only in these, of the lists below
#
# A mode of the Go client, in conformance/, is a transport and what lies on the
# way; one of the JavaScript client, in conformance/js, is where it runs and its
# transport. Every case must pass in each. That an RPC reached the server twice
# is a failure too.
set -euo pipefail
cd "$(dirname "$0")/.."

CASES=646
GO=(ws longpoll buffered upgrade switched cut-ws cut-longpoll cut)
JS=(node-ws node-longpoll chromium-ws chromium-longpoll)

# client MODE prints the command that runs the client under test.
client() {
  local go=$bin/conformance js="node jsclient/.test/conformance/main.js --bridge $bin/bridge --bundle jsclient/bundle/client.js"
  case $1 in
    ws | longpoll) echo "$go -transport $1" ;;
    buffered) echo "$go -transport longpoll -network buffered" ;;
    upgrade) echo "$go -fresh" ;;             # each RPC begins on longpoll
    switched) echo "$go -network switched" ;; # to longpoll and back again and again
    cut-ws | cut-longpoll) echo "$go -transport ${1#cut-} -network cut" ;;
    cut) echo "$go -network cut" ;;
    node-ws | node-longpoll) echo "$js --transport ${1#node-}" ;;
    chromium-ws | chromium-longpoll) echo "$js --transport ${1#chromium-} --chromium $(command -v chromium)" ;;
    *) echo "conformance/run.sh: mode $1 is none of ${GO[*]} ${JS[*]}" >&2 && return 2 ;;
  esac
}

run() {
  local mode=$1 command log=$bin/../conformance-$1.log start
  command=$(client "$mode")
  start=$(date +%s%N)
  # shellcheck disable=SC2086 # a command is words
  "$bin/connectconformance" --mode client --conf conformance/suite.yaml -- $command >"$log" 2>&1 &&
    grep -qx "$CASES passed, 0 failed" "$log" ||
    { cat "$log" && echo "$mode failed, of $CASES cases" && return 1; }
  echo "DONE $CASES tests of $mode in $((($(date +%s%N) - start) / 1000000)) ms"
}

# bundle_driver compiles what drives the JavaScript client.
bundle_driver() (
  cd jsclient
  [ -d node_modules ] || { echo 'installing npm packages' && npm ci --no-audit --no-fund; }
  npm run --silent conformance
)

bin=$PWD/.cache/bin
mkdir -p "$bin"
go build -modfile=tools/conformance/go.mod -o "$bin/" connectrpc.com/conformance/cmd/connectconformance
go build -o "$bin/" ./conformance ./cmd/bridge
[ $# -gt 0 ] || set -- "${GO[@]}" "${JS[@]}"
[[ " $* " != *" node-"* && " $* " != *" chromium-"* ]] || bundle_driver
for mode; do run "$mode"; done
