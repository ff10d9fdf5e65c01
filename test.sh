#!/usr/bin/env bash
# test.sh runs the tests, on a machine with Go and, for the parts in JavaScript,
# Node. What else is missing it installs and says so.
#
#   ./test.sh             what every change must pass: each promise, proved once
#   ./test.sh full        the long forms too, as .github/workflows/nightly.yml does
#   ./test.sh go js       only these parts
#   ./test.sh full fuzz   only these, in their long form
#
# A part that cannot run here is named in one line; with CI=true that fails.
set -euo pipefail
cd "$(dirname "$0")"

PARTS=(check fresh go bench conformance js site browser proxies lint)
LONG_PARTS=(sim fuzz vulnerabilities compat deploy) # in a full run, or when they are asked for
FUZZ_TIME=${FUZZ_TIME:-20s}
RELEASED=ecd058de7b31441378d97da8003d11388d34515c # 0.1.0

# A checkout owned by somebody else, or none at all, must not fail the build.
export GOFLAGS="-buildvcs=false ${GOFLAGS:-}"

. test/steps.sh
. test/machine.sh

full=

# long COMMAND... does it in a full run only.
long() { [ -z "$full" ] || "$@"; }

tool() { go tool -modfile=tools/go.mod "$@"; }

# ---- check: formatting, modules, vet ------------------------------------------

