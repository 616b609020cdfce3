# Pneumoscope's commands. `make serve` and `make test` need nothing but Python 3.11 or newer and make: each makes
# its virtual environment the first time, and brings it up to date when pyproject.toml or constraints.txt changes.

# The first Python that every dependency has wheels for, else any that the service alone can run on.
# PYTHON=/path/to/python takes another.
first_python = $(firstword $(foreach name,$(1),$(shell \
    $(name) -c 'import sys; sys.exit(not $(2))' >/dev/null 2>&1 && echo $(name))))
PYTHON ?= $(or $(call first_python,python3 python3.13 python3.12 python3.11,(3, 11) <= sys.version_info < (3, 14)), \
    $(call first_python,python3 python,(3, 11) <= sys.version_info))

# onnxruntime and onnxruntime-gpu overwrite each other's files, so each has an environment of its own.
ifndef HARDWARE
HARDWARE := $(shell nvidia-smi -L >/dev/null 2>&1 && echo gpu || echo cpu)
endif
CPU_VENV := .venv
GPU_VENV := .venv-gpu
ifeq ($(HARDWARE),gpu)
SERVE_VENV := $(GPU_VENV)
else
SERVE_VENV := $(CPU_VENV)
endif
DEV := $(CPU_VENV)/.dev
# A developer's environment holds what benchmarks need, but for CUDA.
BENCH_VENV := $(SERVE_VENV)
ifeq ($(HARDWARE),gpu)
BENCH_STAMP := .bench
else
BENCH_STAMP := .dev
endif
BIN := $(CPU_VENV)/bin

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help serve test lint format explore train compare reproduce export bench audit

help: ## Show this list
	@echo 'make TARGET [NAME=VALUE ...]'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(firstword $(MAKEFILE_LIST)) \
	    | while IFS='|' read -r target text; do printf '  %-9s %s\n' "$$target" "$$text"; done

serve: $(SERVE_VENV)/.serve ## Start the service on port 8000, on the GPU where there is one (HARDWARE=cpu or gpu decides)
	$(SERVE_VENV)/bin/python -m app $(ARGS)

test: $(DEV) ## Run the tests (ARGS='-k raster' and the like are passed to pytest)
	$(BIN)/python -m pytest $(ARGS)

lint: $(DEV) ## Check style, types and which package imports which
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(DEV) ## Rewrite the code in the project's style
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

explore: $(DEV) ## Show what a folder of films holds before training: DATA=FOLDER, further options in ARGS
	$(if $(DATA),,$(error DATA is missing: make explore DATA=FOLDER, with train/NORMAL and train/PNEUMONIA inside))
	$(BIN)/python -m training explore --data '$(DATA)' $(ARGS)

train: $(DEV) ## Train a network: DATA=FOLDER, further options in ARGS (ARGS=--help lists them)
	$(if $(DATA),,$(error DATA is missing: make train DATA=FOLDER, with train/NORMAL and train/PNEUMONIA inside))
	$(BIN)/python -m training fit --data '$(DATA)' $(ARGS)

compare: $(DEV) ## Train every network by one recipe and compare them: DATA=FOLDER, further options in ARGS
	$(if $(DATA),,$(error DATA is missing: make compare DATA=FOLDER, with train/NORMAL and train/PNEUMONIA inside))
	$(BIN)/python -m training compare --data '$(DATA)' $(ARGS)

reproduce: runs/shipped-5/metrics.json ## Train the shipped model anew, five runs, hours on two cores; killed, it goes on: DATA=FOLDER
	@echo "Next: make export MODEL=runs/shipped-5/model.keras ARGS='--data $(DATA)'"

# Each goes on from the one before; docs/training.md, "The shipped run", tells what each is for.
REPRODUCE = $(if $(DATA),,$(error DATA is missing: make reproduce DATA=FOLDER, with train/NORMAL and train/PNEUMONIA inside))$\
    $(BIN)/python -m training fit --data '$(DATA)' --run $(@D) --precision mixed_bfloat16
