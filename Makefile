# Everything a contributor runs. `make help` lists it.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GO ?= go
# How long each fuzz test runs.
FUZZTIME ?= 20s

# The random faults of `make chaos`.
SEED ?= 1
MINUTES ?= 5
# The tests of the engine, which EXTSYNC_TEST_FULL runs at their full size.
ENGINE := Killed|Frozen|CutOff|Network|Scale|Cluster|OneHeld|Hanging|Outage|Chaos

# The race detector slows the tests of pkg/ the least for what it finds there.
RACED := ./pkg/...
# These run the built programs, which the test cache does not know of: never cached.
PLAIN := ./bench/... ./cmd/... ./examples/... ./internal/... ./test/...

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-19s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build the three programs into bin/, statically linked
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/ ./cmd/...

.PHONY: demo
demo: ## Show what the product does, in a few seconds and without a trace
	$(GO) run ./cmd/extsync demo

.PHONY: deps
deps: ## Install what the tests need: PostgreSQL, MariaDB, promtool, a C compiler
	scripts/test-deps.sh

.PHONY: test
test: deps ## Vet and test everything; pkg/ with the race detector
	$(GO) vet ./...
	scripts/go-test.sh race -shuffle=on -timeout=8m $(RACED)
	scripts/go-test.sh plain -shuffle=on -count=1 -timeout=10m $(PLAIN)
	scripts/go-test.sh plain -count=1 -run=Allocations ./pkg/delivery ./pkg/connectors/connhttp ./pkg/connectors/connsql
	scripts/instructions.sh

.PHONY: test-full
test-full: deps ## The same, all raced and three times over; the engine at full size
	$(GO) vet ./...
	scripts/go-test.sh race -shuffle=on -count=3 -timeout=45m ./...
	EXTSYNC_TEST_FULL=1 scripts/go-test.sh plain -v -count=1 -timeout=90m -run='$(ENGINE)' ./test/integration/...
	EXTSYNC_TEST_FULL=1 scripts/go-test.sh plain -count=1 -timeout=20m ./internal/httpapi

.PHONY: compose-test
compose-test: deps ## Run both compose files for real, with crashes; installs an engine
	scripts/compose-test.sh

.PHONY: chaos
chaos: deps ## Random faults: make chaos SEED=1 MINUTES=5
	@summary=$$(mktemp); trap 'rm -f "$$summary"' EXIT; \
	EXTSYNC_CHAOS_SEED=$(SEED) EXTSYNC_CHAOS_MINUTES=$(MINUTES) EXTSYNC_CHAOS_SUMMARY="$$summary" \
		scripts/go-test.sh plain -v -count=1 -timeout=0 -run='^TestChaos$$' ./test/integration/...; \
	cat "$$summary"

.PHONY: docs
docs: ## Write docs/cli.md and deploy/nats from the commands
	EXTSYNC_UPDATE_DOCS=1 go test -count=1 -run 'TestCommandReferenceIsUpToDate|TestConfigurationInDeployIsUpToDate' ./test/integration

.PHONY: fuzz
fuzz: ## Run every fuzz test for FUZZTIME (20s)
	scripts/fuzz.sh $(FUZZTIME)

.PHONY: check
check: ## Format, vet, lint, known vulnerabilities
	scripts/check.sh

.PHONY: instructions
instructions: deps ## Compare the instructions of the hot path with those accepted
	scripts/instructions.sh

.PHONY: instructions-accept
instructions-accept: deps ## Accept them as they are now
	scripts/instructions.sh accept

# Options of `make bench`, as in: make bench BENCH="--case postgres --rounds 3".
BENCH ?=

.PHONY: bench
bench: deps ## Measure against the floor; results and picture into bin/
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/ ./cmd/extsync
	bin/extsync bench --benchstat bin/bench.txt --svg bin/bench.svg $(BENCH) | tee bin/bench.md

.PHONY: bench-docs
bench-docs: ## Measure, and put the results into docs/performance.md, those of failed cases as such
	-$(MAKE) bench
	scripts/bench-docs.sh
