# Every target sets up what it needs; the second run of it takes no time.
.DEFAULT_GOAL := help
.PHONY: help setup packages pulumi demo test fuzz mutants check bench soak lock clean
SHELL := /bin/bash

PYTHON := .venv/bin/python
SOURCES := engine provider tools tests benchmarks examples
# tests hand dictionaries to messages and trial values to everything: only their support is typed
TYPED := engine provider tools tests/conftest.py tests/support tests/tooling
SHELL_SCRIPTS := .ci/run tools/setup/environment tools/setup/debian-packages \
    tests/support/guest_init
# pytest takes more words: make test ARGS="-k scrub -x"
ARGS ?=

help: ## what there is
	@sed -nE 's/^([a-z]+):.*## (.*)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name what; do \
	    printf '  make %-9s %s\n' "$$name" "$$what"; done

setup: ## the virtual environment, as requirements.lock says
	@tools/setup/environment

packages: ## the Debian packages (as root), or what is missing
	@tools/setup/debian-packages

# 3 says: none here, go on without; anything else is a failure, in CI only
pulumi: setup ## the Pulumi command line: found, or built from Go modules
	@$(PYTHON) tools/pulumi_cli.py || [ $$? -eq 3 ]

demo: setup packages ## image, pool, attach, release, scrub: on this machine, in a minute
	@pulumi=$$($(PYTHON) tools/pulumi_cli.py) || true; \
	PATH="$(CURDIR)/.venv/bin$${pulumi:+:$$pulumi}:$$PATH" $(PYTHON) tools/demo.py

test: setup packages pulumi ## all tests; what this machine lacks is skipped, and listed
	@$(PYTHON) -m pytest $(ARGS)

FUZZ_REQUESTS ?= 100000
fuzz: setup packages ## bad input for every RPC and field: FUZZ_REQUESTS=100000, FUZZ_SEED=word
	@FUZZ_REQUESTS=$(FUZZ_REQUESTS) $(PYTHON) -m pytest tests/fuzz $(ARGS)

mutants: setup ## plant faults into copies of the engine; prints how many the tests find
	@$(PYTHON) tools/mutants.py

check: setup ## format, lint, types, layers, generated files, sizes, scripts
	$(PYTHON) -m ruff format --check $(wildcard $(SOURCES))
	$(PYTHON) -m ruff check $(wildcard $(SOURCES))
	$(PYTHON) -m mypy $(wildcard $(TYPED))
	.venv/bin/lint-imports --no-logo --cache-dir .import_linter_cache
	$(PYTHON) tools/generate_stubs.py --check
	@if [ -f tools/generate_schema.py ]; then set -x; $(PYTHON) tools/generate_schema.py --check; fi
	$(PYTHON) tools/generate_terraform_docs.py --check
	$(PYTHON) tools/generate_pulumi_docs.py --check
	$(PYTHON) tools/check_sizes.py
	$(PYTHON) tools/check_workflows.py
	@if command -v shellcheck >/dev/null; then set -x; shellcheck $(SHELL_SCRIPTS); \
	    else echo 'shellcheck is not installed: scripts were not looked over'; fi
	$(PYTHON) -m tools.lint_workflows

bench: setup packages pulumi ## the figures, each beside its floor; ARGS=--quick for a few rounds
	@$(PYTHON) -m tools.pulumi_extras yaml >/dev/null || [ $$? -eq 3 ]
	@pulumi=$$($(PYTHON) tools/pulumi_cli.py --find) || true; \
	PATH="$(CURDIR)/.venv/bin$${pulumi:+:$$pulumi}:$$PATH" $(PYTHON) benchmarks/run.py $(ARGS)

soak: setup packages ## 10,000 servers come and go; CYCLES=100000 for more
	@CLONEPOOL_SOAK_CYCLES=$(or $(CYCLES),10000) $(PYTHON) -m pytest tests/soak $(ARGS)

lock: ## make requirements.lock anew from pyproject.toml (needs uv); UPGRADE=1 takes newer versions
	uv pip compile pyproject.toml --all-extras --group dev --generate-hashes --no-emit-index-url \
	    --no-header --python-version 3.11 --universal $(if $(UPGRADE),--upgrade) --quiet \
	    -o requirements.lock

clean: ## remove what the targets made in this checkout
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
	find $(wildcard $(SOURCES)) -name __pycache__ -type d -prune -exec rm -rf {} +
