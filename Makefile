# Needs only make and Python 3.11 or newer; everything else is installed into .venv from
# requirements.lock. `make` alone prints what there is.

PYTHON ?=
SEEDS ?= 1-200
FRESH ?=
STEPS ?= 60
JOBS ?= 1
STORE ?= memory
HOST ?= 127.0.0.1
PORT ?= 8080
TESTS ?=
WORKERS ?= auto
BUGS ?=
PART ?= core
SAMPLE ?= 200
SEED ?=
QUICK ?=

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input

.DEFAULT_GOAL := help
.PHONY: help install demo serve test coverage check lint types imports docs-check format bench simulate planted mutants lock clean
.DELETE_ON_ERROR:

help: ## Print this help
	@echo "usage: make TARGET [NAME=value …]"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-11s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "  PYTHON=…    the interpreter to build .venv with (default: the newest of python3.13,"
	@echo "              python3.12, python3.11, python3 that is 3.11 or newer)"

install: $(STAMP) ## Build .venv from requirements.lock (again only when that or pyproject.toml changed)

# A name on PATH proves nothing (version managers leave shims), so each candidate is asked.
$(STAMP): requirements.lock pyproject.toml
	@set -e; \
	probe='import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))'; \
	if ! $(BIN)/python -c "import pip; $$probe" >/dev/null 2>&1; then \
		python=; \
		for candidate in $(or $(PYTHON),python3.13 python3.12 python3.11 python3); do \
			if "$$candidate" -c "$$probe" >/dev/null 2>&1; then python=$$candidate; break; fi; \
		done; \
		if [ -z "$$python" ]; then \
			echo "No usable Python among: $(or $(PYTHON),python3.13 python3.12 python3.11 python3)." >&2; \
			echo "Python 3.11 or newer with its venv module is needed (on Debian and Ubuntu the" >&2; \
			echo "package python3-venv). Name one with: make $(or $(firstword $(MAKECMDGOALS)),install) PYTHON=/path/to/python" >&2; \
			exit 1; \
		fi; \
		echo "Building $(VENV) with $$("$$python" --version)"; \
		"$$python" -m venv --clear $(VENV); \
	fi
	@echo "Installing from requirements.lock (a minute or two the first time)"
	@$(PIP) install --quiet --require-hashes -r requirements.lock -c requirements.lock
	@$(PIP) install --quiet --no-deps --no-build-isolation -e .
	@touch $@

demo: install ## Play a sample season through a whole service, on a virtual clock
	$(BIN)/coordinator demo

serve: install ## Serve the registry in this folder with an embedded store
	@mkdir -p var
	$(BIN)/coordinator serve --registry registry.yaml --store sqlite:var/coordinator.sqlite --host $(HOST) --port $(PORT)

test: install ## Run the whole test suite (TESTS="tests/core -k name" for a part, WORKERS=0 for one process)
	$(BIN)/python -m pytest -n $(WORKERS) $(TESTS)

coverage: install ## The test suite with branch coverage
	$(BIN)/python -m pytest -n $(WORKERS) --cov --cov-report=term $(TESTS)

check: lint types imports docs-check ## Lint, format, types, import direction, generated documentation

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

imports: install
	$(BIN)/lint-imports --no-logo

# Pages that are generated from code, or that list what the code has, are compared with the code.
# tests/test_docs.py checks links, commands and terms; tests/test_plain_words.py the wording.
docs-check: install
	$(BIN)/python -m coordinator.statesdoc --check
	$(BIN)/python -m pytest -q -p no:xdist tests/test_docs.py tests/test_notices_page.py \
		tests/test_plain_words.py \
		tests/cli/test_help.py tests/registry/test_reference_page.py tests/api/test_reference.py

format: install ## Rewrite the code in the house format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install ## Measure this machine and write docs/benchmarks.md (QUICK=1: rough numbers, no page)
	$(BIN)/python -m benchmarks $(if $(QUICK),--quick)

simulate: install ## Seeded worlds with faults, checked against the laws (SEEDS=1-200 or FRESH=100, STEPS=60, JOBS=2, STORE=firestore)
	$(BIN)/python -m coordinator.simulation $(if $(FRESH),--fresh $(FRESH),--seeds $(SEEDS)) \
		--steps $(STEPS) --jobs $(JOBS) --store $(STORE)

planted: install ## Plant known bugs one by one; each must be caught (BUGS="name …" for some)
	$(BIN)/python -m tests.planted $(BUGS)

mutants: install ## Change the code at random; few changes may go unseen (PART=core, SAMPLE=200, SEED=…)
	$(BIN)/python -m tests.mutants $(PART) --sample $(SAMPLE) $(if $(SEED),--seed $(SEED))

lock: install ## Resolve both lock files anew (UPGRADE=1 to move to the newest versions)
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--custom-compile-command "make lock" $(if $(UPGRADE),--upgrade) \
		--all-extras pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--custom-compile-command "make lock" --no-annotate --constraint requirements.lock \
		--extra gcp pyproject.toml -o requirements-runtime.lock

clean: ## Remove .venv, caches and local state
	rm -rf $(VENV) .mutants .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache \
		.coverage .coverage.* htmlcov build dist var
	find coordinator processors tests -type d -name __pycache__ -prune -exec rm -rf {} +
