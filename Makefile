# The two commands are 'make run' and 'make test'; each sets up all it needs first.
.DEFAULT_GOAL := help
.PHONY: help bootstrap run test nightly lint cover clean
MAKEFLAGS += --no-print-directory
BIN := .venv/bin

help: ## say what there is
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 10

bootstrap: ## install what is missing: Debian packages, a virtual environment
	@./bootstrap

run: bootstrap ## boot two guests, induce faults, and tell the verdict; ARGS="--fs ext4" adds options
	@$(BIN)/rig run $(ARGS)

lint: bootstrap ## ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

# Of each pure module of the split driver and of its USB words, its own tests reach every branch.
CORE := backend buffers descriptors endpoint frontend hidden order policy porthook session setup \
	urb usbip wire

cover: bootstrap ## that the tests of the pure core reach every branch of it
	@$(BIN)/coverage run -m pytest -q $(CORE:%=rig/tests/unit/test_%.py)
	@$(BIN)/coverage report

# A pair of guests keeps one of two cores busy, so two workers do; a file's tests share their lab.
PYTEST := $(BIN)/pytest rig/tests -n 2 --dist loadfile --no-loadscope-reorder

test: lint cover ## lint, coverage of the core, and the tests with guests'; ARGS="-m 'not vm'" chooses
	@$(PYTEST) -m "not nightly" $(ARGS)

nightly: lint cover ## all of that, and the tests that take long
	@$(PYTEST) $(ARGS)

clean: ## remove the virtual environment and caches of tools; images: 'rig image prune'
	@rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage bootstrap.log
