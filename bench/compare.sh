#!/usr/bin/env bash
# compare.sh BASE [ROUNDS [MEASUREMENTS]] measures this tree and revision BASE in
# turn, in one run, and shows by benchstat how they differ: RPCs (of the pages up
# to revision ecd058d the rows 1, 2 and 5, and server streams of 64 KiB), an idle
# session's memory (10), the storm (15) and the first answer in a page (18). Both
# are measured by this tree's benchmark, each built with the client of its own.
set -euo pipefail
cd "$(dirname "$0")"

tree=$(cd .. && pwd)
base=${1:?usage: bench/compare.sh BASE [ROUNDS [MEASUREMENTS]]}
rounds=${2:-5}
only=${3:-rpc,memory,storm,first}
scenarios='^(unary, 1 session|unary, 64 sessions|server stream|memory|first)'
ways='^(Pollbridge (ws|longpoll)|Pollbridge (ws|longpoll): a(n idle session| session whose reader stopped)|Pollbridge, .*|Pollbridge longpoll, .*|bare .*)$'

export GOFLAGS="-buildvcs=false ${GOFLAGS:-}"
work=$(mktemp -d)
trap 'git worktree remove --force "$work/base" >/dev/null 2>&1 || true; rm -rf "$work"' EXIT
git worktree add --quiet --detach "$work/base" "$base"
rm -rf "$work/base/bench" # part of the module then, perhaps

# build NAME TREE builds the benchmark with the client and the bridge of a tree.
build() {
  sed "s|=> ../\$|=> $2|" go.mod >"$work/$1.mod"
  cp go.sum "$work/$1.sum"
  go build -mod=mod -modfile="$work/$1.mod" -o "$work/bench-$1" .
}

# measure NAME TREE
measure() {
  "$work/bench-$1" -tree "$2" -only "$only" -own-only -rounds 3 -scenarios "$scenarios" -ways "$ways" -format go >>"$work/$1.txt"
}

build base "$work/base"
build new "$tree"
for ((i = 0; i < rounds; i++)); do # in turn, and each first as often: machines change speed
  order=(base new)
  [ $((i % 2)) = 0 ] || order=(new base)
  for name in "${order[@]}"; do
    measure "$name" "$([ "$name" = base ] && echo "$work/base" || echo "$tree")"
  done
done
go tool -modfile=../tools/go.mod benchstat "base=$work/base.txt" "new=$work/new.txt"
