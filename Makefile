# Every target first does the whole set-up itself; a second call finds it done. What a command does, and what it says of
# a mistake, is in the one program behind them: include/cli.
.DEFAULT_GOAL := help
.PHONY: $(shell sed -n 's/^\([a-z-]*\):.*/\1/p' $(firstword $(MAKEFILE_LIST)))
SHELL := /bin/sh
MAKEFLAGS += --no-print-directory

PYTHON := .venv/bin/python
NOCTURNE := $(PYTHON) -m include.cli
EXEC := $(NOCTURNE) exec --
# In two processes, which share the tests out as tests/groups.py says.
TESTS := $(PYTHON) -m pytest tests -n 2
export PYTHONPATH := $(CURDIR)

# What was given to make, as options of the program, which refuses those it does not have: label_days=30 is
# --label-days='30'. Make has no list of it: these are the variables whose origin is the command line.
of_command_line = $(if $(findstring command line,$(origin $(1))),$(if $($(1)),$(1)))
names = $(strip $(foreach each,$(filter-out PYTHON,$(.VARIABLES)),$(call of_command_line,$(each))))
option = --$(subst _,-,$(1))='$(subst ','\'',$($(1)))'
given = $(foreach each,$(names),$(call option,$(each)))

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s  %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv:
	@sh include/local/bootstrap.sh

setup: venv ## everything that must exist before the first start; needs the network once
	@$(NOCTURNE) setup

run: venv ## the demonstration: set up, start, load history, run the nights, print a report [also="weather_temperature seattle_weather_kind"]
	@$(NOCTURNE) run $(given)

up: venv ## start the services and wait until all are healthy [take_lake=yes]
	@$(NOCTURNE) up $(given)

upgrade: venv ## after a git pull: stop, bring packages, databases and lake forward, start [dry_run=1: say what of the lake]
	@$(NOCTURNE) upgrade $(given)

down: ## stop the services; no process stays
	@if [ -x $(PYTHON) ]; then $(NOCTURNE) down; else echo "nothing is set up"; fi

status: venv ## state, health, memory and address of each service
	@$(NOCTURNE) status

user: venv ## name=ann role="viewer|operator|data scientist|approver|admin" [remove=1]: an account at Airflow and MLflow
	@$(NOCTURNE) user $(given)

users: venv ## who may log in, with which role
	@$(NOCTURNE) users

rotate: venv ## secret=fernet_key|jwt_secret|… [yes=1]: what a new value of that secret would change, and who starts again; yes=1 does it
	@$(NOCTURNE) rotate $(given)

lake: venv ## rows, files, bytes and version of each table
	@$(NOCTURNE) lake

verify: venv ## whether the tables hold what the ledgers and the counts say; exit code 0 where they do
	@$(NOCTURNE) verify

backup: venv ## [to=folder|s3://…] [landing=1] [keep=7] [dry_run=1] [take=1]: databases, models, ledgers, keys and the lake, while it runs
	@$(NOCTURNE) backup $(given)

backup-check: venv ## [from=…] [backup=…]: whether all of a backup is there and as it was written
	@$(NOCTURNE) backup-check $(given)

restore: venv ## [from=…] [backup=…] [yes=1]: what putting a backup into this empty installation would do; yes=1 does it
	@$(NOCTURNE) restore $(given)

retention: venv ## [yes=1]: which logs, runs, events, alerts and caches are old enough to go; yes=1 has them go, as lakehouse_maintain does
	@$(NOCTURNE) retention $(given)

backfill: venv ## from=2013-06-01 to=2013-06-07 [source=flights] [at_once=1]: run days through to the predictions, each by itself or as one range
	@$(NOCTURNE) backfill $(given)

train: venv ## use_case=… partition=…: train on all that is known by that day, through the gates to a champion or a refusal
	@$(NOCTURNE) train $(given)

promote: venv ## use_case=… version=… [why=… yes=1]: what promoting a version that waits, or is older, would do; yes=1 does it
	@$(NOCTURNE) promote $(given)

accept: venv ## use_case=… partition=… feature=a,b [why=… yes=1]: what of a refused night was unlike the days before; yes=1 lets it through
	@$(NOCTURNE) accept $(given)

rollback: venv ## use_case=… [version=] [since=] [why=… yes=1]: what putting back the version that served before would do; yes=1 does it
	@$(NOCTURNE) rollback $(given)

rollout: venv ## use_case=… [stop=1 why=… yes=1]: how it stands with a challenger that is rolled out; stop=1 yes=1 takes it back
	@$(NOCTURNE) rollout $(given)

stale: venv ## use_case=… [from= to=]: partitions whose features, predictions or measurements are out of date, and why
	@$(NOCTURNE) stale $(given)

refresh: venv ## use_case=… [from= to=] [yes=1]: what is stale; yes=1 makes it again, features first
	@$(NOCTURNE) refresh $(given)

publish: venv ## use_case=… [from= to=] [target=] [yes=1]: what its targets have not got of the predictions; yes=1 sends it
	@$(NOCTURNE) publish $(given)

label-requests: venv ## use_case=… [from= to=] [budget=100] [out=…]: the rows whose labels would teach its model most, as a CSV for persons
	@$(NOCTURNE) label-requests $(given)

labels: venv ## use_case=… file=… [partition=] [correct=1]: take the labels that persons have given
	@$(NOCTURNE) labels $(given)

stream: venv ## source=… [every=10]: spool its events as they come, looking every so many seconds, until Ctrl-C
	@$(NOCTURNE) stream $(given)

source-check: venv ## file=… [name=…]: how it is written, as a spec to paste, and what would become of its rows
	@$(NOCTURNE) source-check $(given)

source: venv ## name=… from=sample.csv [owner=] [day=] [key=a,b] [columns=a,b] [rename=1] [mode=snapshot|upsert]: a source from a sample
	@$(NOCTURNE) source $(given)

use-case: venv ## name=… source=a[,b] task=binary|multiclass|regression label=… entity=a,b [label_days=0] [population=] [classes=] [every=day] [table=] [join=b.x=y]
	@$(NOCTURNE) use-case $(given)

night: venv ## use_case=…|source=… partition=2013-06-01: all its stages on this machine, with what each did; Airflow is not told
	@$(NOCTURNE) night $(given)

remove: venv ## use_case=…|source=… [yes=1]: what it leaves behind; yes=1 drops that, once its files are gone
	@$(NOCTURNE) remove $(given)

compare-engines: venv ## use_case=flight_delays partition=2013-06-01: build it on both engines, compare every value
	@$(NOCTURNE) compare-engines $(given)

reprocess: venv ## [source=flights] [from= to=] [dry_run=1]: ingest again what the quarantine holds, after a fix
	@$(NOCTURNE) reprocess $(given)

audit: venv ## [since=2013-06-01] [who=ann] [action=login] [json=1]: who logged in, decided, changed or removed what [anchor=1]
	@$(NOCTURNE) audit $(given)

trace: venv ## prediction=2013-06-02:UA:15:EWR [use_case=flight_delays] [json=1]: its model, features and landing files
	@$(NOCTURNE) trace $(given)

backtest: venv ## use_case=…: what monitor and policy would have done on the stored history, as it was and broken
	@$(NOCTURNE) backtest $(given)

card: venv ## use_case=… [version=…]: that version's card as one HTML file, with its history of today, to var/report
	@$(NOCTURNE) card $(given)

reproduce: venv ## model=flight_delays version=1: train it again from its record alone, and compare it byte by byte
	@$(NOCTURNE) reproduce $(given)

incidents: venv ## what is wrong now, as it was told [close='…': it is over] [try=1: send a message to each channel]
	@$(NOCTURNE) incidents $(given)

metrics: venv ## the figures of nights, models and costs, as Prometheus reads them
	@$(NOCTURNE) metrics

sql: venv ## [port=31337]: answer SQL on silver and gold, read-only, until Ctrl-C; or say where `make up` answers it
	@$(NOCTURNE) sql $(given)

