# Thin on purpose: each target is the command a person would type.
SHELL := /bin/bash
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

.DEFAULT_GOAL := help
.PHONY: help build test lint cross unit yardstick bench-embedded bench-redis bench-redis-steady bench-outage bench-gate bench-redis-gate fuzz soak

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build bin/morningai
	CGO_ENABLED=0 go build -trimpath -o bin/morningai ./cmd/morningai

test: deps lint cross unit yardstick ## everything: install what tests need, lint, build for all systems, test with the race detector

.PHONY: deps
deps:
	.ci/deps

lint: ## gofmt, go vet, staticcheck, go mod tidy, for both modules
	@unformatted=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); \
	if [ -n "$$unformatted" ]; then echo "run gofmt -w on:" $$unformatted >&2; exit 1; fi
	go mod tidy -diff
	cd bench && go mod tidy -diff
	go vet ./...
	cd bench && go vet ./...
	go run $(STATICCHECK) ./...

cross: ## build for macOS and Windows too
	CGO_ENABLED=0 GOOS=darwin GOARCH=arm64 go build -o /dev/null ./cmd/morningai
	CGO_ENABLED=0 GOOS=windows GOARCH=amd64 go build -o /dev/null ./cmd/morningai

# A simulation is one goroutine, in which there are no races to find, and the detector
# makes it six times slower. TestSimulationReplays has it all the same.
ALONE := '^(TestSimulation|TestMutants)$$'

unit: ## all tests with the race detector, simulations without; then those of outages, which need the machine for themselves
	GORACE=atexit_sleep_ms=10 CGO_ENABLED=1 go test -race -timeout 15m -skip $(ALONE) $$(go list ./... | grep -v /internal/outagetest)
	go test -timeout 10m -run $(ALONE) ./resilient
	go test -timeout 10m ./internal/outagetest

yardstick: ## how well questions find their passages, against fixed figures
	cd bench && go test -timeout 5m ./...

bench-embedded: ## the embedded engine beside its peers, one table (minutes)
	cd bench && go run ./speed

bench-redis: ## the Redis engine beside asynq, one table (minutes)
	cd bench && go run ./speed -redis

bench-redis-steady: ## half of the Redis engine's capacity for a minute: fails if the backlog grows
	cd bench && go run ./speed -steady -quick

bench-outage: ## MorningAI, asynq and Python RQ in the same outages of Redis, side by side (minutes)
	cd bench && go run ./outage

bench-gate: ## fail on a ratio 30 % below the recorded table
	cd bench && go run ./speed -gate

bench-redis-gate: ## the same for the Redis engine
	cd bench && go run ./speed -redis -gate

fuzz: ## each fuzz test for a minute
	.ci/fuzz 60s

SOAK_ROUNDS ?= 24
SOAK_DURATION ?= 5m
soak: ## hours: crash tests, 200 kills; outage tests with a minute's outages, brownouts of three and 20 plans of faults; 100,000 seeds of the simulation; soak-mix
	MORNINGAI_SOAK=1 go test -timeout 2h -v -run Crash ./internal/crashtest/
	MORNINGAI_SOAK=1 go test -timeout 1h -v ./internal/outagetest/
	MORNINGAI_SOAK=1 go test -timeout 4h -v -run '^TestSimulation$$' ./resilient/
	$(MAKE) soak-mix

.PHONY: soak-mix
soak-mix: build ## the mixes of make soak alone: SOAK_ROUNDS of SOAK_DURATION each, 20s to 10m
	failed=0; for round in $$(seq $(SOAK_ROUNDS)); do bin/morningai drill --scenario mix --duration $(SOAK_DURATION) --keep bin/drill || failed=1; done; exit $$failed
