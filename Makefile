# Two commands matter: `make run` and `make test`. Each installs first; installing again costs nothing.
SHELL := /bin/sh
.DEFAULT_GOAL := help
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null \
	&& { command -v $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv pip
LOCK_ARGS := --universal --python-version 3.11 --generate-hashes --no-header --quiet --no-emit-index-url
# Tests mostly wait for servers: files run side by side, each worker with servers of its own (WORKERS=0: one by one).
WORKERS ?= 2
SIDE_BY_SIDE = -n $(WORKERS) --dist loadfile --no-loadscope-reorder
EXTRAS := streams rendered inference edge local dev
PACKAGES := backbone barnabas connectors inference_worker schemas streams

.PHONY: help install install-tensorflow run check lint test test-all chaos lock clean

help:  ## Show what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 18

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Barnabas needs Python 3.11 to 3.13; set PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "The venv module is missing; on Debian: apt-get install python3-venv" >&2; exit 1; }

$(BIN)/uv: requirements/bootstrap.lock | $(BIN)/python
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.lock
	@touch $@

$(VENV)/.installed: requirements/all.lock pyproject.toml $(BIN)/uv
	@echo "Installing from requirements/all.lock" >&2
	@$(UV) install --python $(BIN)/python --require-hashes --no-deps -r requirements/all.lock >&2
	@$(UV) install --python $(BIN)/python --no-deps --no-build-isolation --quiet -e . >&2
	@touch $@

install: $(VENV)/.installed  ## Make .venv with everything (nothing to do when nothing changed)

$(VENV)/.tensorflow: requirements/tensorflow.lock $(VENV)/.installed
	@echo "Installing from requirements/tensorflow.lock" >&2
	@$(UV) install --python $(BIN)/python --require-hashes --no-deps -r requirements/tensorflow.lock >&2
	@touch $@

install-tensorflow: $(VENV)/.tensorflow  ## Add TensorFlow to .venv (260 MB), for models that it saved

run: install  ## Start everything, run the demo, stay up (ONCE=1: stop after it; JSON=1: the demo as JSON lines)
	@$(BIN)/barnabas run $(if $(ONCE),--once) $(if $(JSON),--json) $(if $(URL),--url '$(URL)')

lint: install
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/lint-imports --no-logo >/dev/null || $(BIN)/lint-imports --no-logo
	@$(BIN)/mypy

check: lint  ## The fast checks: style, types, walls between rooms, tests that need no broker and no patience
	@$(BIN)/pytest -q -m "not stack and not slow and not long" --hypothesis-profile few --timeout 60 $(SIDE_BY_SIDE)

test: lint  ## Everything that gates a change, on a real Kafka and Valkey
	@$(BIN)/pytest -m "not long" $(SIDE_BY_SIDE)

test-all: lint install-tensorflow  ## And what takes long
	@$(BIN)/pytest --hypothesis-profile many

chaos: install  ## Break a running stack in every way for minutes, and hold the topics against what is promised (ARGS='--seed 7')
	@$(BIN)/python -m tests.chaos $(ARGS)

lock: $(BIN)/uv  ## Rewrite the locks from pyproject.toml
	@$(UV) compile pyproject.toml $(foreach extra,$(EXTRAS),--extra $(extra)) $(LOCK_ARGS) -o requirements/all.lock
	@# Images hold what the tests ran with.
	@for extras in streams inference edge 'streams rendered' tensorflow; do \
		$(UV) compile pyproject.toml $$(printf -- '--extra %s ' $$extras) $(LOCK_ARGS) -c requirements/all.lock \
			-o requirements/$$(echo $$extras | tr ' ' -).lock || exit 1; done
	@echo "uv" | $(UV) compile - $(LOCK_ARGS) -o requirements/bootstrap.lock
	@echo "hatchling" | $(UV) compile - $(LOCK_ARGS) -o requirements/build.lock

clean:  ## Remove what was installed and cached here (not the data of a stack: `barnabas reset`)
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
