# make demo    environment, data, training, test, pictures: from nothing
# make demo-masks  the same with masks
# make demo-figures  the same with keypoints
# make test    environment (made once, shared by all clones) and all unmarked tests
# make slow    heavy sweeps and trainings to an AP
# make fuzz    bad input, MINUTES=10 for each kind of file
# make soak    a training killed twenty times ends as one that was not; over an hour
# make scale-test  the tests of --engine ray, in an environment of their own
# make matrix  other Pythons and torches: an environment each, deleted afterwards
# make benchmarks  measure beside rfdetr on this processor, and write docs/benchmark.md
# make lint    ruff, docstring coverage, spelling and banned phrases
# make docs    the documentation site, in build/site/html
# make docs-links  its links to other sites, over the network
# make golden  refresh the golden files from rfdetr 1.11.2
# make env     the environment of demo alone; its folder is printed
# make test-env  the same with what the tests need
# make lock    resolve the requirement files anew, by uv
#
# STACK=openmmlab: on OpenMMLab's packages instead of OneDL's.
# PYTHON, TORCH_INDEX, COMPILE_OPS, MMCV_FIND_LINKS, RFDETR_MM_VENV,
# RFDETR_MM_CACHE: see tools/dev/environment.sh. PYTHONS: tools/dev/matrix.sh.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.PHONY: demo demo-masks demo-figures test slow fuzz soak scale-test matrix benchmarks lint docs docs-links golden env test-env lock clean

STACK ?= onedl
export STACK
# Processes of make test; each computes with one thread. See tests/workers.py.
WORKERS ?= 2
# How long make fuzz tries each kind of file, in minutes.
MINUTES ?= 10

# $(call IN_ENV,GROUP): Python of an environment, on this clone.
IN_ENV = env="$$(tools/dev/environment.sh $(1))"; \
	export PYTHONPATH="$(CURDIR)$${PYTHONPATH:+:$$PYTHONPATH}" \
	HF_HUB_OFFLINE=1 MPLBACKEND=Agg; "$$env/bin/python" -W ignore setup.py -q link_mim; \
	"$$env/bin/python"

demo:
	$(call IN_ENV,demo) demo/run.py

demo-masks:
	$(call IN_ENV,demo) demo/run.py --masks

demo-figures:
	$(call IN_ENV,demo) demo/run.py --figures

# Deployment has a process of its own: in one where the tests of the Python
# page ran before ONNX Runtime's, OpenVINO's and LiteRT's libraries worked side
# by side, the interpreter crashed.
RUNS_FILES := tests/deploy tests/runtime/sessions
test:
	$(call IN_ENV,test) -m pytest --stack=$(STACK) -n $(WORKERS) -m "not slow" --durations=20 $(RUNS_FILES:%=--ignore=%)
	$(call IN_ENV,test) -m pytest --stack=$(STACK) -n $(WORKERS) -m "not slow" --durations=20 $(RUNS_FILES)

slow:
	$(call IN_ENV,test) -m pytest --stack=$(STACK) -m slow -s --ignore=tests/deploy
	$(call IN_ENV,test) -m pytest --stack=$(STACK) -m slow -s tests/deploy

fuzz:
	$(call IN_ENV,test) -m pytest --stack=$(STACK) -m fuzz -s --timeout=0 --fuzz-minutes=$(MINUTES) tests/datasets tests/checkpoints tests/engine tests/runtime

# Goes on where it was stopped. SOAK=--quick is a short training with few kills.
soak:
	$(call IN_ENV,test) tools/dev/soak.py $(SOAK)

scale-test:
	tools/dev/scale_test.sh

matrix:
	tools/dev/matrix.sh

# An hour or two; goes on where it was stopped. BENCHMARKS=--list says what is missing.
benchmarks:
	$(call IN_ENV,test) -W ignore benchmarks/measure.py $(BENCHMARKS)

lint:
	env="$$(tools/dev/environment.sh lint)"; export PATH="$$env/bin:$$PATH"; \
	ruff check . && ruff format --check . && interrogate -q -ipsmn --fail-under 90 rfdetr_mm rfdetr_mm_light rfdetr_runtime && codespell && python tools/dev/prose.py

docs:
	env="$$(tools/dev/environment.sh docs)"; "$$env/bin/python" tools/dev/website/build.py

docs-links:
	env="$$(tools/dev/environment.sh docs)"; "$$env/bin/python" tools/dev/website/build.py --external

golden:
	$(call IN_ENV,test) tests/parity/refresh_golden.py

env:
	@tools/dev/environment.sh demo

test-env:
	@tools/dev/environment.sh test

lock:
	tools/dev/lock.sh

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache
