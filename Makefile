# Two targets do everything: `make report` and `make test`. Both set up .venv first,
# which needs Python >= 3.11 with venv and pip, and nothing else.

PYTHON ?= python3
SCALE ?= $(or $(GSMLIB_SCALE),quick)
MINUTES ?= 60
BIN := .venv/bin
STAMP := .venv/installed

.PHONY: report test torture versions readme lint format lock clean

report: $(STAMP)
	$(BIN)/gsmlib report --scale $(SCALE)

test: lint
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest

# Campaigns against the store, the stages and the calculator; see docs/torture.md.
torture: $(STAMP)
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 PYTHONPATH=tests $(BIN)/python -m torture --minutes $(MINUTES)

# Notes the code of every stage as seen: run after a change, see tests/stage_code.py.
versions: $(STAMP)
	$(BIN)/python tests/stage_code.py

# Writes README's tables and docs/figures.md from the records and the ledger.
readme: $(STAMP)
	$(BIN)/python tests/readme_wall.py

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("gsmlib needs Python 3.11 or later; set PYTHON=" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps -e .
	touch $@

# The versions of this .venv, torch's without the name of its build.
lock: $(STAMP)
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/+[a-z0-9.]*$$//' > requirements.lock
	touch $(STAMP)

clean:
	rm -rf .venv runs build *.egg-info