part_check() {
  step gofmt 5 check_gofmt
  step 'go mod tidy' 10 each_module go mod tidy -diff
  step 'go vet' 60 each_module go vet ./...
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

check_fix() { each_module go fix -diff ./... | empty 'older idioms: go fix ./...'; }

# each_module COMMAND... runs it in each module that has code.
each_module() {
  local module
  for module in . bench deploy; do (cd $module && "$@"); done
}

# ---- fresh: what is generated and committed is up to date ----------------------

part_fresh() {
  need_protoc ||
    { leave_out fresh 'no protoc with its .proto files, and not root on Debian to install them (protobuf-compiler, libprotobuf-dev)'; return; }
  need_node || { leave_out fresh "$no_node"; return; }
  npm_packages jsclient
  step 'generated code' 60 check_fresh
}

# check_fresh regenerates and compares; only the line that names protoc's
# version may differ.
check_fresh() {
  local before=$logs/before file stale=0
  mkdir "$before"
  generated | xargs -0 cp --parents -t "$before"
  tools/generate.sh
  npm_run generate
  while IFS= read -r -d '' file; do
    diff -q -I '^// *-* *protoc ' "$before/$file" "$file" || stale=1
  done < <(generated)
  [ $stale = 0 ] || { echo 'stale; regenerated now: commit it'; return 1; }
}

generated() {
  find . \( -name node_modules -o -name .git \) -prune -o \
    \( -name '*.pb.go' -o -path './jsclient/bundle/*' -o -path './jsclient/test/gen/*' -o -path './conformance/js/gen/*' \) -type f -print0
}

# ---- go: the Go tests, with the race detector ----------------------------------

part_go() {
  step 'go build' 60 go build ./...
  step 'go build, 32 bits' 90 build_32
  need nft nftables || leave_out 'packets that vanish' 'no nft, and not root on Debian to install nftables'
  need nats-server nats-server || leave_out 'a cluster of processes' 'no nats-server, and not root on Debian to install it'
  if need_cc; then
    step 'go test -race' 300 gotest -race -shuffle=on -timeout=10m -skip='^Test(Hostile|Distance)' ./...
    # The detector takes memory of its own, and ten times as long over megabytes.
    step 'hostile clients' 60 gotest -run '^TestHostile' ./cmd/bridge
    step 'far paths' 60 gotest -run '^TestDistance' ./internal/enginetest
  else
    leave_out 'race detector' 'no C compiler with its headers (gcc, libc6-dev), and not root on Debian to install them'
    step 'go test' 360 gotest -shuffle=on -timeout=10m ./...
  fi
}

# build_32 holds that nothing takes an int for 64 bits.
build_32() {
  local arch
  for arch in 386 arm; do GOARCH=$arch CGO_ENABLED=0 go build -o /dev/null ./bridge ./client ./cmd/bridge || return; done
}

# gotest FLAG... PACKAGES runs tests. Under the race detector each package's run
# on one processor: on two, Go's runtime crashes now and then (docs/adr/0008). Many
# tests wait, so packages, and what is parallel in them, are more than processors.
gotest() {
  local packages=${*: -1} cgo=0 on=()
  [[ " $* " != *" -race "* ]] || { cgo=1 on=(-p=4 -parallel=4 -exec 'env GOMAXPROCS=1'); }
  CGO_ENABLED=$cgo \
    tool gotestsum --format standard-quiet --packages "$packages" -- ${on[@]+"${on[@]}"} "${@:1:$#-1}"
}

# ---- bench: the benchmark measures all that needs nothing from outside -----------

part_bench() { step 'test of the benchmark' 60 test_bench; }

test_bench() {
  local tools=$PWD/tools/go.mod
  cd bench && go tool -modfile="$tools" gotestsum --format standard-quiet -- -count=1 -timeout=5m ./...
}

# ---- sim: hours of bad networks in virtual time, cut connections in real time --

# part_go and part_js run a sample of these, with the race detector.
part_sim() {
  step simulation 120 simulate '^Test(Sim|Model$)' ./internal/enginetest -sim.every=1 -sim.mixtures=1000 -sim.models=60
  step 'every network' 120 simulate '^Test(Check|Embedded|KillAfter$|Matrix|Statuses)' ./e2e -full
  step 'hostile clients' 200 simulate '^TestHostile' ./cmd/bridge -hostile
  step chaos 80 simulate '^TestChaos' ./e2e -full -chaos=45s
  if need_cc; then step 'chaos and race detector' 60 race simulate '^TestChaos' ./e2e -full -chaos=15s; fi
}

# race has simulate use the race detector.
race() { local -x CGO_ENABLED=1; local detector=-race; "$@"; }

# simulate TESTS PACKAGE FLAG... tells of each test what it did. With less
# garbage collection it takes two thirds of the time.
simulate() {
  GOGC=400 \
    tool gotestsum --format standard-verbose -- -count=1 -timeout=20m -parallel=4 ${detector:-} -run="$1" "$2" -args "${@:3}"
}

# ---- conformance: the public gRPC suite, 646 cases a mode ----------------------

# The suite is built from source: some two minutes, once. `conformance/run.sh`
# lists the modes.
part_conformance() {
  step 'conformance of the Go client' 60 conformance/run.sh ws longpoll
  step 'conformance of bridge --rpc' 30 conformance/run.sh rpc-http1
  long step 'conformance of bridge --rpc, HTTP/2' 60 conformance/run.sh rpc-http2 rpc-json
  long step 'conformance on bad networks' 240 conformance/run.sh buffered upgrade switched cut-ws cut-longpoll cut
  need_node || { leave_out 'conformance of the JavaScript client' "$no_node"; return; }
  npm_packages jsclient
  long step 'conformance in Node' 60 conformance/run.sh node-ws node-longpoll
  need_chromium ||
    { leave_out 'conformance in Chromium' 'no chromium, and not root on Debian to install it'; return; }
  step 'conformance in Chromium' 60 conformance/run.sh chromium-ws chromium-longpoll
}

# ---- js: the JavaScript client in Node -----------------------------------------

part_js() {
  need_node || { leave_out js "$no_node"; return; }
  npm_packages jsclient
  step 'js check' 30 npm_run check
  long step 'js check by TypeScript 5' 60 npm_run check:ts5
  step 'js package' 30 npm_run package
  if [ -n "$full" ]; then
    FUZZ_MS=20000 step 'js unit test' 80 npm_run test
    step 'js simulation' 240 simulate_js -sim.js.every=1
  else
    step 'js unit test' 30 npm_run test
    step 'js simulation' 90 simulate_js -sim.js.every=20
  fi
  step 'js test in Node' 60 npm_run test:node
  step 'js test of adapters' 40 npm_run test:adapters
  step 'js test of recipes' 40 npm_run test:recipes
  long step 'js test in Node 22' 120 test_in_node_22
  long step 'js test in Deno and Bun' 60 test_in_deno_and_bun
  if [ -n "$full" ] && need_chromium; then step 'js test of Next.js' 120 test_in_next; fi
}

simulate_js() { simulate '^TestSimJS' ./internal/enginetest -sim.js="$PWD/jsclient/.test/test/sim/engine.js" "$@"; }

# test_in_node_22 runs what the steps before have compiled. The npm package node
# fetches Node's binary in a script of its own.
test_in_node_22() {
  local folder=$PWD/.cache/node22
  [ -x "$folder/node_modules/.bin/node" ] ||
    npm install --prefix "$folder" --no-save --no-audit --no-fund --ignore-scripts=false node@22
  cd jsclient && PATH=$folder/node_modules/.bin:$PATH && node --version && node --test .test/test/node/*.test.js
}

# test_in_deno_and_bun runs the package that a step before has built. Their npm
# packages, too, put the binary in its place in a script of their own.
test_in_deno_and_bun() {
  local folder=$PWD/.cache/runtimes
  [ -x "$folder/node_modules/.bin/bun" ] ||
    npm install --prefix "$folder" --no-save --no-audit --no-fund --ignore-scripts=false deno@2 bun@1
  cd jsclient && PATH=$folder/node_modules/.bin:$PATH && node --test .test/test/runtimes/*.test.js
}

# test_in_next builds and runs a page of Next.js's with the package as published.
test_in_next() {
  local folder=$PWD/.cache/next
  [ -d "$folder/node_modules/next" ] ||
    npm install --prefix "$folder" --no-save --no-audit --no-fund next@16 react@19 react-dom@19 @types/react@19 @types/node@24 typescript@5.9 @connectrpc/connect@2 @bufbuild/protobuf@2
  rm -rf "$folder/node_modules/pollbridge" "$folder/.next"
  mkdir "$folder/node_modules/pollbridge"
  cd jsclient && tar -xzf "$(npm pack --silent --pack-destination "$folder" | tail -1 | sed "s|^|$folder/|")" -C "$folder/node_modules/pollbridge" --strip-components=1
  NEXT=$folder node --test .test/test/next/*.test.js
}

# npm_run SCRIPT... stops a script that hangs.
npm_run() (cd jsclient && timeout 900 npm run --silent "$@")

# ---- browser: Chromium, Firefox and WebKit ---------------------------------------

part_browser() {
  need_node || { leave_out browser "$no_node"; return; }
  need_chromium || { leave_out browser 'no chromium, and not root on Debian to install it'; return; }
  npm_packages jsclient examples/chat examples/react
  step 'js build, check of examples' 30 npm_run check:examples
  step 'browser test' 160 npm_run test:browser
  if [ -n "$full" ]; then
    step 'browser matrix' 90 in_browser '^TestMatrix_browser$' -full
    step 'browser network check' 90 in_browser '^TestCheck_browser$' -full
  else
    step 'browser matrix' 45 in_browser '^TestMatrix_browser$'
  fi
  if need_firefox; then
    step 'browser test in Firefox' 60 npm_run test:firefox
  else
    leave_out 'browser test in Firefox' 'no firefox-esr, and not root on Debian to install it'
  fi
  need WebKitWebDriver webkit2gtk-driver && need Xvfb xvfb ||
    { leave_out 'browser test in WebKit' 'no webkit2gtk-driver or xvfb, and not root on Debian to install them'; return; }
  step 'browser test in WebKit' 40 npm_run test:webkit
}

# in_browser TESTS FLAG... runs tests of e2e that drive Chromium.
in_browser() {
  npm_run compile
  gotest -timeout=15m -run="$1" -args -browser "${@:2}" ./e2e
}

# ---- proxies: the demo through real proxies, in Chromium and Go -----------------

part_proxies() {
  local proxy missing= rolling packages=(squid:squid-openssl nginx:nginx-light haproxy nats-server) rows='(squid-stock|nginx,_tuned)'
  PATH=$PATH:/usr/sbin # where Debian has some of them
  if [ -n "$full" ]; then
    packages+=(tinyproxy mitmdump:mitmproxy) rows=
  fi
  need_node || { leave_out proxies "$no_node"; return; }
  for proxy in chromium "${packages[@]}"; do
    need "${proxy%:*}" "${proxy#*:}" || missing+=" ${proxy#*:}"
  done
  [ -z "$missing" ] || { leave_out proxies "not installed, and not root on Debian to do it:$missing"; return; }
  npm_packages jsclient
  step 'proxies before the backends' 60 gotest -run '^TestHop' ./e2e
  step 'real proxies' 120 in_browser "^TestProxies\$${rows:+/^$rows\$}"
  rolling=(gotest -run '^TestRolling$' -args -rolling -node.crowd="$PWD/jsclient/.test/test/driver/crowd.js")
  if [ -n "$full" ]; then
    step 'rolling restarts' 400 "${rolling[@]}" -test.parallel=1 -full ./e2e # with so many clients one after the other
  else
    step 'rolling restarts' 80 "${rolling[@]}" -test.parallel=5 ./e2e
  fi
  long step 'soak of real processes' 100 simulate '^TestSoak$' ./e2e -soak=25s
}

# ---- fuzz: each fuzz target for a moment, one after the other ------------------

# Their seeds run with the other tests.
part_fuzz() { step fuzz 480 fuzz_targets; }

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

# ---- vulnerabilities -------------------------------------------------------------

part_vulnerabilities() {
  tool govulncheck -version 2>/dev/null | grep -q '^DB updated' ||
    { leave_out vulnerabilities 'the database of vulnerabilities, vuln.go.dev, cannot be reached'; return; }
  step govulncheck 60 tool govulncheck ./...
}

# ---- compat: the clients and the bridge of the last release ---------------------

# part_js runs its JavaScript client on the main road.
part_compat() {
  need_node || { leave_out compat "$no_node"; return; }
  git cat-file -e "$RELEASED^{commit}" 2>/dev/null ||
    { leave_out compat 'the last release is not in this clone: git fetch --unshallow'; return; }
  npm_packages jsclient
  step 'last release' 120 test_compat
}

test_compat() {
  local old=$PWD/.cache/released
  mkdir -p "$old"
  git archive "$RELEASED" | tar -x -C "$old"
  go -C "$old" build -o bridge-released ./cmd/bridge
  gotest -run '^TestCompat' ./e2e -compat="$old/bridge-released"
  npm_run build
  npm_run compile
  cd jsclient && LONG=yes OLD_BRIDGE=$old node --test .test/test/node/compat.test.js
}

# ---- deploy: what operators install --------------------------------------------

# A module of its own, whose checks of Kubernetes' schemas take some minutes to
# build, once.
part_deploy() {
  local program missing=
  for program in make prometheus nats-server debootstrap systemd-analyze:systemd; do
    need "${program%:*}" "${program#*:}" || missing+=" ${program#*:}"
  done
  [ -z "$missing" ] || { leave_out deploy "not installed, and not root on Debian to do it:$missing"; return; }
  step deploy 200 test_deploy
}

test_deploy() { cd deploy && go tool -modfile=../tools/go.mod gotestsum --format standard-quiet -- -count=1 -timeout=30m ./...; }

# ---- site: the documentation site ------------------------------------------------

# part_go follows the links of all Markdown; this one those of the pages made of it.
part_site() {
  need_node || { leave_out site "$no_node"; return; }
  npm_packages jsclient site
  step site 90 build_site
}

build_site() { cd site && timeout 600 npm run --silent build; }

# ---- lint ------------------------------------------------------------------------

# The linter is built from source: some four minutes, once.
part_lint() { step golangci-lint 90 each_module go tool -modfile="$PWD/tools/lint/go.mod" golangci-lint run ./...; }

# ---- main ------------------------------------------------------------------------

main() {
  local part
  command -v go >/dev/null || { echo 'test.sh: Go is not installed (https://go.dev/dl)'; exit 1; }
  [ "${1:-}" != full ] || { full=yes && shift; }
  if [ $# = 0 ]; then
    set -- "${PARTS[@]}"
    [ -z "$full" ] || set -- "$@" "${LONG_PARTS[@]}"
  fi
  for part; do
    [[ " ${PARTS[*]} ${LONG_PARTS[*]} " == *" $part "* ]] ||
      { echo "usage: ./test.sh [full] [${PARTS[*]} ${LONG_PARTS[*]}]"; exit 2; }
  done
  for part; do "part_$part"; done
  finish
}

main "$@"
