# The commands: make run · make check · make test · make proof · make bench.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: run test proof check bench format locks bundles clean
.DEFAULT_GOAL := run

$(VENV)/.run: requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing Fieldstation into $(VENV) (about half a minute, once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.run
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-dev.lock
	@touch $@

run: $(VENV)/.run ## start a station with this host as its first device
	@exec $(BIN)/fieldstation demo

PROOFS := tests/faults tests/nodes \
	$(wildcard tests/contracts/*_faults.py tests/contracts/*_flush*.py tests/contracts/*_model.py) \
	tests/domains/exports/test_memory.py tests/web/docs/test_schemathesis.py tests/web/docs/test_stranger.py
PARALLEL := --numprocesses 3 --dist worksteal

test: $(VENV)/.dev ## what every change is tested with, in minutes, with branch coverage
	@$(BIN)/coverage erase
	@$(BIN)/pytest $(PARALLEL) $(PROOFS:%=--ignore %) -k "not mariadb" --cov --cov-report=term:skip-covered

proof: $(VENV)/.dev ## what has to be repeated to be believed: kills, faults, odd requests, a third database
	@$(BIN)/pytest tests/faults/alone # they measure times: nothing else may run beside them
	@$(BIN)/pytest $(PARALLEL) $(PROOFS) --ignore tests/faults/alone
	@$(BIN)/pytest $(PARALLEL) tests $(PROOFS:%=--ignore %) -k mariadb # the other databases are in make test

check: $(VENV)/.dev ## lint, types, contracts, unused code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyrefly check
	$(BIN)/deptry src
	$(BIN)/vulture

bench: $(VENV)/.dev ## measure, print the table, write bench/results.json
	@$(BIN)/python -m bench

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

locks: ## compile the hashed locks; needs uv
	uv pip compile pyproject.toml --universal --no-strip-extras --python-version 3.11 --all-extras --group build \
		--generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "make locks" --output-file requirements.lock
	uv pip compile pyproject.toml --universal --no-strip-extras --python-version 3.11 --all-extras --group build --group dev \
		--generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "make locks" --output-file requirements-dev.lock

bundles: ## fetch the browser bundles of the documentation pages anew; needs npm
	$(PYTHON) docs/refresh_bundles.py

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .coverage
