#!/usr/bin/env bash
# compare.sh BASE [PACKAGE...] runs the microbenchmarks of this tree and of
# revision BASE in turn, and shows how they differ. COUNT is how often each runs.
set -euo pipefail
cd "$(dirname "$0")/.."

BASE=${1:?usage: bench/compare.sh BASE [PACKAGE...]}
shift
[ $# -gt 0 ] || set -- ./internal/wire ./internal/registry ./internal/backend ./transport/... ./bridge
COUNT=${COUNT:-6}

work=$(mktemp -d)
trap 'git worktree remove --force "$work/base" >/dev/null 2>&1 || true; rm -rf "$work"' EXIT
git worktree add --quiet --detach "$work/base" "$BASE"
for ((i = 0; i < COUNT; i++)); do # in turn, since machines change speed
  for tree in "$work/base" .; do
    name=$([ "$tree" = . ] && echo new || echo base)
    (cd "$tree" && go test -run '^$' -bench . -benchmem -benchtime 0.2s "$@") >>"$work/$name.txt"
  done
done
go tool -modfile=tools/go.mod benchstat "base=$work/base.txt" "new=$work/new.txt"
