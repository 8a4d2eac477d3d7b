# Two commands on a fresh machine: `make demo` and `make test`. Each makes .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# One thread per process is fastest beside other work on small machines.
export OMP_NUM_THREADS ?= 1

.PHONY: demo test lint docs bench package slow interop clean

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("smearsynth needs Python 3.11 or newer, this is %d.%d: make PYTHON=python3.12" % v[:2])'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

# Eight annotated smears of the shipped model and a page that shows them.
demo: $(VENV)/.installed
	$(BIN)/smearsynth demo -o demo

test: lint
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile

# Style, types, and the direction of imports.
lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Links and code blocks of the Markdown pages.
docs: $(VENV)/.installed
	$(BIN)/python docs/check.py

# Times and sizes of layouts and painting; benchmarks/README.md says what the figures mean.
bench: $(VENV)/.installed
	$(BIN)/python benchmarks/layout.py
	$(BIN)/python benchmarks/synthesis.py

# Wheel and sdist in dist/, with a check of what is in them.
package: $(VENV)/.installed
	rm -rf dist
	$(BIN)/python -m build --no-isolation --outdir dist .
	$(BIN)/python benchmarks/check_package.py dist

slow: $(VENV)/.installed
	$(BIN)/python -m pytest -m 'slow and not gpu'

# Our files in the programs that read them; in an environment on top of .venv, about 1.2 GB more.
interop: .interop/.installed
	.interop/bin/python -m pytest -m slow tests/interop

.interop/.installed: tests/interop/requirements.txt $(VENV)/.installed
	$(BIN)/python -m venv .interop
	$(BIN)/python -c 'import site; print(f"import site; site.addsitedir({site.getsitepackages()[0]!r})")' \
		> "$$(.interop/bin/python -c 'import site; print(site.getsitepackages()[0])')/venv.pth"
	.interop/bin/python -m pip install --quiet --requirement tests/interop/requirements.txt
	# The other package of OpenCV, which overwrites this one, needs the libraries of a screen.
	.interop/bin/python -m pip install --quiet --force-reinstall --no-deps opencv-python-headless
	touch $@

clean:
	rm -rf $(VENV) .interop demo .mypy_cache .pytest_cache .ruff_cache .import_linter_cache dist
