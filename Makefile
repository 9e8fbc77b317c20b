# The two commands of the README are `make demo` and `make test`; everything they need lands in .venv.
SHELL := /bin/bash
.DEFAULT_GOAL := help
BIN := .venv/bin
CHOOSE := for p in python3 python3.12 python3.11; do \
  $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null && echo $$p && break; done
PYTHON ?= $(shell $(CHOOSE))
# Many images set it; then each of the many processes of a run compiles all of TensorFlow and Ray once more.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test check lint types docs browser prometheus network proxies lock proto schema clean

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

# uv installs the lock in seconds; it comes from the lock too, by the venv's own pip.
.venv/installed: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "raybench needs Python 3.11 or 3.12 on PATH; install one, or name it: make PYTHON=/path/to/python3.12" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > .venv/uv.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .venv/uv.lock
	$(BIN)/uv pip install --system-certs --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --offline --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

demo: .venv/installed  ## the main job: photos through 4 Ray workers to a real Triton, beside TensorFlow in process
	$(BIN)/raybench run --workers 4

lint: .venv/installed  ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/installed  ## mypy, strict
	$(BIN)/mypy

# Three processes on two cores, so that waiting overlaps with computing; tests/conftest.py says which tests stay together.
PYTEST := $(BIN)/pytest -n 3 --dist loadgroup --no-loadscope-reorder --durations 10

test: lint types  ## lint, types, unit and end-to-end tests
	$(PYTEST) -m "not slow"

check: test docs  ## everything: test, the site of the docs, and what is slower
	$(PYTEST) -m slow

# The tables of flags come from the declarations; a broken link, an unknown anchor or a page that no menu names is an error.
# mkdocs-material 9 prints an advertisement for its successor unless the variable is set.
docs: .venv/installed  ## build README and docs/ as a site with search, in site/
	$(BIN)/python tests/support/flag_tables.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

browser:  ## Debian, as root: the Chromium in which tests open report.html; they are skipped where there is none
	apt-get update -qq
	apt-get install -y -qq --no-install-recommends chromium

prometheus:  ## Debian, as root: the Prometheus that scrapes a run in the tests; they are skipped where there is none
	apt-get update -qq
	apt-get install -y -qq --no-install-recommends prometheus

network:  ## Debian, as root: the `ip` with which tests make hosts of their own; they are skipped where there is none
	apt-get update -qq
	apt-get install -y -qq --no-install-recommends iproute2

proxies:  ## Debian, as root: the proxies between client and server in tests; they are skipped where there are none
	apt-get update -qq
	apt-get install -y -qq --no-install-recommends nginx-light haproxy nghttp2-proxy

COMPILE := $(BIN)/uv pip compile --system-certs --quiet --upgrade --generate-hashes --no-emit-index-url \
  --no-emit-find-links --custom-compile-command "make lock"

# Triton's image has the Python of Ubuntu 24.04.
lock: .venv/installed  ## renew requirements.lock and docker/triton.lock: exact versions and hashes, no index address
	$(COMPILE) pyproject.toml --universal --python-version 3.11 --all-extras -o requirements.lock
	$(COMPILE) docker/triton.in --constraint requirements.lock --python-version 3.12 \
	  --python-platform x86_64-manylinux_2_28 -o docker/triton.lock

proto: .venv/installed  ## compile the messages of TensorFlow Serving's client
	$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. raybench/clients/proto/tfserving.proto

schema: .venv/installed  ## write the JSON Schema of a benchmark's YAML, which editors read
	$(BIN)/python -m raybench.config.json_schema

clean:  ## remove what the targets made, results and models excepted
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache dist site
