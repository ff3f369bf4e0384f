# The front door. `make` lists what there is; CI runs the same targets.
SHELL := /bin/sh
PYTHON ?= python3
BIN := .venv/bin
RUN_FOR ?=
BENCH ?=
LOSSES ?=
SOAK ?=
CHAOS ?=
# most tests wait for leases and processes rather than compute: three at a time fill two cores
SPREAD := -q -n 3 --dist worksteal
SOURCES := engine handlers web bench tests ops

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev run fmt check test test-fast test-all test-redis interleavings bench losses chaos soak ci clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.venv/run.stamp: pyproject.toml ops/make_venv.py
	@$(PYTHON) ops/make_venv.py .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

.venv/dev.stamp: .venv/run.stamp
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev,web]'
	@touch $@

setup: .venv/run.stamp ## make .venv with what the engine needs

setup-dev: .venv/dev.stamp ## and with what its tests and checks need

run: setup ## the engine on its embedded server, with sample WhatsApp traffic; Ctrl-C ends it (RUN_FOR=20s: by itself)
	@$(BIN)/engine dev $(if $(RUN_FOR),--for $(RUN_FOR))

fmt: setup-dev ## format the code
	@$(BIN)/ruff check --quiet --fix-only $(SOURCES)
	@$(BIN)/ruff format --quiet $(SOURCES)

check: setup-dev ## lint, types, import contracts; Lua headers are tests/test_house.py
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/ruff format --check --quiet $(SOURCES)
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache | tail -n 12
	@$(BIN)/pytest -q -p no:cacheprovider tests/test_house.py

test: check ## everything CI runs: checks, the suite on the embedded Valkey, and on Redis where redis-server is installed
	@$(BIN)/pytest $(SPREAD) --server valkey
	@if command -v redis-server >/dev/null; then $(BIN)/pytest $(SPREAD) --server redis tests/store tests/services tests/system/promises; \
	else echo "redis-server is not installed: the second leg, on Redis 7, was left out (apt-get install redis-server)"; fi

test-fast: setup-dev ## the suite without real time and real processes
	@$(BIN)/pytest $(SPREAD) -m 'not slow'

test-redis: setup-dev ## the store's part of the suite on Debian's Redis
	@$(BIN)/pytest $(SPREAD) --server redis tests/store tests/services tests/system/promises

interleavings: setup-dev ## every order of the large races too: many minutes
	@$(BIN)/pytest $(SPREAD) --all-interleavings tests/store/test_interleavings.py

test-all: test ## the same as test

bench: setup-dev ## the users' targets, tried and judged (BENCH='--quick --html page.html')
	@$(BIN)/python -m bench.targets $(BENCH)

chaos: setup-dev ## faults on purpose, and a proof that nothing was lost (CHAOS='--minutes 1 --seed 3')
	@$(BIN)/python -m bench.chaos $(CHAOS)

losses: setup-dev ## what each durability setting loses: power, failover, split brain (LOSSES='--quick --server redis-server')
	@$(BIN)/python -m bench.losses $(LOSSES)

soak: setup-dev ## an hour of steady work with slow faults: does anything grow? (SOAK='--minutes 10')
	@$(BIN)/python -m bench.soak $(SOAK)

ci: ## what CI runs
	@sh .ci/run

clean: ## remove what was made here; the jobs in .engine stay
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
