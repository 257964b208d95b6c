PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt
FITS := import sys; \
	sys.exit(0 if (3, 10) <= sys.version_info < (3, 14) else "Python 3.10 to 3.13 is needed, and \
	$(PYTHON) is " + sys.version.split()[0] + ": make PYTHON=python3.12, say")

.PHONY: tables test test-slow lint clean

# The default benchmark, from drawing the data to tables, figures and report; then Table 2.
tables: $(VENV)/.tables
	$(BIN)/python -m benchmarks.run --all --preset mini

test: $(VENV)/.test
	$(BIN)/python -m pytest

# Thousands of broken files and hundreds of kills.
test-slow: $(VENV)/.test
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# What tables need: the package with the extra `bench`, and learn2learn.
$(VENV)/.tables: setup.cfg pyproject.toml constraints.txt requirements-learn2learn.txt
	@$(PYTHON) -c '$(FITS)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(INSTALL) setuptools
	$(INSTALL) --no-build-isolation --editable '.[bench]'
	$(BIN)/python -m pip install --quiet --no-deps --requirement requirements-learn2learn.txt
	touch $@

# And what tests need beside it: all other extras, and what checks the code.
$(VENV)/.test: $(VENV)/.tables
	$(INSTALL) --no-build-isolation --editable '.[test]'
	touch $@

clean:
	rm -rf $(VENV)
