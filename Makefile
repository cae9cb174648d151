# Needs python3 (3.11-3.13), pip and make; everything else goes into .venv.

PYTHON ?= python3
PYTEST_ARGS ?=
VENV := .venv
# Apart from the tools of development: what a release is made with, and the oldest dependencies.
TOOLS := .venv-tools
OLDEST := .venv-oldest
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# The rooms whose tests need neither napari nor hours.
OLDEST_TESTS := $(addprefix tests/,io crystal frames simulate detect judge columns averages precision \
  strain theory trials evaluation pipeline study series output cli)
LOCKED := gui zarr cluster
LOCK_ARGS ?=
# Two cores: more threads than that only take turns.
export OMP_NUM_THREADS ?= 2
# The fits' matrices are small: on busy cores two threads wait for each other (a minute for seconds).
export OPENBLAS_NUM_THREADS ?= 1
export PYTHONDONTWRITEBYTECODE ?=

.DEFAULT_GOAL := help
.PHONY: help install demo test test-fast test-oldest lint pytest docs benchmarks picture sample-data
.PHONY: dist test-bare lock sbom clean

help: ## Show what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(VENV)/.installed ## Set up .venv with the package, napari and the development tools

demo: install ## Run the whole chain on the bundled sample; results in demo_results/
	$(BIN)/python examples/demo.py --out demo_results

test: lint pytest ## Run the checks and the tests

lint: install ## Check style, types, the plugin's manifest, workflows and citation
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/npe2 validate napari-defectstrain
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff

# Two processes of one thread each, with a display (pytest-xvfb) of their own: on a shared one the
# windows take the focus from each other. A file of tests stays in one process with what it sets up.
pytest: export OMP_NUM_THREADS = 1
pytest: install
	$(BIN)/python -m pytest -n 2 --dist loadfile $(PYTEST_ARGS)

test-fast: export OMP_NUM_THREADS = 1
test-fast: install ## Run what answers within a minute: no window, nothing slow
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not gui and not slow" -q $(PYTEST_ARGS)

# Material for MkDocs says at each build that MkDocs 2 won't have it.
docs: export NO_MKDOCS_2_WARNING = 1
docs: install ## Build the documentation as a site, without the network: site/index.html
	$(BIN)/mkdocs build --strict

test-oldest: export OMP_NUM_THREADS = 1
test-oldest: $(OLDEST)/.installed ## Test the core with the oldest dependencies allowed (Python 3.11)
	$(OLDEST)/bin/python -m pytest -m "not gui and not slow" -q -p no:cacheprovider \
	  -o addopts="--import-mode=importlib --strict-markers --benchmark-disable" \
	  $(OLDEST_TESTS) $(PYTEST_ARGS)
	$(OLDEST)/bin/python .ci/bare.py

dist: $(TOOLS)/.installed ## Build wheel and sdist in dist/, and check what PyPI will see of them
	rm -rf dist
	$(TOOLS)/bin/python -m build --outdir dist
	$(TOOLS)/bin/twine check --strict dist/*.whl dist/*.tar.gz
	@ls -l dist

test-bare: dist ## Install the wheel without extras, newest dependencies: public names, one run
	rm -rf .venv-bare
	$(PYTHON) -m venv .venv-bare
	sed -n '/^torch==/p' constraints.txt > .venv-bare/torch.txt  # any other may bring CUDA
	.venv-bare/bin/python -m pip install -c .venv-bare/torch.txt dist/*.whl
	cd .venv-bare && bin/python ../.ci/bare.py

lock: $(TOOLS)/.installed ## Write constraints-lock.txt: one version of everything, for all systems
	{ sed -n '/^#/p' constraints-lock.txt; \
	  $(TOOLS)/bin/uv pip compile pyproject.toml $(LOCKED:%=--extra %) --universal --python-version 3.11 \
	    -c constraints.txt --no-annotate --no-header --no-emit-index-url --no-emit-find-links -q \
	    $(LOCK_ARGS); } > constraints-lock.part
	mv constraints-lock.part constraints-lock.txt

sbom: $(TOOLS)/.installed ## List what constraints-lock.txt brings, as CycloneDX: dist/sbom.cdx.json
	@mkdir -p dist
	$(TOOLS)/bin/cyclonedx-py requirements constraints-lock.txt --pyproject pyproject.toml \
	  --output-reproducible --of JSON -o dist/sbom.cdx.json

benchmarks: install ## Measure speed and memory, and write the figures into docs/benchmarks.md
	$(BIN)/python benchmarks/run_all.py

picture: install ## Draw docs/images/rooms.png from the imports; print the figures of the house
	$(BIN)/python docs/making/rooms.py --picture

sample-data: install ## Make the files of sample_data/ again, from their fixed seeds
	for sample in nine_regions one_region drift_series dose_series; do \
	  $(BIN)/defectstrain simulate --sample $$sample --out sample_data --force || exit; \
	done

clean: ## Remove .venv, caches and results of the demo
	rm -rf $(VENV) $(TOOLS) $(OLDEST) .venv-bare build dist site demo_results *.egg-info .pytest_cache .mypy_cache .ruff_cache .benchmarks

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

$(TOOLS)/.installed: .ci/release-tools.txt
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install -r .ci/release-tools.txt
	@touch $@

$(OLDEST)/.installed: pyproject.toml constraints-oldest.txt
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install -c constraints-oldest.txt -e . pytest pytest-benchmark
	@touch $@
