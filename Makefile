# Every target does its own set-up: on a fresh clone `make demo` or `make test` is all there is to type.
#   PYTHON=python3.12                  another interpreter for the virtual environment
#   TORCH_FLAGS="--index-url ..."      another build of PyTorch (by default pip decides)
#   ARGS="-k lora"                     passed on to the command of the target
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(shell command -v $(name))))
VENV := .venv
CONSTRAINTS := constraints.txt
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
READY := $(VENV)/.ready
TOYBOX_READY := $(VENV)/.ready-toybox
TORCH_FLAGS ?=
ARGS ?=

# The demo, the tests and the benchmarks live on the Toybox inside the package: nothing is downloaded at run time.
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: help setup demo test test-lowest soak lint format bench bench-toybench levels methods formats toybox clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

setup: $(READY)  ## create .venv and install the package with its pinned dependencies

$(READY): pyproject.toml $(CONSTRAINTS)
	@test -n "$(PYTHON)" || { echo "make: Python 3.11 or newer is needed; name it with PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "make: $(PYTHON) is too old, Python 3.11 or newer is needed; name it with PYTHON=..." >&2; exit 1; }
	@$(PIP) --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet $(TORCH_FLAGS) -c $(CONSTRAINTS) torch
	$(PIP) install --quiet -c $(CONSTRAINTS) -e '.[dev]'
	@touch $@

$(TOYBOX_READY): $(READY)
	$(PIP) install --quiet -c $(CONSTRAINTS) -e '.[toybox-build]'
	@touch $@

demo: $(READY)  ## learn a toy from four pictures and show it in new scenes (under 3 minutes on 2 cores)
	$(BIN)/persona demo $(ARGS)

test: $(READY)  ## run the whole test suite on two processes
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -q --durations=15 $(ARGS)

test-lowest:  ## run it on the lower bounds of the dependencies, in an environment of its own
	$(MAKE) test VENV=.venv-lowest CONSTRAINTS=constraints-lowest.txt

soak: $(READY)  ## run the tests that count with their whole counts; writes docs/promises.md
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -q --soak --soak-file benchmarks/trust/soak.json $(ARGS)
	$(BIN)/python tests/soak_rows.py

lint: $(READY)  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --level error

format: $(READY)  ## rewrite the code in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)  ## time a step, a picture and a start against the same without us; writes benchmarks/speed/README.md
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python benchmarks/speed/run.py $(ARGS)

bench-toybench: $(READY)  ## learn, generate and score on the Toybox; writes docs/scoreboard.md
	$(BIN)/persona bench toybench $(ARGS)

levels: $(READY)  ## measure what each recipe is proven to do, by its tests
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -q --write-evidence $(ARGS)

methods: $(READY)  ## write docs/methods.md from the registry and the evidence
	$(BIN)/python -m diffusers_persona.evaluation.methods $(ARGS)

formats: $(READY)  ## write docs/formats.md from the list of formats
	$(BIN)/python -m diffusers_persona.formats.page $(ARGS)

toybox: $(TOYBOX_READY)  ## rebuild the Toybox from its art (hours on two cores, resumable)
	$(BIN)/python -m diffusers_persona.toybox.build $(ARGS)

clean:  ## remove the virtual environments and the caches
	rm -rf $(VENV) .venv-lowest .pytest_cache .ruff_cache .hypothesis build dist
