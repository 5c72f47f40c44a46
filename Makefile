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

# The histories of `make sim`: how many from SEED on, and how often each.
N ?= 1
TIMES ?= 1

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
deps: ## Install what the tests need: PostgreSQL, MariaDB, Redis, promtool, Python, Node, a C compiler
	scripts/test-deps.sh

.PHONY: check
check: ## All but the tests: format, vet, lint, licences, fuzz what changed, ...
	scripts/check.sh

.PHONY: format
format: ## Format the code as `make check` wants it
	CGO_ENABLED=0 $(GO) tool -modfile=tools/go.mod golangci-lint fmt ./...

.PHONY: test
test: deps ## Test everything, in at most 20 minutes on 2 cores; the engine with the race detector
	scripts/test.sh

.PHONY: test-pkg
test-pkg: deps ## The tests of a package: make test-pkg PKG=./pkg/delivery RUN=TestName
	@[[ -n "$(PKG)" ]] || { echo "Name a package, as in: make test-pkg PKG=./pkg/delivery RUN=TestName" >&2; exit 2; }
	scripts/go-test.sh $(if $(filter ./pkg/%,$(PKG)),race,plain) -count=1 -shuffle=on -run='$(RUN)' $(PKG)

.PHONY: test-full
test-full: deps ## Test everything raced, three times, and once at full size; takes hours
	scripts/test.sh full

.PHONY: compose-test
compose-test: deps ## Run both compose files for real, with crashes; installs an engine
	scripts/compose-test.sh

.PHONY: console-pictures
console-pictures: deps ## Draw each page of the console, in both themes and narrow, into bin/console-pictures
	EXTSYNC_CONSOLE_PICTURES=$(CURDIR)/bin/console-pictures scripts/go-test.sh plain -count=1 -run='^TestPagesKeepNobodyOut$$' ./test/console

.PHONY: chaos
chaos: deps ## Random faults: make chaos SEED=1 MINUTES=5
	@summary=$$(mktemp); trap 'rm -f "$$summary"' EXIT; \
	EXTSYNC_CHAOS_SEED=$(SEED) EXTSYNC_CHAOS_MINUTES=$(MINUTES) EXTSYNC_CHAOS_SUMMARY="$$summary" \
		scripts/go-test.sh plain -v -count=1 -timeout=0 -run='^TestChaos$$' ./test/integration/... || code=$$?; \
	cat "$$summary"; exit "$${code:-0}"

.PHONY: sim
sim: ## Histories in simulated time: make sim SEED=1 N=2000; one alone tells what happened
	EXTSYNC_SIM_SEED=$(SEED) EXTSYNC_SIM_N=$(N) EXTSYNC_SIM_TIMES=$(TIMES) \
		scripts/go-test.sh plain -v -count=1 -timeout=0 -run='^TestHistories$$' ./pkg/delivery/internal/sim

.PHONY: docs
docs: ## Write the references in docs, the schema in examples and deploy/nats from the programs
	EXTSYNC_UPDATE_DOCS=1 $(GO) test -count=1 -run 'IsUpToDate$$' ./test/integration

.PHONY: fuzz
fuzz: ## Run every fuzz test for FUZZTIME (20s)
	scripts/fuzz.sh $(FUZZTIME)

.PHONY: outdated
outdated: ## List the dependencies that have a newer version, and fail if there are any
	scripts/outdated.sh

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
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/ ./bench
	bin/bench --benchstat bin/bench.txt --markdown bin/bench.md --svg bin/bench.svg $(BENCH)

.PHONY: bench-docs
bench-docs: ## Measure, and put the results into docs/performance.md, those of failed cases as such
	-$(MAKE) bench
	scripts/bench-docs.sh
