# Needs python3 (3.11-3.13), pip and make; everything else goes into .venv.

PYTHON ?= python3
PYTEST_ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Looked up when a recipe runs, since the set-up may just have installed it.
XVFB = $$(command -v xvfb-run >/dev/null && echo "xvfb-run -a -s '-screen 0 1600x1000x24'")
# Two cores: more threads than that only take turns.
export OMP_NUM_THREADS ?= 2
# The fits' matrices are small: on busy cores two threads wait for each other (a minute for seconds).
export OPENBLAS_NUM_THREADS ?= 1
export PYTHONDONTWRITEBYTECODE ?=

.DEFAULT_GOAL := help
.PHONY: help install demo test test-fast lint pytest docs benchmarks picture sample-data clean

help: ## Show what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(VENV)/.installed ## Set up .venv with the package, napari and the development tools

demo: install ## Run the whole chain on the bundled sample; results in demo_results/
	$(BIN)/python examples/demo.py --out demo_results

test: lint pytest ## Run the checks and the tests

lint: install ## Check style, types and the plugin's manifest
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/npe2 validate napari-defectstrain

# Two processes of one thread each; a file of tests stays in one process with what it sets up.
pytest: export OMP_NUM_THREADS = 1
pytest: install
	eval "$(XVFB) $(BIN)/python -m pytest -n 2 --dist loadfile $(PYTEST_ARGS)"

test-fast: export OMP_NUM_THREADS = 1
test-fast: install ## Run what answers within a minute: no window, nothing slow
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not gui and not slow" -q $(PYTEST_ARGS)

# Material for MkDocs says at each build that MkDocs 2 won't have it.
docs: export NO_MKDOCS_2_WARNING = 1
docs: install ## Build the documentation as a site, without the network: site/index.html
	$(BIN)/mkdocs build --strict

benchmarks: install ## Measure speed and memory, and write the figures into docs/benchmarks.md
	$(BIN)/python benchmarks/run_all.py

picture: install ## Draw docs/images/rooms.png from the imports; print the figures of the house
	$(BIN)/python docs/rooms.py --picture

sample-data: install ## Make the files of sample_data/ again, from their fixed seeds
	for sample in nine_regions one_region drift_series dose_series; do \
	  $(BIN)/defectstrain simulate --sample $$sample --out sample_data --force || exit; \
	done

clean: ## Remove .venv, caches and results of the demo
	rm -rf $(VENV) build dist site demo_results *.egg-info .pytest_cache .mypy_cache .ruff_cache .benchmarks

$(VENV)/.debian: .ci/debian-packages
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) \
	  else "python3 is %d.%d, but 3.11, 3.12 or 3.13 is needed: make PYTHON=python3.12 ..." % v)'
	@sh .ci/debian-packages $(PYTHON)
	@mkdir -p $(VENV) && touch $@

$(VENV)/.torch: $(VENV)/.debian constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -c constraints.txt torch
	@touch $@

$(VENV)/.installed: $(VENV)/.torch pyproject.toml constraints.txt
	$(PIP) install -c constraints.txt -e '.[gui,dev]'
	@touch $@
