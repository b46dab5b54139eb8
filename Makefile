# Two targets do everything: `make report` and `make test`. Both set up .venv first,
# which needs Python 3.11 to 3.14 with venv and pip, and nothing else.

PYTHON ?= python3
SCALE ?= $(or $(GSMLIB_SCALE),quick)
MINUTES ?= 60
BIN := .venv/bin
STAMP := .venv/installed
export PIP_USER := no

define CHECK
import sys
version = "%d.%d" % sys.version_info[:2]
if not (3, 11) <= sys.version_info[:2] <= (3, 14):
    end = "3.11 to 3.14; install one and name it: make PYTHON=python3.11"
    sys.exit("gsmlib: %s is Python %s, needed is " % (sys.executable, version) + end)
try:
    import ensurepip, venv
    ensurepip.version()
except (ImportError, AttributeError, OSError):
    end = "install python%s-venv (or python3-venv) and run make again" % version
    sys.exit("gsmlib: %s lacks venv and pip; " % sys.executable + end)
endef
export CHECK

# A .venv is made anew if it was half made or moved, has lost its Python, or is of another
# Python than the one that is asked for.
ifneq ($(origin PYTHON),file)
WANTED := $(or $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null),none)
endif
SOUND := $(shell (grep -sF '$(CURDIR)/.venv' .venv/bin/activate && ls -d .venv/lib/python$(WANTED)* && $(BIN)/python -m pip --version) >/dev/null 2>&1 && echo yes)
ifndef SOUND
.PHONY: $(STAMP)
endif

.PHONY: report test torture versions readme lint format lock clean

report: $(STAMP)
	$(BIN)/gsmlib report --scale $(SCALE)

test: lint
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

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
	@command -v $(PYTHON) >/dev/null || { echo "gsmlib: there is no $(PYTHON); install Python 3.11 to 3.14, or name one: make PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -c "$$CHECK"
	$(if $(SOUND),,$(PYTHON) -m venv --clear .venv || { echo "gsmlib: $(PYTHON) could not make .venv, see above; mend that and run make again"; exit 1; })
	$(BIN)/python -m pip install --quiet -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps -e .
	touch $@

# For every Python that is promised; keeps what versions it can. What torch brings for GPUs
# is left to the torch that is installed: its build for CPUs needs none of it.
lock: $(STAMP)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/python -m uv pip compile --quiet --universal --python-version 3.11.0 --extra dev \
		--no-header --no-annotate --output-file requirements.lock pyproject.toml
	sed -i.old '/^\(cuda\|nvidia\|triton\)/d' requirements.lock && rm requirements.lock.old

clean:
	rm -rf .venv runs build *.egg-info
