# One command a task; the first one sets up the environment in .venv, the label server one of its own on top.
# The Python that .venv is made with: 3.11, which the pins in constraints.txt were tested with, else python3.
PYTHON ?= $(shell python3.11 -c 'print("python3.11")' 2>/dev/null || echo python3)
PIP := .venv/bin/python -m pip --disable-pip-version-check
LABEL_PIP := .venv-label/bin/python -m pip --disable-pip-version-check
PACKAGE_FILES := setup.cfg pyproject.toml constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test test-label label-server no-studies browser lint tutorials mutants bench bench-nuclei clean

# Where the label server listens; an environment variable of the same name means something else.
HOST := 127.0.0.1
PORT := 8000

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

demo: .venv/.runtime ## train and evaluate the joint bundle on embedded data, in a few minutes
	.venv/bin/python -m monai_cellreg.benchmarks.demo --out runs/demo

test: lint ## run the linters, then all tests, those of the label server last
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n 2
	$(MAKE) test-label

test-label: .venv/.dev .venv-label/.runtime ## run the tests of the label server, in the environment of it
	OMP_NUM_THREADS=1 .venv-label/bin/python -m pytest -n 2 --dist loadfile tests/apps/label_app \
	tests/benchmarks/test_label_client.py \
	'tests/tutorials/test_notebooks.py::test_notebook_runs_and_shows_what_is_saved[05_monai_label.ipynb]'

label-server: $(if $(STUDIES),.venv-label/.runtime,no-studies) ## serve the images of STUDIES=folder to MONAI Label clients
	.venv-label/bin/monai-cellreg label-server "$(STUDIES)" --host "$(HOST)" --port "$(PORT)" $(if $(WORK),--work "$(WORK)")

no-studies:
	@echo "no folder of images is given; make label-server STUDIES=folder [PORT=8000] [HOST=127.0.0.1] [WORK=folder]" >&2; exit 2

browser: ## install Debian's Chromium for the report's tests, which are skipped without; needs root
	command -v chromium >/dev/null || { apt-get update -qq && apt-get install -y -qq chromium; }

lint: .venv/.dev ## check style, format and types
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

tutorials: .venv/.dev .venv-label/.runtime ## run the notebooks of tutorials/ and save them with their outputs, in minutes
	OMP_NUM_THREADS=1 .venv-label/bin/python tutorials/execute.py

mutants: .venv/.dev ## plant mistakes in the geometry and show which test catches each, in minutes
	.venv/bin/python tests/mutants.py

bench: .venv/.bench ## measure the speed of geometry and losses against MONAI and kornia, in minutes
	OMP_NUM_THREADS=1 .venv/bin/python -m monai_cellreg.benchmarks.geometry --out runs/bench
	OMP_NUM_THREADS=1 .venv/bin/python -m monai_cellreg.benchmarks.losses --out runs/bench
	OMP_NUM_THREADS=1 .venv/bin/python -m monai_cellreg.benchmarks.costs --out runs/bench

bench-nuclei: .venv/.runtime ## train the paper's networks and measure its two tables on simulated films, in hours
	.venv/bin/monai-cellreg benchmark nuclei --seeds 3 --out runs/bench-nuclei

clean: ## remove the environment, caches and build leftovers, and keep runs/
	rm -rf .venv .venv-label build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache
	find monai_cellreg tests -type d -name __pycache__ -prune -exec rm -rf {} +

# The stamps are renewed when the package's requirements change; the first holds what the package itself needs.
.venv/.runtime: $(PACKAGE_FILES)
	@$(PYTHON) -c 'import sys; v = sys.version_info; \
	v >= (3, 11) or sys.exit(f"Python {v[0]}.{v[1]} is too old for the pins, expected 3.11; set PYTHON=/path/to/it"); \
	v[:2] == (3, 11) or print(f"python3.11 not found, using Python {v[0]}.{v[1]}: the pins were tested with 3.11")'
	$(PYTHON) -m venv .venv
	$(PIP) install -c constraints.txt -e .
	@touch $@

.venv/.dev: .venv/.runtime
	$(PIP) install -c constraints.txt -e '.[dev]'
	@touch $@

.venv/.bench: .venv/.runtime
	$(PIP) install -c constraints.txt -e '.[fast,bench]'
	@touch $@

# MONAI Label's requirements do not fit together any more: the extra "label" names those that do, and MONAI Label comes
# without its own. What .venv has already (PyTorch, MONAI, pytest) is read from there.
.venv-label/.runtime: .venv/.runtime
	.venv/bin/python -m venv .venv-label
	.venv-label/bin/python -c 'import sysconfig; from pathlib import Path; \
	above = sysconfig.get_path("purelib", vars={"base": str(Path(".venv").resolve())}); \
	Path(sysconfig.get_path("purelib"), "above.pth").write_text(f"import site; site.addsitedir({above!r})\n")'
	$(LABEL_PIP) install -c constraints.txt -e '.[label]'
	$(LABEL_PIP) install --no-deps monailabel==0.8.5 pydicom-seg==0.4.1
	@touch $@
