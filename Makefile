# make demo   a network trains on real data through the whole stack, and predicts with error bars
# make test   all tests, several at once; ARGS="-n 0 -k dropout" runs some, one by one
# make run    the stack, until Ctrl-C
# make chaos  rounds of 200 jobs on 3 workers under random kills: ROUNDS=1 by default
# make lint   what CI checks before the tests;  make format mends what can be mended
# make bench  the speed figures
# make docs   the pages of docs/ that follow from the code
.DEFAULT_GOAL := help
.PHONY: help demo run test chaos lint format bench docs clean

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Processes that test or check at once; each that tests has a Redis and a PostgreSQL of its own.
WORKERS ?= $(shell nproc 2>/dev/null || echo 2)
# Settings of a running installation must not reach the demo or the tests; and what these compile is kept, since they
# start dozens of processes that would each do so again.
CLEAN_ENV := env -u PYTHONDONTWRITEBYTECODE $(foreach name,$(shell env | sed -n 's/^\(TRAINYARD_[A-Z_]*\)=.*/\1/p'),-u $(name))

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

demo: $(VENV)/.installed
	@$(CLEAN_ENV) $(BIN)/python examples/demo.py

run: $(VENV)/.installed
	@$(BIN)/trainyard up

test: $(VENV)/.test-installed
	@$(CLEAN_ENV) $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

chaos: $(VENV)/.test-installed
	@$(CLEAN_ENV) CHAOS_ROUNDS=$(or $(ROUNDS),1) CHAOS_OUTAGE_SECONDS=30 $(BIN)/python -m pytest tests/chaos -s -v $(ARGS)

lint: $(VENV)/.test-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -n $(WORKERS)
	$(BIN)/lint-imports

format: $(VENV)/.test-installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed
	@$(CLEAN_ENV) $(BIN)/python benchmarks/latency.py
	@$(CLEAN_ENV) $(BIN)/python benchmarks/monte_carlo.py
	@$(CLEAN_ENV) $(BIN)/python benchmarks/memory.py
	@$(CLEAN_ENV) $(BIN)/python benchmarks/claims.py
	@$(CLEAN_ENV) $(BIN)/python benchmarks/serving.py
	@$(CLEAN_ENV) $(BIN)/python benchmarks/streaming.py
	@$(CLEAN_ENV) $(BIN)/python benchmarks/training.py

docs: $(VENV)/.installed
	$(BIN)/python -m service.catalog > docs/blocks.md
	$(BIN)/python docs/generate.py

clean:
	rm -rf $(VENV) build dist .trainyard *.egg-info .*_cache .hypothesis .coverage

# Two stages, so that the demo need not wait for what only the tests use. A stamp is newer than
# pyproject.toml when what it stands for is installed; the project itself is installed editable. pip compiles on
# one processor, and what cannot be compiled (templates) does no harm; what tests import is compiled when they do.
$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "trainyard needs Python 3.11 or newer; this is " \
	  + sys.version.split()[0] + ". Name another: make PYTHON=python3.12 ...")'
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: pyproject.toml $(VENV)/.created
	@echo 'Installing trainyard into $(VENV); the first time this downloads PyTorch, which takes a while ...'
	@$(BIN)/python -m pip install --quiet --no-compile --editable .
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true
	@touch $@

$(VENV)/.test-installed: pyproject.toml $(VENV)/.installed
	@echo 'Installing what the tests need ...'
	@$(BIN)/python -m pip install --quiet --no-compile --editable '.[test]'
	@touch $@
