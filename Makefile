# Everything is set up by what needs it: `make demo` and `make test` work on a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

TRAINERS := trl swift llamafactory verl
EXPORTS := build/trainers
# One more than two cores keep busy: tests wait for processes and servers a quarter of their time.
TEST_WORKERS ?= 3

.PHONY: help setup setup-vllm setup-trainers demo demo-vllm test lint unit test-vllm test-trainers \
	exports $(TRAINERS:%=test-%) test-prism test-flink test-spark setup-gcp test-dataflow test-kill docs \
	bench bench-scale bench-vllm clean

help:  ## what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/'

setup: $(READY)  ## the environment, in .venv

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; try: make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint constraints.txt --editable '.[dev]'
	touch $(READY)

demo: setup  ## the whole way on real video; result in demo-out/
	$(BIN)/python bench/demo.py

demo-vllm: setup-vllm  ## the whole way with a small model that sees, on vLLM; demo-vllm-out/
	$(VLLM_CPU) .venv-vllm/bin/python bench/demo_vllm.py

test: lint unit  ## linters, types and the tests that need no environment of their own

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: setup
	$(BIN)/python -m pytest -m "not slow" -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder

# vLLM on a CPU: a small cache, no binding of threads to cores, no word to anybody outside.
VLLM_CPU := VLLM_CPU_KVCACHE_SPACE=1 VLLM_CPU_OMP_THREADS_BIND=nobind OMP_NUM_THREADS=1 \
	HF_HUB_OFFLINE=1 VLLM_NO_USAGE_STATS=1 VLLM_LOGGING_LEVEL=ERROR

setup-vllm: setup  ## the environment with vLLM for the CPU, in .venv-vllm
	sh scripts/vllm_env.sh

test-vllm: setup-vllm  ## the real vLLM engine on the CPU
	.venv-vllm/bin/python -m pytest -m slow tests/slow

setup-trainers: $(TRAINERS:%=.venv-%/.ready)  ## environments with the trainers' libraries, in .venv-trl and others

.venv-%/.ready: requirements/trainer-%.txt scripts/trainer_env.sh $(READY)
	sh scripts/trainer_env.sh $*
	touch $@

exports: setup
	$(BIN)/python tests/trainers/make_exports.py $(EXPORTS)

# Modules are compiled when they are first imported, and kept: a test imports few of many.
TRAINER_TEST = env -u PYTHONDONTWRITEBYTECODE PROOFREEL_TRAINER_EXPORTS=$(CURDIR)/$(EXPORTS) \
	HF_HUB_OFFLINE=1 HF_HOME=$(CURDIR)/$(EXPORTS)/hub MODELSCOPE_CACHE=$(CURDIR)/$(EXPORTS)/modelscope \
	OMP_NUM_THREADS=1 $(@:test-%=.venv-%)/bin/python -m pytest -m slow

test-trl: .venv-trl/.ready exports  ## TRL, Energon and OpenRLHF on our exports
	$(TRAINER_TEST) $(addprefix tests/trainers/test_,trl.py energon.py openrlhf.py)

test-swift test-llamafactory test-verl: test-%: .venv-%/.ready exports  ## these trainers on our exports
	$(TRAINER_TEST) tests/trainers/test_$*.py

test-trainers: setup-trainers  ## the trainers' own code loads and trains on our exports
	$(MAKE) -j2 -k --output-sync $(TRAINERS:%=test-%)

test-prism: setup  ## the whole way on Prism, the same bytes
	sh scripts/engines.sh prism
	$(BIN)/python -m pytest -m slow tests/runners/test_prism_run.py

test-flink: setup  ## the whole way on a Flink cluster on loopback, also with parts of it killed
	sh scripts/engines.sh flink
	$(BIN)/python -m pytest -m slow tests/runners/test_flink_run.py

test-spark: setup  ## the whole way on Spark, also on a cluster on loopback with a part of it killed
	sh scripts/engines.sh spark
	$(BIN)/python -m pytest -m slow tests/runners/test_spark_run.py

setup-gcp: .venv-gcp/.ready  ## the environment with Google's packages for Dataflow, in .venv-gcp

.venv-gcp/.ready: pyproject.toml constraints.txt $(READY)
	$(BIN)/uv venv --quiet --allow-existing --python $(BIN)/python .venv-gcp
	$(BIN)/uv pip install --quiet --python .venv-gcp/bin/python --constraint constraints.txt --editable '.[dev,gcp]'
	touch $@

test-dataflow: setup-gcp  ## the whole way as a job for Dataflow, built and looked at, not sent
	.venv-gcp/bin/python -m pytest -m slow tests/runners/test_dataflow_job.py

test-kill: setup  ## fifty kills over all stages, then the same bytes; Ctrl-C wherever workers are
	$(BIN)/python -m pytest -m slow tests/pipelines/test_fifty_kills.py tests/pipelines/test_interrupt.py

bench-vllm: setup-vllm  ## the teacher leg against the bare engine
	$(VLLM_CPU) .venv-vllm/bin/python bench/teacher.py

docs: setup  ## the page of the configuration, from its schema
	$(BIN)/python -m pipelines.config > docs/configuration.md

bench: setup  ## proofreel against plain ffmpeg, copies and webdataset, the verifier against planted errors
	$(BIN)/python bench/curate.py
	$(BIN)/python bench/curate.py memory
	$(BIN)/python bench/curate.py growth
	$(BIN)/python bench/shots.py
	$(BIN)/python bench/verifier.py
	$(BIN)/python bench/publish.py

bench-scale: setup  ## workers, overhead, growth, reruns, shuffles, the last step: some two hours
	$(BIN)/python bench/scale.py workers
	$(BIN)/python bench/scale.py overhead
	$(BIN)/python bench/scale.py rerun
	$(BIN)/python bench/scale.py growth
	$(BIN)/python bench/shuffles.py
	$(BIN)/python bench/finish.py
	$(BIN)/python bench/near_duplicates.py

clean:
	rm -rf $(VENV) .venv-* build/trainers demo-out demo-vllm-out .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
