# make demo        a virtual environment, the package without torch, the whole path on a simulated fleet, a picture
# make test        the tests, without torch
# make test-train  adds torch and the tests that need it
# make figures     adds torch, learns and measures SQNR over rate, and layers (QUICK=1: a quarter of an hour)
# make lint        ruff, mypy, import contracts

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check install --quiet

.PHONY: demo test test-train figures lint clean

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "make: Python 3.11 or later is needed; set PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
	  || { echo "make: no virtual environment; on Debian: apt-get install python3-venv"; rm -rf $(VENV); exit 1; }

# One stamp per extra: an install is repeated only when setup.cfg changes.
$(VENV)/.installed-%: setup.cfg pyproject.toml | $(BIN)/python
	@echo "installing edge_wz[$*] into $(VENV)"
	@$(PIP) -e ".[$*]"
	@touch $@

demo: $(VENV)/.installed-demo
	$(BIN)/edge-wz demo --out demo-out

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n auto -m "not train"

test-train: $(VENV)/.installed-test $(VENV)/.installed-train
	$(BIN)/python -m pytest -n auto -m train

figures: $(VENV)/.installed-demo $(VENV)/.installed-train
	$(BIN)/python -m benchmarks.figures --out figures-out $(if $(QUICK),--quick)
	$(BIN)/python -m benchmarks.layered_figures --out figures-out/layered $(if $(QUICK),--quick --no-networks)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) demo-out build *.egg-info
