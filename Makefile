# Two commands for a newcomer: `make demo` and `make test`. The rest is for those who stay.
PYTHON ?= python3
BIN := .venv/bin
RUN := $(BIN)/countersign

.PHONY: demo test check up bench notebook lock secrets

demo: .venv/.stamp
	$(RUN) demo

up: .venv/.stamp
	$(RUN) up

test: .venv/.stamp
	$(BIN)/pytest -n 3

check: .venv/.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright --warnings
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m tests.contracts.measures
	$(BIN)/python -m tests.contracts.names

# `make bench ROWS=1000000` fills memory with a million rows before it measures.
bench: .venv/.stamp
	$(BIN)/python -m tests.bench --write $(if $(ROWS),--rows $(ROWS))

# The notebooks in a browser; JupyterLab is installed when it is asked for, since nothing else needs it.
notebook: .venv/.stamp
	$(BIN)/uv pip install --quiet --require-hashes --python $(BIN)/python -r requirements/notebooks.lock
	$(BIN)/jupyter lab notebooks

# Passwords and keys for docker-compose.yml. The folder is private; the files are readable, since containers are not us.
COMPOSE := .countersign/compose
NEW := $(PYTHON) -c 'import secrets; print(secrets.token_urlsafe(24), end="")'

secrets: $(COMPOSE)/superuser $(COMPOSE)/signing_key $(COMPOSE)/worker_url

# By themselves: folders from before have all the others.
$(COMPOSE)/worker_url: | $(COMPOSE)/superuser
	@echo "postgresql://cs_worker:`$(NEW)`@database:5432/countersign" > $@ && chmod 644 $@

$(COMPOSE)/signing_key: | $(COMPOSE)/superuser
	@$(PYTHON) -c 'import secrets; print(secrets.token_hex(32), end="")' > $@ && chmod 644 $@

$(COMPOSE)/superuser:
	@mkdir -p $(COMPOSE) && chmod 700 $(COMPOSE)
	@for role in owner app worker world; do \
	  echo "postgresql://cs_$$role:`$(NEW)`@database:5432/countersign" > $(COMPOSE)/$${role}_url; done
	@for key in world_key_read world_key_write superuser; do $(NEW) > $(COMPOSE)/$$key; done
	@chmod 644 $(COMPOSE)/*

LOCK := $(BIN)/uv pip compile --quiet --no-header --universal --generate-hashes

lock:
	$(LOCK) --extra models --extra notebooks --group dev pyproject.toml -o requirements/dev.lock
	$(LOCK) --no-annotate --extra models --constraint requirements/dev.lock pyproject.toml -o requirements/run.lock
	$(LOCK) --no-annotate --extra embeddings --constraint requirements/dev.lock pyproject.toml -o requirements/embeddings.lock
	$(LOCK) --no-annotate --extra notebooks --extra browser --constraint requirements/dev.lock pyproject.toml -o requirements/notebooks.lock
	echo 'uv==0.13.9' | $(LOCK) --no-annotate - -o requirements/installer.lock

.venv/.stamp: requirements/dev.lock requirements/installer.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	@$(PYTHON) -c 'import ensurepip' || { echo "This Python has no ensurepip; install your system's python3-venv package and try again."; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/installer.lock
	$(BIN)/uv pip sync --quiet --require-hashes --python $(BIN)/python requirements/dev.lock
	$(BIN)/uv pip install --quiet --no-deps --python $(BIN)/python -e .
	@touch $@
