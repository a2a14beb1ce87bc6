# make demo      see it work            make test   everything CI runs
# make serve     run a server here      make bench  speed and memory, as ratios
# make simulate  clients, networks, a server and its disk, by seed, with faults at every step
# make crash     kill the server, cut its power, break its disk, CYCLES=100 times
# make fuzz      send it what nobody should, ROUNDS=25 times as much as the tests do
# make soak      everything at once, for MINUTES=20
# make corpus    merge what people merged, where that corpus is at hand
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: demo serve test unit lint types contracts bench simulate soak crash fuzz corpus clean
demo: $(READY)
	$(BIN)/plait demo

serve: $(READY)
	$(BIN)/plait serve

test: lint types contracts unit

WORKERS ?= 4
unit: $(READY)
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal

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

MINUTES ?= 20
soak: $(READY)
	$(BIN)/python -m tests.benchmarks.soak --minutes $(MINUTES) --json soak.json --svg soak.svg

CYCLES ?= 100
crash: $(READY)
	PLAIT_FAULTS=thorough PLAIT_FAULTS_CYCLES=$(CYCLES) $(BIN)/python -m pytest -q -rs \
		tests/server/faults/test_crash.py tests/server/faults/test_power_cut.py \
		tests/server/faults/test_failing_disk.py tests/server/faults/test_clock.py tests/server/faults/test_disk.py

ROUNDS ?= 25
fuzz: $(READY)
	PLAIT_TEST_FUZZ=$(ROUNDS) $(BIN)/python -m pytest -q tests/server/hostile tests/server/faults/test_hostile.py

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
