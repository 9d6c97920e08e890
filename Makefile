PYTHON ?= python3
VENV ?= .venv
DB_PATH ?= my-db

# Seconds for the whole suite.  It takes a fraction of this; past it something hangs.
LIMIT ?= 900

# Processes that run tests beside one another: as many as there are processors.
WORKERS ?= auto

# How long `make torture` goes on.
MINUTES ?= 60

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
MODULES := $(wildcard resp.py meilies_*.py) cli server store terminal
# These are tested in every branch, the rest nearly so.
CORE := resp.py,store/*
REST := meilies_*.py,cli/*,server/*,terminal/*

.DEFAULT_GOAL := help
.PHONY: help run test clients torture lint pyz bench alike clean

help: ## show this
	@echo "make TARGET, where TARGET is one of"
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  %-7s %s\n", $$1, $$2}' Makefile
	@echo
	@echo "One test: make lint, then $(BIN)/python -m pytest tests/test_resp.py -k NAME"
	@echo "Another Python: make test PYTHON=python3.9 VENV=.venv-3.9"

run: ## run the server on my-db (or DB_PATH=...), port 6480
	$(PYTHON) meilies_server.py --db-path $(DB_PATH)

test: lint ## lint, run all tests, check that they cover enough
	$(BIN)/coverage erase
	timeout --signal=ABRT --kill-after=10 $(LIMIT) $(BIN)/coverage run -m pytest --numprocesses $(WORKERS) --dist worksteal
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --include='$(CORE)' --fail-under=100
	$(BIN)/coverage report --include='$(REST)' --fail-under=95

clients: $(INSTALLED) ## try nine clients of Redis's in five languages; see tests/clients
	$(BIN)/python -m tests.clients

torture: $(INSTALLED) ## provoke faults for MINUTES=60; see tests/faults
	-$(BIN)/pip install --quiet --disable-pip-version-check --requirement requirements-torture.txt
	$(BIN)/python -m tests.faults --minutes $(MINUTES)

lint: $(INSTALLED) ## check style, and that nothing needs more than Python 3.9
	$(BIN)/ruff check --quiet --output-format concise .
	$(BIN)/vermin --quiet --no-tips --violations --target=3.9- $(MODULES)

pyz: ## build dist/meilies-server.pyz and dist/meilies-cli.pyz
	$(PYTHON) make/pyz.py dist

bench: ## compare with redis-server, in about ten minutes
	$(PYTHON) -m bench

alike: $(INSTALLED) ## write into docs/redis.md what is alike with redis-server
	PYTHONPATH=.:tests $(BIN)/python -m alike.table

clean: ## remove everything that was made here, but no data
	rm -rf .venv* .clients dist build *.egg-info .coverage .coverage.* .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): requirements-dev.txt
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --requirement requirements-dev.txt
	touch $@
