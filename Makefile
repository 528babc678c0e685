# pg_errand: what can be done here. `make help` lists it.
PG_CONFIG ?= pg_config
# The major version to test with instead of the one of PG_CONFIG, see dev/major.
PG ?=
RUN := $(if $(PG),dev/major $(PG))
T ?=
TASKS ?= 1000000
CALLS ?= 100000
VERSION ?=
export FAST DESTDIR

.PHONY: help setup install package test test-majors simulate torture check migration bench bench-memory demo demo-stop docs

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

setup: ## install what is missing to build and test: Debian packages, cargo-pgrx
	@dev/setup --all-tests

package: ## build optimized, and gather in target/package/ what is installed
	@PG_CONFIG="$$(command -v $(PG_CONFIG))" dev/package

install: ## build optimized and install into the PostgreSQL of PG_CONFIG; DESTDIR=directory to stage it
	@package=$$(PG_CONFIG="$$(command -v $(PG_CONFIG))" dev/package) && dev/install "$(PG_CONFIG)" "$$package"

test: ## all tests; T=name: those on a real server that match; FAST=1: without LTO; PG=16|17|18: with that major version
	@dev/setup $(if $(T)$(filter-out 15,$(PG)),,--all-tests)
	@$(RUN) dev/test $(T)

test-majors: ## the tests on real servers with each supported major version; rewrites docs/compatibility.md
	@dev/setup
	@dev/test-majors

torture: ## kills, restarts and faults at random; ROUNDS=n, SEED=n repeats a run
	@dev/torture $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SEED),--seed $(SEED))

check: ## format, lints with warnings denied, generated files, released SQL, scripts
	@dev/setup
	@dev/check

simulate: ## workers and faults on the shipped queue, without a server; SEED=n repeats a run, SEEDS=n, STEPS=n
	cargo run -q -p pg_errand-simulator -- $(if $(SEED),--seed $(SEED)) $(if $(SEEDS),--seeds $(SEEDS)) $(if $(STEPS),--steps $(STEPS))

migration: ## begin the next version: VERSION=n.n.n; freezes the released SQL, makes the upgrade script
	@dev/migration $(VERSION)

bench: ## benchmarks on private servers; FIGURE=name ..., RUNS=n, SCALE=small|default|full
	dev/bench $(if $(RUNS),--runs $(RUNS)) $(if $(SCALE),--scale $(SCALE)) $(FIGURE)

bench-memory: ## what workers take over TASKS tasks and CALLS provider calls, on a private server
	dev/bench-memory "$(TASKS)" "$(CALLS)"

demo: ## a private server that works off examples/comms; shows what happened
	@dev/setup
	@dev/demo

demo-stop: ## end the server of the demo
	@dev/demo stop

docs: ## rewrite docs/configuration.md from the settings' definitions
	@dev/setup
	@dev/docs
