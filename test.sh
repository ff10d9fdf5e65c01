#!/usr/bin/env bash
# test.sh runs everything that CI runs, on a machine with Go and, for the parts
# in JavaScript, Node. What else is missing it installs and says so.
#
#   ./test.sh             everything
#   ./test.sh check go    only these parts, of: check fresh go
#                         conformance js browser proxies fuzz lint
#
# A part that cannot run here is named in one line; with CI=true that fails.
set -euo pipefail
cd "$(dirname "$0")"

PARTS=(check fresh go sim conformance js browser proxies fuzz lint)
FUZZ_TIME=${FUZZ_TIME:-20s}
NODE_MIN=20

# A checkout owned by somebody else, or none at all, must not fail the build.
export GOFLAGS="-buildvcs=false ${GOFLAGS:-}"

logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
passed=0 failed=0
left_out=() failed_steps=()

# ---- steps ------------------------------------------------------------------

# step NAME BUDGET COMMAND... runs one step with its output in a log. BUDGET is
# what it may take on two cores with warm caches, in seconds.
step() {
  local name=$1 budget=$2 log start took result=ok
  shift 2
  log=$logs/$(printf '%s' "$name" | tr -c 'a-z0-9' '-')
  start=$(date +%s%N)
  # In the background and waited for: set -e does not reach into a command
  # whose status is tested in place.
  ("$@") >"$log" 2>&1 </dev/null &
  wait $! || result=FAIL
  took=$((($(date +%s%N) - start) / 1000000))
  printf '%d\t%d\t%s\n' "$took" "$budget" "$name" >>"$logs/.times"
  printf '%-4s  %-28s %6s s\n' "$result" "$name" "$(seconds "$took")"
  if [ $result = ok ]; then
    results "$log"
    tally "$log"
  else
    failing "$name" "$log"
  fi
}

# failing shows a failed step's output and remembers it: the other steps go on,
# so that one run tells all there is to mend.
failing() {
  local before=$failed
  failed_steps+=("$1")
  printf '\n'
  cat "$2"
  tally "$2"
  [ "$failed" -gt "$before" ] || failed=$((failed + 1)) # it broke outside of a test
}

seconds() { printf '%d.%d' $(($1 / 1000)) $(($1 % 1000 / 100)); }

# results shows what a passed step's tests say of themselves.
results() { { grep -hE '^(ok  |--- [A-Z]+: [^/]*$|DONE |(#|ℹ) (tests|pass|fail) |.*(\| all \||none lost|named exactly))' "$1" || true; } | sed 's/^/      /'; }

