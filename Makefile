# Every target works on a bare Debian machine with Python 3.11, git and make: .venv is made here.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
SUITE  ?= library
TYPED  := $(wildcard shardrouter/*/*.pxd shardrouter/*/*/*.pxd)

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow check format bench clean

help: ## Show these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(VENV)/.base: pyproject.toml setup.py $(TYPED) $(TYPED:.pxd=.py) # hot modules: compile anew
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { test "$$(id -u)" = 0 && apt-get update -qq && apt-get install -y -qq python3-venv; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[demo]'
	@$(BIN)/shardrouter --version
	@touch $@

$(VENV)/.dev: $(VENV)/.base
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: $(VENV)/.base ## Start a sharded, replicated fleet, load real flights, check every answer
	@$(BIN)/python -m demo

test: $(VENV)/.dev ## Run the tests against real Postgres (under 10 minutes on 2 cores)
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m "not slow"

test-slow: $(VENV)/.dev ## Run the long tests as well
	$(BIN)/python -m pytest -n 2 --dist loadgroup

check: $(VENV)/.dev ## Lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(VENV)/.dev ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.dev ## Run a benchmark suite: make bench SUITE=library
	$(BIN)/python -m benchmarks.run $(SUITE)

clean: ## Remove the virtual environment and build products
	rm -rf $(VENV) build *.egg-info
	find shardrouter -name '*.so' -delete -o -name '*.c' -delete
