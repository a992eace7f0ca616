PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
CLIENTS ?= .venv-clients
SHARE ?= $(shell expr $$(date -u +%s) / 86400 % 6 + 1)/6
# Byte code is kept, or each process that a test starts would compile all sources again.
PYTEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadgroup

.PHONY: help demo test test-full test-share test-gpu test-clients check bench mca wheel clean

help: ## Show what there is.
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "holdfast needs Python 3.11 or later: make PYTHON=python3.11 …"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/.python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/.python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@ $(VENV)/.installed

demo: $(VENV)/.installed ## Train an LSTM against a plain RNN for about a minute, and write a report.
	$(BIN)/holdfast demo

test: check ## Lint, type-check, check imports, and run the quick tests.
	$(PYTEST) -m 'not full'

test-full: check ## The same, with the runs that take long.
	$(PYTEST)

test-share: $(VENV)/.installed-dev ## A sixth of the runs that take long, another one each day; make test-share SHARE=2/6 …
	$(PYTEST) --share $(SHARE) --durations 10

test-gpu: $(VENV)/.installed-dev ## The whole layer suite on a GPU; needs PyTorch's build for it.
	@$(BIN)/python -c 'import sys, torch; sys.exit(None if torch.cuda.is_available() else "PyTorch finds no GPU here: nothing was tested")'
	TRITON_INTERPRET=0 HOLDFAST_DEVICE=cuda OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto tests/engines/triton

$(CLIENTS)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "holdfast needs Python 3.11 or later: make PYTHON=python3.11 …"; exit 1; }
	$(PYTHON) -m venv $(CLIENTS)
	$(CLIENTS)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(CLIENTS)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[clients]'
	@touch $@

test-clients: $(CLIENTS)/.installed ## Run our layers inside other libraries, which it installs; some minutes.
	OMP_NUM_THREADS=1 $(CLIENTS)/bin/python -m pytest --numprocesses 2 -W default tests/clients

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.installed-dev ## Measure speed and memory as ratios to peers; make bench ARGS="--only stream" …
	$(BIN)/python -m benchmarks $(ARGS)

mca: $(VENV)/.installed-dev ## Check compiled loops for spills, model their speed; make mca ARGS="--cpus haswell" …
	$(BIN)/python -m benchmarks.mca $(ARGS)

wheel: $(VENV)/.installed-dev ## Build the wheel.
	$(BIN)/hatchling build --target wheel

clean: ## Remove what was built.
	rm -rf $(VENV) $(CLIENTS) dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache holdfast-demo