$(foreach run,1 2 3 4 5,runs/shipped-$(run)/metrics.json): | $(DEV)
runs/shipped-1/metrics.json:
	$(REPRODUCE)
runs/shipped-2/metrics.json: runs/shipped-1/metrics.json
	$(REPRODUCE) --weights $(<D)/model.keras --stages 128x6,160x6,224x2 --learning-rate 4e-4 --fine-tune-epochs 1
runs/shipped-3/metrics.json: runs/shipped-2/metrics.json
	$(REPRODUCE) --weights $(<D)/model.keras --stages 160x2,224x1 --learning-rate 3e-4 --fine-tune-epochs 1
runs/shipped-4/metrics.json: runs/shipped-3/metrics.json
	$(REPRODUCE) --weights $(<D)/model.keras --stages 224x2x16 --learning-rate 2e-4 --fine-tune-epochs 1
runs/shipped-5/metrics.json: runs/shipped-4/metrics.json
	$(REPRODUCE) --weights $(<D)/model.keras --stages 224x1x16 --learning-rate 3e-4 --fine-tune-epochs 1 \
	    --consistency 8 --averaging 0.99

export: $(DEV) ## Turn a network into the model files to serve: MODEL=FILE.keras, further options in ARGS
	$(if $(MODEL),,$(error MODEL is missing: make export MODEL=FILE.keras))
	$(BIN)/python -m model_export '$(MODEL)' $(ARGS)

bench: $(BENCH_VENV)/$(BENCH_STAMP) ## Measure the service and its peers, about an hour: ARGS='--films FOLDER --keras FILE.keras', all optional
	$(BENCH_VENV)/bin/python -m benchmarks $(if $(filter gpu,$(HARDWARE)),--device cuda) $(ARGS)

# What the image has, and nothing else: neither pip nor a developer's tools. A dependency that cannot be looked up
# fails it (--strict): an audit that did not take place is no good news.
audit: $(DEV) ## List what an installation consists of (sbom.cdx.json) and look up its known vulnerabilities
	rm -rf $(AUDIT_VENV)
	$(BIN)/python -m venv --without-pip $(AUDIT_VENV)
	$(BIN)/python -m pip --quiet --python $(AUDIT_VENV)/bin/python install --constraint constraints.txt '.[cpu,dicom,tracing]'
	$(SBOM)
	$(BIN)/python -m pip --python $(AUDIT_VENV)/bin/python freeze --exclude pneumoscope >$(AUDIT_VENV)/requirements.txt
	$(BIN)/pip-audit --strict --progress-spinner off --disable-pip --no-deps --requirement $(AUDIT_VENV)/requirements.txt

AUDIT_VENV := .venv-audit
SBOM = $(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --output-file sbom.cdx.json $(AUDIT_VENV)

# Stamps: what an environment holds, and since when.

$(CPU_VENV)/.serve: EXTRA := cpu,dicom,tracing
$(GPU_VENV)/.serve: EXTRA := gpu,dicom,tracing
$(GPU_VENV)/.bench: EXTRA := gpu,bench
$(DEV): EXTRA := dev

$(CPU_VENV)/.serve $(DEV): | $(CPU_VENV)/.created
$(GPU_VENV)/.serve $(GPU_VENV)/.bench: | $(GPU_VENV)/.created

$(CPU_VENV)/.serve $(GPU_VENV)/.serve $(GPU_VENV)/.bench $(DEV): pyproject.toml constraints.txt
	$(@D)/bin/python -m pip install --constraint constraints.txt --editable '.[$(EXTRA)]'
	@touch $@

$(CPU_VENV)/.created $(GPU_VENV)/.created:
	$(if $(PYTHON),,$(error Python 3.11 or newer is needed and none was found; PYTHON=/path/to/python names one))
	$(PYTHON) -m venv $(@D)
	@touch $@
