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
# is a failure too. In the modes that begin with rpc the bridge is the server
# under test, for clients without a session: rpc-http1 and rpc-http2 by version of
# HTTP, and rpc-json with messages in JSON that the bridge does not convert.
set -euo pipefail
cd "$(dirname "$0")/.."

CASES=646
declare -A RPC=([rpc-http1]=1392 [rpc-http2]=2420 [rpc-json]=3812) # cases
GO=(ws longpoll buffered upgrade switched cut-ws cut-longpoll cut)
JS=(node-ws node-longpoll chromium-ws chromium-longpoll)

# What the suite may say of cases by chance, and of which.
#
# Its client ends an RPC at the same time as a server that keeps to its deadline.
# Where it does so between head and body of the server's answer, it takes it that
# the body was empty. Its own server answers late.
RACE='Timeouts/*/Protocol:PROTOCOL_CONNECT/**/unary'
# A deadline may arrive shorter by 500 ms, in its eyes; what comes again after cuts
# of its connections may take longer.
CUT='**/success'
CHANCE='connect error JSON: unexpected end of JSON input|server echoed back a timeout [(][0-9]+ ms[)] that did not match expected [(]2000 ms[)]'

# arguments MODE prints what connectconformance is given.
arguments() {
  local server="--mode server --conf conformance/rpc.yaml --known-flaky $RACE" bridge="$bin/conformance -serve $bin/referenceserver"
  case $1 in
    rpc-http1 | rpc-http2) echo "$server --run **/HTTPVersion:${1#rpc-http}/** -- $bridge" ;;
    rpc-json) echo "$server -- $bridge -pass-json" ;;
    cut*) echo "--mode client --conf conformance/suite.yaml --known-flaky $CUT -- $(client "$1")" ;;
    *) client "$1" | sed 's|^|--mode client --conf conformance/suite.yaml -- |' ;;
  esac
}

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
    *) echo "conformance/run.sh: mode $1 is none of ${GO[*]} ${JS[*]} ${!RPC[*]}" >&2 && return 2 ;;
  esac
}

run() {
  local mode=$1 command log=$bin/../conformance-$1.log start
  command=$(arguments "$mode")
  start=$(date +%s%N)
  local cases=${RPC[$mode]:-$CASES}
  set -f # a pattern of cases is one word
  # shellcheck disable=SC2086 # a command is words
  "$bin/connectconformance" $command >"$log" 2>&1 &&
    all_passed "$log" "$cases" ||
    { cat "$log" && echo "$mode failed, of $cases cases" && return 1; }
  echo "DONE $cases tests of $mode in $((($(date +%s%N) - start) / 1000000)) ms"
}

# all_passed LOG CASES reports whether all cases passed, but by CHANCE.
all_passed() {
  awk -v cases="$2" -v chance="^\t($CHANCE)$" '
    /^[0-9]+ passed, 0 failed$/ { n += $1 }
    /^INFO: .* failed \(as expected\):$/ { getline; if ($0 ~ chance) n++ }
    END { exit n != cases }' "$1"
}

# bundle_driver compiles what drives the JavaScript client.
bundle_driver() (
  cd jsclient
  [ -d node_modules ] || { echo 'installing npm packages' && npm ci --no-audit --no-fund; }
  npm run --silent conformance
)

bin=$PWD/.cache/bin
mkdir -p "$bin"
go build -modfile=tools/conformance/go.mod -o "$bin/" connectrpc.com/conformance/cmd/connectconformance connectrpc.com/conformance/cmd/referenceserver
go build -o "$bin/" ./conformance ./cmd/bridge
[ $# -gt 0 ] || set -- "${GO[@]}" "${JS[@]}" "${!RPC[@]}"
[[ " $* " != *" node-"* && " $* " != *" chromium-"* ]] || bundle_driver
for mode; do run "$mode"; done
