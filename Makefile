# make demo    environment, data, training, test, pictures: from nothing
# make demo-masks  the same with masks
# make test    environment (made once, shared by all clones) and all unmarked tests
# make slow    heavy sweeps and trainings to an AP
# make lint    ruff and docstring coverage
# make golden  refresh the golden files from rfdetr 1.11.2
# make env     the environment alone; its folder is printed
#
# STACK=openmmlab: on OpenMMLab's packages instead of OneDL's.
# PYTHON, RFDETR_MM_VENV, RFDETR_MM_CACHE, MMCV_FIND_LINKS: see
# tools/dev/environment.sh.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.PHONY: demo demo-masks test slow lint golden env clean

STACK ?= onedl
export STACK

IN_ENV = env="$$(tools/dev/environment.sh)"; \
	export PYTHONPATH="$(CURDIR)$${PYTHONPATH:+:$$PYTHONPATH}" \
	HF_HUB_OFFLINE=1 MPLBACKEND=Agg; "$$env/bin/python" -W ignore setup.py -q link_mim; \
	"$$env/bin/python"

demo:
	$(IN_ENV) demo/run.py

demo-masks:
	$(IN_ENV) demo/run.py --masks

# Deployment has a process of its own: in one where the tests of the Python
# page ran before ONNX Runtime's, OpenVINO's and LiteRT's libraries worked side
# by side, the interpreter crashed.
test:
	$(IN_ENV) -m pytest --stack=$(STACK) -m "not slow" --durations=10 --ignore=tests/deploy
	$(IN_ENV) -m pytest --stack=$(STACK) -m "not slow" --durations=10 tests/deploy

slow:
	$(IN_ENV) -m pytest --stack=$(STACK) -m slow -s --ignore=tests/deploy
	$(IN_ENV) -m pytest --stack=$(STACK) -m slow -s tests/deploy

lint:
	$(IN_ENV) -m ruff check . && "$$env/bin/python" -m ruff format --check . \
	&& "$$env/bin/python" -m interrogate -q -ipsmn --fail-under 90 rfdetr_mm

golden:
	$(IN_ENV) tests/parity/refresh_golden.py

env:
	@tools/dev/environment.sh

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache
