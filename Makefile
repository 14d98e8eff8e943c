# Thin: every target is one or two commands. `make ablation` and `make test` need nothing but Python, git and make.
PYTHON ?= python3
# Where the CPU build of torch lies, so that no multi-gigabyte accelerator build is pulled in. Empty: the default index.
# For a GPU, in a checkout without .venv: make setup TORCH_INDEX= (on Linux the default index has the build with CUDA)
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
# More arguments for `lossbench run`: make ablation ARGS="--set budget.trials=2"
ARGS ?=
# Which experiment `report` and `publish` are about: make report NAME=omniglot
NAME ?= ablation
CHROMIUM ?= chromium

# Compiled modules are kept whatever the shell says: without them every start and every worker takes twice as long.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
PIP := $(BIN)/pip install -q --disable-pip-version-check --no-compile -c constraints.txt
DONE := .venv/.installed
DEV_DONE := .venv/.installed-dev
SMOKE := --set name=smoke --set budget.trials=2 --set budget.seeds=2 --set training.epochs=1 \
         --set 'recipes=["softmax", "triplet", "softmax+center"]'

PUBLISHED := report.md results.csv experiment.toml figures

.PHONY: setup ablation report smoke check test bench publish picture

setup: $(DEV_DONE)

$(DONE): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
		|| { echo "lossbench needs Python 3.11 to 3.13; name one: make setup PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv .venv
	$(if $(TORCH_INDEX),$(PIP) --no-deps --retries 0 --extra-index-url $(TORCH_INDEX) torch 2>/dev/null ||) $(PIP) --no-deps torch
	$(PIP) -e .
	@touch $@

$(DEV_DONE): $(DONE) requirements-dev.txt
	$(PIP) -r requirements-dev.txt
	@touch $@

ablation: $(DONE)
	$(BIN)/lossbench run experiments/ablation.toml $(ARGS)

report: $(DONE)
	$(BIN)/lossbench report $(NAME)

smoke: $(DONE)
	$(BIN)/lossbench run experiments/ablation.toml $(SMOKE) $(ARGS)

check: $(DEV_DONE)
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy && $(BIN)/lint-imports
	$(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder -m "not slow"

test: $(DEV_DONE)
	$(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder

bench: $(DONE)
	$(BIN)/python -m benchmarks $(ARGS)

# A report that is kept in git: reports/NAME -> reports/reference/NAME
publish:
	rm -rf reports/reference/$(NAME) && mkdir -p reports/reference/$(NAME)
	cp -R $(PUBLISHED:%=reports/$(NAME)/%) reports/reference/$(NAME)/

# The picture in README.md: the first screen of the report of the ablation
picture: $(DONE)
	mkdir -p docs/images
	$(CHROMIUM) --headless --no-sandbox --disable-gpu --hide-scrollbars --window-size=1200,900 \
		--screenshot=docs/images/report.png "file://$(CURDIR)/reports/ablation/index.html" 2>/dev/null
	$(BIN)/python -c "from PIL import Image; f = 'docs/images/report.png'; \
		Image.open(f).convert('RGB').quantize(256, method=1).save(f, optimize=True)"
