# Every target sets up what it needs in .venv of this checkout; nothing else is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CORES ?= all
# A file is one worker's: its tests share what they built. In the order of tests/conftest.py, the longest first.
# Three workers on two cores: the tests of kills, faults and pods wait more than they compute.
SPREAD := -n 3 --dist loadfile --no-loadscope-reorder
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints/ci.txt

.PHONY: build_noldo test test-fast bench lint format types schemas clean

build_noldo: $(VENV)/.build
	$(BIN)/snakemake --cores $(CORES) build_noldo

# All tests, the slow ones too, and every check that CI makes.
test: $(VENV)/.dev
	$(MAKE) -j 2 lint types
	$(BIN)/python -m pytest $(SPREAD) --durations 20

test-fast: $(VENV)/.dev
	$(BIN)/python -m pytest $(SPREAD) -m "not slow"

# All benchmarks, one after another; each leaves its record, and those that could not be made are told at the end.
BENCHMARKS := reading loading order items sizes cold building fetching selecting step osm_extract
bench: $(VENV)/.dev
	@failed=; for name in $(BENCHMARKS); do $(BIN)/python -m benchmarks.$$name || failed="$$failed $$name"; done; \
	test -z "$$failed" || { echo "bench: no record of$$failed; see above" >&2; exit 1; }

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile pipeline
	$(BIN)/snakemake --lint
	$(BIN)/lint-imports

types: $(VENV)/.dev
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile pipeline

# JSON Schemas of config, manifest and run record, from the models they describe.
schemas: $(VENV)/.build
	$(BIN)/python -m builders schemas

$(VENV)/.build: pyproject.toml constraints/ci.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; try make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e '.[build]'
	touch $@

$(VENV)/.dev: $(VENV)/.build
	$(PIP) -e '.[build,train,audit,explore,dev]'
	touch $@

clean:
	rm -rf $(VENV) results work logs .snakemake
