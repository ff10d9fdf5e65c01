# Each target calls what CI calls; `make help` lists them.
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -o pipefail -c

.PHONY: help build deb test full lint go conformance js browser proxies sim fuzz soak soak-real soak-picture bench bench-quick bench-cluster bench-compare bench-distance bench-networks pgo tidy fmt generate snapshot run ci

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

BIN := bin/bridge

build: ## build bin/bridge: static, for any image
	CGO_ENABLED=0 go build -trimpath -o $(BIN) ./cmd/bridge

VERSION ?= 0.0.0
DIST ?= dist
ARCH ?= $(shell go env GOARCH)
deb: ## build a Debian package into dist/ (VERSION=1.2.3)
	CGO_ENABLED=0 GOARCH=$(ARCH) go build -trimpath -ldflags='-s -w' -o bin/$(ARCH)/bridge ./cmd/bridge
	mkdir -p $(DIST)
	ARCH=$(ARCH) VERSION=$(VERSION) go tool -modfile=tools/release/go.mod nfpm package -f deploy/debian/nfpm.yaml -p deb -t $(DIST)/pollbridge_$(VERSION)_$(ARCH).deb

test: ## what every change must pass
	./test.sh

full: ## the long forms too, as in the night: about an hour
	./test.sh full

lint: ## formatting, modules, vet, modernizers, golangci-lint
	./test.sh check lint

go: ## Go tests with the race detector
	./test.sh go

conformance: ## the public gRPC conformance suite, in every mode
	conformance/run.sh

js: ## type check, unit tests and Node tests of the JavaScript client
	./test.sh js

browser: ## browser tests in headless Chromium and Firefox
	./test.sh browser

proxies: ## the demo through all real proxies, in Chromium and Go
	./test.sh full proxies

sim: ## simulated bad networks at size, and a minute of cut connections
	./test.sh sim

fuzz: ## each fuzz target for a minute
	FUZZ_TIME=60s ./test.sh fuzz

soak: ## ten million messages through simulated bad networks, in tables
	go test ./internal/enginetest -run '^TestSim' -count=1 -timeout=4h -v -args -sim.seed=2 -sim.every=1 -sim.runs=8 -sim.messages=1500 -sim.mixtures=4000 | grep -vE '^=== |^ +--- PASS'

SOAK ?= 2h
soak-real: ## real processes for hours (SOAK=8h): restarts, cuts, tokens that expire; a report each minute
	go test ./e2e -run '^TestSoak$$' -count=1 -timeout=0 -v -args -soak=$(SOAK)

soak-picture: ## draw what a soak printed (LOG=FILE) into docs/SIMULATION.md
	go -C deploy test . -run '^TestSoak_picture$$' -soak $(abspath $(LOG))

bench: ## Pollbridge beside what else there is, into docs/BENCHMARKS.md
	go -C bench run . -out ../docs/BENCHMARKS.md

bench-quick: ## RPCs alone, in a minute, on standard output
	go -C bench run . -only rpc -rounds 2

bench-compare: ## this tree beside revision BASE, in one run, with benchstat
	bench/compare.sh $(BASE)

bench-cluster: ## requests that land at another bridge than their session's, beside others, in three minutes, on standard output
	go -C bench run . -only cluster

bench-distance: ## how much of a far path one stream fills, in five minutes, on standard output
	go -C bench run . -only distance -scenarios '50 Mbit/s, 100ms|no limit'

bench-networks: ## time to the first result on each bad network, into docs/NETWORKS.md
	go test ./e2e -run '^TestFirstResult$$' -update -v

pgo: ## write a profile to cmd/bridge/default.pgo, by which go build then compiles the bridge
	bench/pgo.sh

tidy: ## go.mod and go.sum of each module
	for module in . bench deploy; do go -C $$module mod tidy || exit; done

fmt: ## format Go code
	go fix ./...
	gofmt -w $$(go list -f '{{.Dir}}' ./...) bench deploy

generate: ## regenerate committed code and the JavaScript bundle
	tools/generate.sh

snapshot: ## build what a release has into dist/
	go tool -modfile=tools/goreleaser/go.mod goreleaser release --snapshot --clean

run: ## the demo: http://127.0.0.1:8080
	go run ./cmd/bridge demo

ci: ## as CI does it: nothing may be left out
	CI=true .ci/run
