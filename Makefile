# make demo   see it work            make test   everything CI runs
# make serve  run a server here      make bench  speed and memory, as ratios
# make simulate  try to break it    make corpus merge what people merged, where that corpus is at hand
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: demo serve test unit lint types contracts bench simulate corpus clean
demo: $(READY)
	$(BIN)/plait demo

serve: $(READY)
	$(BIN)/plait serve

test: lint types contracts unit

unit: $(READY)
	$(BIN)/python -m pytest -q

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

contracts: $(READY)
	$(BIN)/lint-imports

bench: $(READY)
	$(BIN)/python -m tests.benchmarks

SEEDS ?= 20000
FIRST ?= 0
simulate: $(READY)
	PYTHONPATH=tests $(BIN)/python -m simulation $(if $(SEED),--seed $(SEED),--seeds $(SEEDS) --first $(FIRST))

CORPUS ?= ../shared/corpus
corpus: $(READY)
	@if test -e $(CORPUS)/score_corpus.py; then \
		$(BIN)/python $(CORPUS)/score_corpus.py plait_merge:merge $(CORPUS)/merges-dev.jsonl.xz; \
	else \
		echo "SKIPPED: there is no corpus of merges at $(CORPUS)" >&2; \
	fi

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
