# make demo [UI=0] [DATA=folder of a recording], make test, make reliability,
# make benchmark [DATA=folder with the recordings uniswap_v2, spot_1h and rug_benchmarks],
# make soak [DATA=the same folder], make sbom [SBOM=file]
PYTHON ?= python3
BIN := .venv/bin
UI ?= 1
DATA ?=
SBOM ?= sbom.json
LOCK := $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header --all-extras pyproject.toml

.PHONY: demo test lint format reliability benchmark soak lock sbom clean

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

reliability: .venv/installed
	TRADE_PIPELINE_TEST_KILLS=50 $(BIN)/python -m pytest -m reliability -s

benchmark: .venv/installed
	$(BIN)/python benchmarks/session.py $(if $(DATA),--market uniswap-v2 --data "$(DATA)/uniswap_v2")
	$(BIN)/python benchmarks/replay.py $(if $(DATA),--market uniswap-v2 --data "$(DATA)/uniswap_v2",--end 2021-05-08)
	$(BIN)/python benchmarks/features.py --feast
	$(BIN)/python benchmarks/online.py
	$(BIN)/python benchmarks/live.py
	$(BIN)/python benchmarks/ledger.py
	$(BIN)/python benchmarks/models.py --mlflow
	$(if $(DATA),$(BIN)/python benchmarks/rug.py --data "$(DATA)")
	$(if $(DATA),$(BIN)/python benchmarks/gates.py --data "$(DATA)")
	$(if $(DATA),$(BIN)/python benchmarks/canary.py --data "$(DATA)")

soak: .venv/installed
	$(BIN)/python benchmarks/live.py --sustained 10
	$(BIN)/python benchmarks/soak.py --minutes 30 --kill \
		$(if $(DATA),--market uniswap-v2 --data "$(DATA)/uniswap_v2" --start 2021-05-01)

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
