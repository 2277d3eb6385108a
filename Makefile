# make demo · make test · make bench · make docs · make clean
# Needs Python 3.11 to 3.14 and make; everything else goes into .venv. Use another interpreter with `make PYTHON=...`.

PYTHON ?= $(shell for candidate in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	command -v $$candidate > /dev/null 2>&1 \
	&& $$candidate -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2> /dev/null \
	&& { echo $$candidate; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
BUILD := build
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: demo test bench docs clean
.DEFAULT_GOAL := demo

demo: $(VENV)/.demo
	@mkdir -p $(BUILD)
	$(BIN)/netlang train examples/digits.net -o $(BUILD)/digits.netc
	$(BIN)/netlang draw examples/digits.net -o $(BUILD)/digits.svg
	$(BIN)/netlang draw examples/digits.net -o $(BUILD)/digits.png
	$(BIN)/netlang derive examples/digits.net --format html -o $(BUILD)/digits.html
	@echo
	@echo "the trained network  $(BUILD)/digits.netc"
	@echo "its diagram          $(BUILD)/digits.svg and $(BUILD)/digits.png"
	@echo "its derivation       $(BUILD)/digits.html"

test: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q -n auto

bench: $(VENV)/.bench
	@for script in benchmarks/bench_*.py; do \
		echo "== $$script"; $(BIN)/python "$$script" || exit 1; done

docs: $(VENV)/.test
	$(BIN)/python docs/generate.py
	$(BIN)/netlang draw examples/lenet5.net -o docs/lenet5.svg

clean:
	rm -rf $(BUILD) dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find netlang tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment. A stamp for each set of extras, so that what is installed is installed once; the installation is
# editable, so that a change in the source needs no new one.

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "netlang needs Python 3.11 to 3.14; install one, or run make PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "$(PYTHON) cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }

# pygraphviz brings Graphviz with it where it has a wheel; elsewhere the system's `dot` does, so its lack stops nothing.
$(VENV)/.demo: pyproject.toml | $(BIN)/python
	@echo "installing netlang and what it needs into $(VENV)"
	@$(PIP) install --editable '.[data]'
	@$(PIP) install --editable '.[draw]' || echo "pygraphviz does not install here: diagrams need Graphviz's dot on the PATH"
	@touch $@

# What netlang is compared with is optional: the benchmarks leave out what is not there.
$(VENV)/.bench: benchmarks/requirements.txt | $(VENV)/.demo
	@echo "installing what netlang is compared with into $(VENV)"
	@sed 's/#.*//' benchmarks/requirements.txt | while read -r peer; do [ -z "$$peer" ] || $(PIP) install "$$peer" \
		|| echo "$$peer does not install here: it is left out"; done
	@touch $@

$(VENV)/.test: pyproject.toml | $(BIN)/python $(VENV)/.demo
	@echo "installing the tools for tests into $(VENV)"
	@$(PIP) install --editable '.[data,test,dev]'
	@touch $@
