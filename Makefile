# make demo [UI=0] [DATA=folder of a recording], make test, make sbom [SBOM=file],
# make bench [DATA=folder with the recordings uniswap_v2, spot_1h and rug_benchmarks] [FULL=1],
# make reliability; both [ONLY=part,other*] [REPORTS=folder of the page]
PYTHON ?= python3
BIN := .venv/bin
UI ?= 1
DATA ?=
SBOM ?= sbom.json
ONLY ?=
FULL ?=
REPORTS ?= reports
BENCH := $(BIN)/python benchmarks/bench.py --folder "$(REPORTS)"
LOCK := $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header --all-extras pyproject.toml

# Packages are compiled when they are first imported, once, and not anew in each process.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test lint format reliability bench lock sbom clean

demo: .venv/installed
	$(BIN)/trade-pipeline demo $(if $(DATA),--data "$(DATA)") $(if $(filter 0,$(UI)),--no-ui)

test: lint
	$(BIN)/python -m pytest -n 3 --dist loadfile

lint: .venv/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: .venv/installed
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: .venv/installed
	$(BENCH) run --only "$(ONLY)" $(if $(DATA),--data "$(DATA)") $(if $(FULL),--full)

reliability: .venv/installed
	$(BENCH) reliability --only "$(ONLY)"

lock:
	$(LOCK) -o requirements.lock

# A bill of materials (CycloneDX), checked against its schema; the same lock gives the same file.
sbom: .venv/installed
	$(BIN)/cyclonedx-py requirements --output-reproducible --of JSON --sv 1.6 --validate \
		--pyproject pyproject.toml -o "$(SBOM)" requirements.lock

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.9
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch .venv/installed

clean:
	rm -rf .venv