sql-user: venv ## [name=… role=viewer] [remove=1]: who may log in there; a new password is shown once
	@$(NOCTURNE) sql-user $(given)

docs: venv ## the pages of dbt: models, columns and their lineage, for Airflow's menu and var/dbt/docs
	@$(NOCTURNE) docs

test: setup ## the whole suite, the real stack included
	@$(EXEC) $(TESTS) $(args)

test-full: setup ## the same, and what takes an hour: every kill, every order
	@$(EXEC) $(TESTS) -m "" --hypothesis-profile=search $(args)

freshness: venv ## how long ago each feed last brought something; fails where that is longer than its objective
	@$(NOCTURNE) freshness

bench: venv ## ours beside a named peer, in the same run, to var/report/bench.json [args="--rows 1000000"]
	@$(NOCTURNE) up --quiet
	@$(EXEC) $(PYTHON) -m tests.benchmarks $(args)

check: setup ## lint (Python and SQL), format, types and DAG import, in under a minute
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/sqlfluff lint --nocolor --disable-progress-bar dbt_project/models dbt_project/tests/*.sql
	@.venv/bin/mypy
	@$(EXEC) $(PYTHON) -m pytest tests/policy -q

format: venv ## repair what ruff and sqlfluff can repair
	@.venv/bin/ruff check --fix --quiet . || true
	@.venv/bin/ruff format .
	@.venv/bin/sqlfluff fix --nocolor --disable-progress-bar dbt_project/models dbt_project/tests/*.sql

image: ## [java=17] the container image, which records this commit with its models: docs/docker.md
	@COMMIT=$$([ -n "$$(git status --porcelain)" ] || git rev-parse HEAD) JAVA="$(java)" \
		docker compose -f docker/compose.yaml build

cluster-up: venv ## [name=nocturne.example] [gpu=1]: the cluster's images, secrets and services, by docker or podman compose: docs/cluster.md
	@$(NOCTURNE) cluster-up $(given)

cluster-down: venv ## stop the cluster's services; their data stays
	@$(NOCTURNE) cluster-down

cluster-status: venv ## state and health of each container of the cluster
	@$(NOCTURNE) cluster-status

lock: venv ## compile requirements.txt, requirements-setup.txt and requirements-gpu.txt from their .in files
	@for name in requirements-setup requirements; do \
		.venv/bin/uv pip compile --quiet --universal --python-version 3.12 --generate-hashes --no-header \
			--no-emit-index-url --no-emit-find-links $(args) $$name.in -o $$name.txt || exit 1; done
	@.venv/bin/uv pip compile --quiet --universal --python-version 3.12 --generate-hashes --no-header --no-emit-index-url \
		--no-emit-find-links --no-emit-package numpy $(args) requirements-gpu.in -o requirements-gpu.txt

sbom: venv ## [image=laptop|airflow|gpu|mlflow|spark]: the list of Python's parts as CycloneDX, of all or of an image, to var/report/sbom.json
	@mkdir -p var/report
	@$(if $(image),$(PYTHON) docker/runtime_lock.py requirements.in requirements.txt '$(image)',cat requirements.txt) \
		| .venv/bin/cyclonedx-py requirements --output-reproducible --of JSON -o var/report/sbom.json - && echo var/report/sbom.json

screenshots: venv ## the README's pictures, and a backfill in a real browser that must change nothing; needs Chromium
	@$(EXEC) $(PYTHON) examples/screenshots.py

catalogue: venv ## docs/sources, features, dags, settings: the pages that are made from specs, dbt's metadata, DAGs and settings
	@$(NOCTURNE) catalogue

features: venv ## [use_case=flight_delays]: each feature, what it gives the champion, which versions use it
	@$(NOCTURNE) features $(given)

clean: ## remove all state under var (CONFIRM=yes)
	@if [ -x $(PYTHON) ]; then $(NOCTURNE) clean $(if $(filter yes,$(CONFIRM)),--yes); else echo "nothing is set up"; fi
