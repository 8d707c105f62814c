# 'make run' and 'make test' set everything up in .venv by themselves; 'make help' lists the targets.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
ARGS   ?=

# The tested versions need Python 3.11; an older one takes the newest that fit it.
CONSTRAINTS = $$($(PYTHON) -c 'import sys; print("-c constraints.txt" if sys.version_info >= (3, 11) else "")')

# $(call install,EXTRAS): an interrupted install leaves no stamp and is done again.
define install
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check $(CONSTRAINTS) -e '.$(1)'
	touch $@
endef

.DEFAULT_GOAL := help
.PHONY: help run test lint bench lab clean

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' $(firstword $(MAKEFILE_LIST)) | expand -t 8

run: $(VENV)/.installed ## run the digits profile from the first label to the report (ARGS="--set ...")
	$(BIN)/nsfast run digits $(ARGS)

test: $(VENV)/.installed-dev ## run the tests (ARGS="-k folder" and the like)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(VENV)/.installed-dev ## check style, import floors and that notebooks hold no outputs
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --no-logo
	$(BIN)/nbstripout --verify --keep-id $(wildcard notebooks/*.ipynb)

bench: $(VENV)/.installed-dev ## measure the ratios, a few minutes, into benchmarks/RESULTS.md
	$(BIN)/python benchmarks

lab: $(VENV)/.installed-lab ## open the notebooks in JupyterLab
	$(BIN)/jupyter lab notebooks $(ARGS)

clean: ## delete .venv, builds and caches; runs/ and data/ stay
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find nsfast tests benchmarks notebooks -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/.installed: pyproject.toml
	$(call install,)

$(VENV)/.installed-lab: pyproject.toml
	$(call install,[lab])
	touch $(VENV)/.installed

$(VENV)/.installed-dev: pyproject.toml
	$(call install,[dev])
	touch $(VENV)/.installed $(VENV)/.installed-lab
