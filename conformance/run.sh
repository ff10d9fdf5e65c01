#!/usr/bin/env bash
# run.sh runs the public conformance suite (connectrpc.com/conformance) through
# a bridge.
#
#   conformance/run.sh              in every mode
#   conformance/run.sh ws longpoll  only in these, of the list below
#
# A mode is a transport and what lies on the way; every case must pass in each.
# That an RPC reached the server twice is a failure too.
set -euo pipefail
cd "$(dirname "$0")/.."

CASES=646
MODES=(ws longpoll buffered upgrade switched cut-ws cut-longpoll cut)

flags() {
  case $1 in
    ws | longpoll) echo "-transport $1" ;;
    buffered) echo "-transport longpoll -network buffered" ;;
    upgrade) echo "-fresh" ;;             # each RPC begins on longpoll
    switched) echo "-network switched" ;; # to longpoll and back again and again
    cut-ws | cut-longpoll) echo "-transport ${1#cut-} -network cut" ;;
    cut) echo "-network cut" ;;
    *) echo "conformance/run.sh: mode $1 is none of ${MODES[*]}" >&2 && return 2 ;;
  esac
}

run() {
  local mode=$1 options log=$bin/../conformance-$1.log start
  options=$(flags "$mode")
  start=$(date +%s%N)
  # shellcheck disable=SC2086 # options are words
  "$bin/connectconformance" --mode client --conf conformance/suite.yaml -- \
    "$bin/conformance" $options >"$log" 2>&1 && grep -qx "$CASES passed, 0 failed" "$log" ||
    { cat "$log" && echo "$mode failed, of $CASES cases" && return 1; }
  echo "DONE $CASES tests of $mode in $((($(date +%s%N) - start) / 1000000)) ms"
}

bin=$PWD/.cache/bin
mkdir -p "$bin"
go build -modfile=tools/conformance/go.mod -o "$bin/" connectrpc.com/conformance/cmd/connectconformance
go build -o "$bin/" ./conformance
[ $# -gt 0 ] || set -- "${MODES[@]}"
for mode; do run "$mode"; done
