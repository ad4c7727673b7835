# Everything happens in .venv; a stamp file in it says what is already installed there.

# python3.11 must answer, not only be found: a version manager's stub may point nowhere.
PYTHON ?= $(shell python3.11 -c 'print("python3.11")' 2>/dev/null || echo python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet

# Many processes start in the tests. Where bytecode may not be written, each would compile all of
# Python's modules again: 8.5 s to import scikit-learn, not 1.8.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help digits test bench gallery docs clean

help:
	@echo "make digits  train a network on the MNIST digits that come with the package"
	@echo "make test    run the linters, the type checker and the tests"
	@echo "make bench   run the referee suite; BENCH='--rounds 3' are options for it"
	@echo "make gallery runs every example at full length; SHORT=--short takes a part of the data"
	@echo "make docs    build the documentation as a site in site/"
	@echo "make clean   remove the virtual environment and the caches"
	@echo "Another Python: make digits PYTHON=/path/to/python3.12"

digits: $(VENV)/.digits
	$(BIN)/thalweg train digits

test: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -n 2

# The referee suite lies beside the checkout; its set-up installs the peers into the environment.
bench: $(VENV)/.test
	PATH="$(CURDIR)/$(BIN):$$PATH" sh ../shared/bench/setup.sh
	$(BIN)/python benchmarks/referee.py $(BENCH)

# The full length is that of the figures in docs/gallery.md; one example at a time.
gallery: $(VENV)/.digits
	@for name in $(basename $(notdir $(filter-out examples/_%,$(wildcard examples/*.py)))); do \
	  echo "== $$name"; \
	  $(BIN)/thalweg examples run $$name --out runs/gallery $(SHORT) || failed=1; \
	done; exit $${failed:-0}

docs: $(VENV)/.made
	$(PIP) --editable '.[docs,sklearn]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

$(VENV)/.made:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "Python is missing: '$(PYTHON)' is not a command. Install Python 3.11 or newer, or"; \
	  echo "name one: make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Thalweg needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) -V 2>&1). Name another:"; \
	  echo "make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "'$(PYTHON)' cannot make virtual environments: its venv or ensurepip module is missing."; \
	  echo "On Debian and Ubuntu: sudo apt install python3-venv (or python3.11-venv for 3.11)."; \
	  echo "Or name another Python: make PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/.digits: $(VENV)/.made pyproject.toml
	$(PIP) --editable '.[plots]'
	@touch $@

# Not byte-compiled: most modules of the judges are never imported, and it takes as long as the rest.
$(VENV)/.test: $(VENV)/.made pyproject.toml
	$(PIP) --no-compile --editable '.[test,judges,sklearn,plots]'
	@touch $@ $(VENV)/.digits

clean:
	rm -rf $(VENV) site .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
