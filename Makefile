SHELL := /bin/bash
PYTHON := .venv/bin/python
UV := $(shell command -v uv || echo .tools/bin/uv)
LOCKED = --universal --generate-hashes --python-version 3.12 --no-emit-index-url --no-emit-find-links --no-annotate \
	--no-header
COMPILE = $(UV) pip compile -q pyproject.toml $(LOCKED)
CHECKED := ladders pipelines cluster serve $(wildcard benchmarks) tests

.DEFAULT_GOAL := help
.PHONY: help setup check test test-slow chaos bench demo dist lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## make .venv as the lock says (needs python3, gcc, libjpeg and zlib headers, Python 3.12 or newer)
	@.ci/setup.sh

check: setup ## lint, format, types and import rules
	$(PYTHON) -m ruff check
	$(PYTHON) -m ruff format --check
	$(PYTHON) -m mypy $(CHECKED)
	.venv/bin/lint-imports

test: setup ## all tests but the slow ones and those that break a farm
	$(PYTHON) -m pytest tests -m "not slow and not chaos"

test-slow: setup ## the slow tests
	$(PYTHON) -m pytest tests -m "slow and not chaos"

chaos: setup ## kill everything while jobs run, and say what was kept (CHAOS="--minutes 60 --seed 7")
	$(PYTHON) -m tests.chaos $(CHAOS)
	$(PYTHON) -m pytest tests -m chaos

bench: setup ## measure, print, and store the figures as JSON
	$(PYTHON) -m benchmarks

demo: setup ## run a real clip through the whole farm, over HTTP, on this machine
	$(PYTHON) -m serve.demo

dist: setup ## the wheel and the locks that ray-cluster.yaml installs on every node
	rm -rf dist
	$(PYTHON) -m hatchling build -t wheel -d dist
	cp requirements.lock requirements-gpu.lock dist/

lock: setup ## resolve the dependencies anew (add UPGRADE=--upgrade to move the versions)
	$(COMPILE) $(UPGRADE) -o requirements.lock
	$(COMPILE) $(UPGRADE) --group dev -c requirements.lock -o requirements-dev.lock
	$(COMPILE) $(UPGRADE) --extra gpu -c requirements.lock -o requirements-gpu.lock
	$(UV) pip compile -q $(LOCKED) $(UPGRADE) --group build -o requirements-build.lock

clean: ## remove what setup, tests and builds have made
	rm -rf farm-demo .venv .tools .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
