PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: tables test test-slow clean

# The default benchmark, from drawing the data to tables, figures and report; then Table 2.
tables: $(VENV)/.installed
	$(BIN)/python -m benchmarks.run --all --preset mini

test: $(VENV)/.installed
	$(BIN)/python -m pytest

# Thousands of broken files and hundreds of kills.
test-slow: $(VENV)/.installed
	$(BIN)/python -m pytest -m slow

$(VENV)/.installed: requirements.txt requirements-learn2learn.txt constraints.txt setup.cfg
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -r requirements.txt -c constraints.txt
	$(BIN)/python -m pip install --quiet --no-deps -r requirements-learn2learn.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

clean:
	rm -rf $(VENV)