# tally adds the counts of gotestsum ("DONE 9 tests, 1 skipped, 1 failure in
# 1s") and of node --test ("# pass 9", "# fail 0") to the sums.
tally() {
  local p f
  read -r p f < <(awk '
    /^DONE [0-9]+ tests?/ {
      n = $2; s = 0; x = 0
      for (i = 3; i < NF; i++) { if ($(i + 1) ~ /^skipped/) s = $i; if ($(i + 1) ~ /^failure/) x = $i }
      p += n - s - x; f += x
    }
    /^(#|ℹ) pass [0-9]+$/ { p += $3 }
    /^(#|ℹ) fail [0-9]+$/ { f += $3 }
    END { print p + 0, f + 0 }' "$1")
  passed=$((passed + p)) failed=$((failed + f))
}

# leave_out PART REASON notes a part that cannot run on this machine.
leave_out() {
  left_out+=("$1: $2")
  printf 'LEFT OUT  %s: %s\n' "$1" "$2"
}

finish() {
  local line
  if [ -s "$logs/.times" ]; then
    printf '\nSlowest steps (of their budget, in seconds):\n'
    sort -rn "$logs/.times" | head -n 10 | while IFS=$'\t' read -r took budget name; do
      printf '  %7s of %4d  %s%s\n' "$(seconds "$took")" "$budget" "$name" \
        "$([ "$took" -le $((budget * 1000)) ] || printf '  (over)')"
    done
  fi
  for line in ${left_out[@]+"${left_out[@]}"}; do printf '\nLEFT OUT  %s\n' "$line"; done
  for line in ${failed_steps[@]+"${failed_steps[@]}"}; do printf '\nFAIL  %s\n' "$line"; done
  printf '\n%d passed, %d failed\n' "$passed" "$failed"
}

# ---- what the machine must have ---------------------------------------------

# need COMMAND PACKAGE makes sure that COMMAND exists, installing Debian's
# PACKAGE when root there. It fails when the command is still missing.
need() {
  command -v "$1" >/dev/null && return
  install_package "$2" "$1"
  command -v "$1" >/dev/null
}

# install_package PACKAGE FOR installs a Debian package, or does nothing if it cannot.
install_package() {
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 0
  printf 'installing Debian package %s, for %s\n' "$1" "$2"
  apt_install "$1" >"$logs/apt" 2>&1 || tail -n 5 "$logs/apt"
}

# apt_install installs without recommendations and without starting services.
apt_install() {
  local policy=/usr/sbin/policy-rc.d mine=
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    mine=yes
  fi
  export DEBIAN_FRONTEND=noninteractive
  local ok=0
  apt-get install -y --no-install-recommends "$@" ||
    { apt-get update && apt-get install -y --no-install-recommends "$@"; } || ok=1
  [ -z "$mine" ] || rm -f "$policy"
  return $ok
}

# need_protos makes sure that protoc has the .proto files that come with it,
# which Debian packs apart.
need_protos() {
  protoc_imports && return
  install_package libprotobuf-dev protoc
  protoc_imports
}

protoc_imports() { protoc -o /dev/null google/protobuf/any.proto 2>/dev/null; }

need_node() {
  need node nodejs && need npm npm || return 1
  [ "$(node -p 'process.versions.node.split(".")[0]')" -ge "$NODE_MIN" ]
}

# npm_packages FOLDER installs a folder's packages, when its lock file changed only.
npm_packages() {
  local stamp=node_modules/.stamp
  cd "$1"
  cmp -s package-lock.json "$stamp" && return
  echo "installing npm packages"
  npm ci --no-audit --no-fund
  cp package-lock.json "$stamp"
}

tool() { go tool -modfile=tools/go.mod "$@"; }

# ---- check ------------------------------------------------------------------

part_check() {
  step gofmt 5 check_gofmt
  step 'go mod tidy' 10 go mod tidy -diff
  step 'go vet' 60 go vet ./...
  step 'go fix' 30 check_fix
}

empty() { # empty MESSAGE: the output so far, on stdin, must be empty
  local out
  out=$(cat)
  [ -z "$out" ] || { printf '%s\n%s\n' "$out" "$1"; return 1; }
}

check_gofmt() {
  find . \( -name node_modules -o -name .git \) -prune -o -name '*.go' -print0 |
    xargs -0 gofmt -l | empty 'not formatted: make fmt'
}

check_fix() { go fix -diff ./... | empty 'older idioms: go fix ./...'; }

# ---- go ---------------------------------------------------------------------

part_go() {
  step 'go build' 60 go build ./...
  need nft nftables || leave_out 'packets that vanish' 'no nft, and not root on Debian to install nftables'
  if need gcc gcc; then
    step 'go test -race' 360 gotest -race -shuffle=on -timeout=10m ./...
  else
    leave_out 'race detector' 'no C compiler (gcc), and not root on Debian to install one'
    step 'go test' 360 gotest -shuffle=on -timeout=10m ./...
  fi
}

# gotest runs tests. Under the race detector each package's run on one
# processor: on two, Go's runtime crashes now and then (docs/adr/0008).
gotest() {
  local packages=${*: -1} cgo=0 on=()
  [[ " $* " != *" -race "* ]] || { cgo=1 on=(-exec 'env GOMAXPROCS=1'); }
  CGO_ENABLED=$cgo \
    tool gotestsum --format standard-quiet --packages "$packages" -- ${on[@]+"${on[@]}"} "${@:1:$#-1}"
}

# ---- sim --------------------------------------------------------------------

# Hours of bad weather in virtual time, without the race detector, under which
# part_go runs some of it, and a minute of cut connections in real time, the last
# quarter with the detector and on every processor.
part_sim() {
  step simulation 120 simulate '^Test(Sim|Model$)' ./internal/session -sim.every=1 -sim.mixtures=1000 -sim.models=60
  step 'every network' 60 simulate '^Test(Check$|Embedded|KillAfter$|Matrix$|Resume_inRow|Sim|Statuses)' ./e2e -every=1
  step chaos 80 simulate '^TestChaos' ./e2e -chaos=45s
  if need gcc gcc; then step 'chaos and race detector' 40 race simulate '^TestChaos' ./e2e -chaos=15s; fi
}

# race has simulate use the race detector.
race() { local -x CGO_ENABLED=1; local detector=-race; "$@"; }

# simulate TESTS PACKAGE FLAG... tells of each test what it did. With less
# garbage collection it takes two thirds of the time.
simulate() {
  GOGC=400 \
    tool gotestsum --format standard-verbose -- -count=1 -timeout=20m -parallel=4 ${detector:-} -run="$1" "$2" -args "${@:3}"
}

# ---- fresh ------------------------------------------------------------------

part_fresh() {
  need protoc protobuf-compiler && need_protos ||
    { leave_out fresh 'no protoc with its .proto files, and not root on Debian to install them (protobuf-compiler, libprotobuf-dev)'; return; }
  need_node || { leave_out fresh "no Node $NODE_MIN or later"; return; }
  step 'npm packages' 30 npm_packages jsclient
  step 'generated code' 60 check_fresh
}

# check_fresh regenerates what is generated and committed, and compares; only
# the line that names protoc's version may differ.
check_fresh() {
  local before=$logs/before file stale=0
  mkdir "$before"
  generated | xargs -0 cp --parents -t "$before"
  tools/generate.sh
  (npm_run generate)
  while IFS= read -r -d '' file; do
    diff -q -I '^// *-* *protoc ' "$before/$file" "$file" || stale=1
  done < <(generated)
  [ $stale = 0 ] || { echo 'stale; regenerated now: commit it'; return 1; }
}

generated() {
  find . \( -name node_modules -o -name .git \) -prune -o \
    \( -name '*.pb.go' -o -path './jsclient/bundle/*' -o -path './jsclient/test/gen/*' -o -path './conformance/js/gen/*' \) -type f -print0
}

# ---- conformance ------------------------------------------------------------

# The suite is built from source: some two minutes, once. make conformance runs
# the other modes too.
part_conformance() {
  step 'conformance of the Go client' 60 conformance/run.sh ws longpoll
  need_node || { leave_out 'conformance of the JavaScript client' "no Node $NODE_MIN or later"; return; }
  step 'npm packages' 30 npm_packages jsclient
  step 'conformance of the JavaScript client' 60 conformance/run.sh node-ws node-longpoll
  need chromium chromium ||
    { leave_out 'conformance in Chromium' 'no chromium, and not root on Debian to install it'; return; }
  step 'conformance in Chromium' 60 conformance/run.sh chromium-ws chromium-longpoll
}

# ---- fuzz -------------------------------------------------------------------

part_fuzz() { step fuzz 300 fuzz_targets; }

# fuzz_targets runs every fuzz target for a moment, one after the other.
fuzz_targets() {
  local package dir target n=0
  while read -r package dir; do
    for target in $(grep -hoE '^func Fuzz\w+' "$dir"/*_test.go | cut -d ' ' -f 2); do
      echo "--- $package $target"
      fuzz_target "$package" "$target"
      n=$((n + 1))
    done
  done < <(go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}} {{.Dir}}{{end}}' ./...)
  echo "DONE $n tests"
}

# fuzz_target fuzzes one. Go up to 1.26 may fail a target just when its time is
# over (https://go.dev/issue/75804): it says so, and has no failing input.
fuzz_target() {
  local log
  log=$(go test -run='^$' -fuzz="^$2\$" -fuzztime="$FUZZ_TIME" -fuzzminimizetime=10x "$1" 2>&1) && { echo "$log"; return; }
  echo "$log"
  [[ $log == *$'\n    context deadline exceeded\nFAIL\n'* && $log != *'Failing input written'* ]]
}

# ---- js and browser ---------------------------------------------------------

part_js() {
  need_node || { leave_out js "no Node $NODE_MIN or later"; return; }
  step 'npm packages' 30 npm_packages jsclient
  step 'js check' 30 npm_run check
  step 'js package' 30 npm_run package
  FUZZ_MS=20000 step 'js unit test' 80 npm_run test
  step 'js simulation' 60 simulate '^TestSimJS' ./internal/session -sim.js="$PWD/jsclient/.test/test/sim/engine.js" -sim.js.every=12
  step 'js test in Node' 120 npm_run test:node
  step 'js test in Node 22' 120 test_in_node_22
  step 'js test of adapters' 60 npm_run test:adapters
}

part_browser() {
  need_node || { leave_out browser "no Node $NODE_MIN or later"; return; }
  need chromium chromium || { leave_out browser 'no chromium, and not root on Debian to install it'; return; }
  step 'npm packages' 30 npm_packages jsclient
  step 'npm packages of examples/chat' 30 npm_packages examples/chat
  step 'npm packages of examples/react' 30 npm_packages examples/react
  step 'js build, check of examples' 30 npm_run check:examples
  step 'browser test' 160 npm_run test:browser
  step 'browser matrix' 90 browser_matrix
  step 'browser network check' 40 browser_check
  command -v firefox >/dev/null || need firefox-esr firefox-esr ||
    { leave_out 'browser test in Firefox' 'no firefox-esr, and not root on Debian to install it'; return; }
  step 'browser test in Firefox' 60 npm_run test:firefox
}

# ---- proxies ----------------------------------------------------------------

part_proxies() {
  local proxy missing=
  PATH=$PATH:/usr/sbin # where Debian has some of them
  need_node || { leave_out proxies "no Node $NODE_MIN or later"; return; }
  for proxy in chromium squid:squid-openssl tinyproxy mitmdump:mitmproxy nginx:nginx-light haproxy; do
    need "${proxy%:*}" "${proxy#*:}" || missing+=" ${proxy#*:}"
  done
  [ -z "$missing" ] || { leave_out proxies "not installed, and not root on Debian to do it:$missing"; return; }
  step 'npm packages' 30 npm_packages jsclient
  step 'real proxies' 120 real_proxies
}

real_proxies() {
  (npm_run compile)
  gotest -timeout=10m -run='^TestProxies$' -args -browser ./e2e
}

# test_in_node_22 runs what the step before has compiled. The npm package node
# fetches Node's binary in a script of its own.
test_in_node_22() {
  local folder=$PWD/.cache/node22
  [ -x "$folder/node_modules/.bin/node" ] ||
    npm install --prefix "$folder" --no-save --no-audit --no-fund --ignore-scripts=false node@22
  cd jsclient && PATH=$folder/node_modules/.bin:$PATH && node --version && node --test .test/test/node/*.test.js
}

browser_matrix() {
  (npm_run compile)
  gotest -timeout=15m -run='^TestMatrix_browser$' -args -browser ./e2e
}

browser_check() { gotest -timeout=15m -run='^TestCheck_browser$' -args -browser ./e2e; }

# npm_run SCRIPT stops a script that hangs.
npm_run() { cd jsclient && timeout 900 npm run --silent "$1"; }

# ---- lint -------------------------------------------------------------------

# The linter is built from source: some four minutes, once.
part_lint() { step golangci-lint 60 go tool -modfile=tools/lint/go.mod golangci-lint run ./...; }

# ---- main -------------------------------------------------------------------

main() {
  local part
  command -v go >/dev/null || { echo 'test.sh: Go is not installed (https://go.dev/dl)'; exit 1; }
  [ $# -gt 0 ] || set -- "${PARTS[@]}"
  for part; do
    [[ " ${PARTS[*]} " == *" $part "* ]] || { echo "usage: ./test.sh [${PARTS[*]}]"; exit 2; }
  done
  for part; do "part_$part"; done
  finish
  [ ${#failed_steps[@]} = 0 ] && { [ ${#left_out[@]} = 0 ] || [ "${CI:-}" != true ]; }
}

main "$@"
