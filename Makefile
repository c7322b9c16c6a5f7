# Everything is set up by what needs it: `make demo` and `make test` work on a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help setup demo test lint unit test-vllm docs bench clean

help:  ## what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/'

setup: $(READY)  ## the environment, in .venv

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; try: make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[dev]'
	touch $(READY)

demo: setup  ## the whole way on real video; result in demo-out/
	$(BIN)/python bench/demo.py

test: lint unit  ## linters, types and the tests that need no environment of their own

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: setup
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile

test-vllm: setup  ## the real vLLM engine on the CPU, in .venv-vllm
	sh scripts/vllm_env.sh
	.venv-vllm/bin/python -m pytest -m slow tests/slow

docs: setup  ## the page of the configuration, from its schema
	$(BIN)/python -m pipelines.config > docs/configuration.md

bench: setup  ## proofreel against plain ffmpeg
	$(BIN)/python bench/curate.py
	$(BIN)/python bench/curate.py memory
	$(BIN)/python bench/curate.py growth
	$(BIN)/python bench/shots.py

clean:
	rm -rf $(VENV) .venv-vllm demo-out .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
