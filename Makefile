# pg_errand: what can be done here. `make help` lists it.
PG_CONFIG ?= pg_config
PG_MAJOR := $(shell $(PG_CONFIG) --version 2>/dev/null | sed 's/[^0-9]*\([0-9]*\).*/\1/')
FEATURES := --no-default-features --features pg$(PG_MAJOR)
PACKAGE := $(or $(CARGO_TARGET_DIR),target)/release/pg_errand-pg$(PG_MAJOR)
T ?=
TASKS ?= 1000000
CALLS ?= 100000

.PHONY: help setup install package test simulate torture check bench bench-memory demo demo-stop docs

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

setup: ## install what is missing to build and test: Debian packages, cargo-pgrx
	@dev/setup

package: ## build optimized into target/
	cargo pgrx package --pg-config "$$(command -v $(PG_CONFIG))" $(FEATURES)

install: package ## build optimized and install into the PostgreSQL of PG_CONFIG
	dev/install "$(PG_CONFIG)" $(PACKAGE)

test: setup ## all tests; T=name runs the matching tests on a real server only
	dev/test $(T)

simulate: ## workers and faults on the shipped queue, without a server; SEED=n repeats a run, SEEDS=n, STEPS=n
	cargo run -q -p pg_errand-simulator -- $(if $(SEED),--seed $(SEED)) $(if $(SEEDS),--seeds $(SEEDS)) $(if $(STEPS),--steps $(STEPS))

torture: install ## kills, restarts and faults at random; ROUNDS=n, SEED=n repeats a run
	dev/torture $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SEED),--seed $(SEED))

check: ## format and lints, warnings denied
	dev/check

bench: ## benchmarks on private servers; FIGURE=name ..., RUNS=n, SCALE=small|default|full
	dev/bench $(if $(RUNS),--runs $(RUNS)) $(if $(SCALE),--scale $(SCALE)) $(FIGURE)

bench-memory: ## what workers take over TASKS tasks and CALLS provider calls, on a private server
	dev/bench-memory "$(TASKS)" "$(CALLS)"

demo: setup ## a private server that works off examples/comms; shows what happened
	dev/demo

demo-stop: ## end the server of the demo
	dev/demo stop

docs: ## rewrite docs/configuration.md from the settings' definitions
	dev/docs
