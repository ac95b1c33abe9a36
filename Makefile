# `make` alone lists the targets. Everything is installed into .venv, from the hashed locks in requirements/.

SHELL := /bin/bash
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
NODE := tests/e2e/node
# Tests beside each other, file by file (tests/conftest.py: how many); ARGS=-n0 runs them one by one, as --pdb needs it.
BESIDE := -n auto --dist loadfile --no-loadscope-reorder
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--custom-compile-command "make lock" $(UPGRADE) pyproject.toml --extra scale --group build

# --- use ---------------------------------------------------------------------------------------------------------

.PHONY: run
run: $(VENV)/run.stamp ## Serve on 127.0.0.1:8787; ARGS="-c my.yaml" is passed on
	@exec $(BIN)/penstock serve $(ARGS)

# --- work --------------------------------------------------------------------------------------------------------

.PHONY: check
check: $(VENV)/dev.stamp ## Lint, format, types and import layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: test
test: ready ## Set everything up and run the tests; ARGS="tests/unit -x" narrows them
	@$(BIN)/pytest $(BESIDE) $(ARGS)

.PHONY: coverage
coverage: ready ## The tests, with what they leave uncovered
	@$(BIN)/pytest $(BESIDE) --cov --cov-report=term-missing:skip-covered $(ARGS)

.PHONY: soak
soak: ready ## Hours instead of minutes: 200 deaths, a million interleavings, 50 times the examples; prints its figures
	@$(BIN)/pytest -m "soak or not soak" --hypothesis-profile=soak tests/soak tests/property tests/fuzz $(ARGS)

.PHONY: bench
bench: $(VENV)/dev.stamp ## CPU per request beside nginx in the same run; writes bench/RESULTS.md
	@.ci/tools nginx:nginx-light wrk:wrk taskset:util-linux
	@$(BIN)/python bench/run.py $(ARGS)

.PHONY: lock
lock: $(VENV)/dev.stamp ## Write requirements/*.txt and the Node lock anew; UPGRADE=--upgrade for the newest versions
	$(LOCK) --output-file requirements/run.txt
	$(LOCK) --group dev --constraint requirements/run.txt --output-file requirements/dev.txt
	npm install --prefix $(NODE) --package-lock-only --omit-lockfile-registry-resolved --no-audit --no-fund

.PHONY: dashboards
dashboards: $(VENV)/dev.stamp ## Write deploy/grafana/dashboards from deploy/grafana/source
	@$(BIN)/python -m deploy.grafana.source

.PHONY: format
format: $(VENV)/dev.stamp ## Let ruff lay the code out
	@$(BIN)/ruff check --fix --quiet || true
	@$(BIN)/ruff format

.PHONY: help
help: ## This list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- set-up: a stamp per environment, so that a second run starts at once ------------------------------------------

.PHONY: ready tools
ready: $(VENV)/dev.stamp $(NODE)/node_modules/.stamp

$(BIN)/python:
	@.ci/venv $(VENV)

$(VENV)/run.stamp: requirements/run.txt pyproject.toml | $(BIN)/python
	@echo "Installing what Penstock runs on into $(VENV) ..."
	@$(PIP) install --require-hashes --only-binary :all: --requirement requirements/run.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/dev.stamp: requirements/dev.txt pyproject.toml | $(BIN)/python
	@echo "Installing what Penstock is built with into $(VENV) ..."
	@$(PIP) install --require-hashes --only-binary :all: --requirement requirements/dev.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@ $(VENV)/run.stamp

tools:
	@.ci/tools node:nodejs npm:npm strace:strace pg_lsclusters:postgresql redis-server:redis-server openssl:openssl chromium:chromium promtool:prometheus amtool:prometheus-alertmanager victoria-metrics:victoria-metrics

$(NODE)/node_modules/.stamp: $(NODE)/package-lock.json | tools
	@npm ci --prefix $(NODE) --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null && touch $@ \
		|| { echo "The Node SDK is not installed: its tests cannot run."; test "$$PENSTOCK_REQUIRE" != all; }
