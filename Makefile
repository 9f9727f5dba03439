# Every target sets up what it needs: the virtual environment .venv, with the packages that settings.ini lists.
# Another Python: make demo PYTHON=python3.12      Fewer cores: make test CORES=1
PYTHON ?= python3
CORES  ?= $(shell OMP_NUM_THREADS= nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)
BIN    := .venv/bin
# One thread per process, since every core runs one; idle threads sleep. With torch's defaults the processes starve each other.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OMP_WAIT_POLICY=passive

.PHONY: help demo test setup export prepare slow lab docs bench dist clean
.NOTPARALLEL:

help:
	@echo "make demo      run a complete small study; the report is written to runs/demo/report.html"
	@echo "make test      check that all generated files are current, run every notebook and every test; of one room: make test ROOM=lab"
	@echo "make setup     for contributors: git hooks that clean and check, and nbdev's merge driver for notebooks"
	@echo "make export    bring package, README.md and notebooks up to date with their sources"
	@echo "make prepare   the same, and run every notebook and save its outputs: do this before a commit"
	@echo "make slow      run the slow cells that make test leaves out, and say which saved outputs are stale: do this before a release"
	@echo "make lab       JupyterLab, with the stories; more for it to know: make lab LAB='--no-browser --port=9999'"
	@echo "make docs      the documentation site, in _docs/"
	@echo "make bench     the benchmarks"
	@echo "make dist      what is uploaded to PyPI, in dist/"
	@echo "make clean     remove what was built; .venv and runs/ stay"

demo: .venv/for-use
	$(BIN)/python -m upslope demo

# make test ROOM=lab: the notebooks and the tests of one room. Workers of the lab begin warm in notebooks too, as they do in the tests.
NOTEBOOKS := $(if $(ROOM),$(wildcard nbs/*-$(ROOM)))
TESTS     := $(if $(ROOM),$(wildcard tests/$(ROOM)))
WARM      := $(BIN)/python tests/warm_workers.py
asked      = $(or $(1),$(if $(ROOM),,all))

test: .venv/for-dev
	@[ -n "$(call asked,$(NOTEBOOKS)$(TESTS))" ] || { echo "There is no room '$(ROOM)' in nbs/ or tests/."; exit 1; }
	$(BIN)/python tools/project.py check
	$(if $(call asked,$(NOTEBOOKS)),$(ONE_THREAD) $(WARM) $(BIN)/nbdev-test $(NOTEBOOKS) --n-workers $(CORES))
	$(if $(call asked,$(TESTS)),$(ONE_THREAD) $(BIN)/python -m pytest -q -ra -n $(CORES) --dist loadgroup $(TESTS))

setup: .venv/for-dev
	$(BIN)/nbdev-install-hooks
	$(BIN)/pre-commit install
	git config --local merge.jupyternotebook.driver '"$(CURDIR)/$(BIN)/nbdev-merge" %O %A %B %P'
	git config --local diff.jupyternotebook.command '"$(CURDIR)/$(BIN)/nbdev-diff-driver"'
	printf '#!/bin/sh\nexec "%s" >/dev/null\n' "$(CURDIR)/$(BIN)/nbdev-trust" > "$$(git rev-parse --git-path hooks)/post-merge"

export: .venv/for-dev
	$(BIN)/python tools/project.py sync

prepare: export
	$(ONE_THREAD) $(BIN)/nbdev-test --n-workers $(CORES) --save
	$(BIN)/python tools/project.py sync

slow: .venv/for-dev
	$(ONE_THREAD) $(BIN)/python tools/slow_cells.py

# Jupyter's own refusal stays, since notebooks of root may change the whole machine; here it comes before the installation, with what to type.
lab:
	@[ "$$(id -u)" != 0 ] || case "$(LAB)" in *--allow-root*) ;; *) \
	echo "You are root, and JupyterLab starts for root only if told to. In a container, where root is all there is: make lab LAB=--allow-root"; exit 1;; esac
	@$(MAKE) --no-print-directory .venv/for-dev
	$(BIN)/jupyter lab --notebook-dir=nbs $(LAB) nbs/90-stories/01_ten_minutes.ipynb

docs: .venv/for-dev
	$(ONE_THREAD) $(BIN)/python tools/docs.py

bench: .venv/for-dev
	@ls benchmarks/*.py >/dev/null 2>&1 || { echo "There is no benchmark in benchmarks/ yet."; exit 1; }
	for file in benchmarks/*.py; do $(ONE_THREAD) $(BIN)/python $$file || exit 1; done

dist: .venv/for-dev
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	rm -rf build

clean:
	rm -rf build dist _docs _proc *.egg-info .pytest_cache .hypothesis
	find nbs tests tools upslope -name __pycache__ -prune -exec rm -rf {} +

# -- the virtual environment ------------------------------------------------------------------------------------------
# A stamp stands for a finished installation. It goes before pip starts and comes back when pip has succeeded, so that an
# interrupted installation is done again. An environment for development serves for use as well.
install = rm -f .venv/for-* && $(BIN)/python -m pip install --disable-pip-version-check

.venv/for-use: settings.ini | .venv/bin/python .venv/bin/pip
	$(install) -e .
	@touch $@

.venv/for-dev: settings.ini | .venv/bin/python .venv/bin/pip
	$(install) -e '.[dev]'
	@touch .venv/for-use $@

.venv/bin/python .venv/bin/pip:
	@"$(PYTHON)" -c "" 2>/dev/null || \
	{ echo "upslope needs Python, and '$(PYTHON)' does not start here. Install Python, or name yours: make PYTHON=/path/to/python3"; exit 1; }
	@need=$$(sed -n 's/^min_python *= *//p' settings.ini); \
	"$(PYTHON)" -c "import sys; sys.exit(sys.version_info < tuple(map(int, '$$need'.split('.'))))" || \
	{ echo "upslope needs Python $$need or newer; '$(PYTHON)' is $$("$(PYTHON)" -V 2>&1). Name a newer one: make PYTHON=python3.12"; exit 1; }
	@"$(PYTHON)" -c "import venv, ensurepip" 2>/dev/null || \
	{ echo "'$(PYTHON)' cannot make virtual environments. On Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@echo "Setting up .venv. The first time this takes some minutes; with PyTorch's CUDA build, the default on Linux, it takes 6 GB."
	"$(PYTHON)" -m venv --clear .venv
