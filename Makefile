# `make demo` or `make test` on a fresh machine is enough: each installs what it needs into .venv first.
# Another interpreter: make demo PYTHON=python3.12

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
SOURCE := __init__.py __main__.py configs data models pretrain predict report

.DEFAULT_GOAL := help
.PHONY: help demo test slow check fix dev wheel clean

help:
	@echo "make demo    install, then pretrain a small model on simulated volumes and write a report"
	@echo "make test    install with the tools of developers, then run the tests"
	@echo "make check   format, lint, types, import directions; changes nothing"
	@echo "make fix     put the format right, and what the linter can"
	@echo "make dev     only install, for developers"
	@echo "make wheel   build dist/luxvox-*.whl"
	@echo "make clean   remove what the others made: .venv, demo, dist, caches"

demo: $(VENV)/.installed
	rm -rf demo
	$(BIN)/luxvox demo --out demo

# Two processes with one thread each: most tests are too small for more.
test: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

# Kills, several ranks, large volumes: before a release.
slow: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

fix: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

dev: $(VENV)/.installed-dev

wheel: $(VENV)/.installed-dev
	rm -rf build dist
	$(BIN)/python -m build --wheel

clean:
	rm -rf $(VENV) build dist demo luxvox.egg-info .pytest_cache .ruff_cache .import_linter_cache

# The stamps make an installation happen once, and again when pyproject.toml changes.
$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --editable ".[train,text]"
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --editable ".[dev]"
	@touch $@ $(VENV)/.installed

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  found=$$($(PYTHON) --version 2>/dev/null || echo "not there"); \
	  echo "error: luxvox needs Python 3.11 or newer; $(PYTHON) is $$found." >&2; \
	  echo "Install a newer one and name it, for example: make demo PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "error: $(PYTHON) cannot make a virtual environment; on Debian or Ubuntu install the" >&2; \
	  echo "package python3-venv, then run make again." >&2; exit 1; }
