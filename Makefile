# Every target first does the whole set-up itself; a second call finds it done.
.DEFAULT_GOAL := help
.PHONY: help setup up down status lake verify run backfill stream trace docs test check format lock clean catalogue features screenshots
SHELL := /bin/sh
MAKEFLAGS += --no-print-directory

PYTHON := .venv/bin/python
SERVICES := $(PYTHON) -m include.local
# In two processes, which share the tests out as tests/groups.py says.
TESTS := $(PYTHON) -m pytest tests -n 2
export PYTHONPATH := $(CURDIR)

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s  %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: venv
venv:
	@sh include/local/bootstrap.sh

setup: venv ## everything that must exist before the first start; needs the network once
	@$(SERVICES) setup

run: venv ## the demonstration: set up, start, load history, run the nights, print a report [also="weather_temperature seattle_weather_kind"]
	@$(SERVICES) up
	@$(SERVICES) exec -- $(PYTHON) -m examples $(if $(also),--also $(also))

up: venv ## start the services and wait until all are healthy [take_lake=yes]
	@$(SERVICES) up $(if $(filter yes,$(take_lake)),--take-lake)

.PHONY: upgrade
upgrade: venv ## after a git pull: stop, bring packages, databases and lake forward, start [dry_run=1: say what of the lake]
	@$(SERVICES) upgrade $(if $(dry_run),--dry-run)

down: ## stop the services; no process stays
	@if [ -x $(PYTHON) ]; then $(SERVICES) down; else echo "nothing is set up"; fi

status: venv ## state, health, memory and address of each service
	@$(SERVICES) status

lake: venv ## rows, files, bytes and version of each table
	@$(SERVICES) exec -- $(PYTHON) -m include.cli.lake

verify: venv ## whether the tables hold what the ledgers and the counts say; exit code 0 where they do
	@$(SERVICES) up --quiet
	@$(SERVICES) exec -- $(PYTHON) -m include.governance.verify

backfill: venv ## from=2013-06-01 to=2013-06-07 [source=flights] [at_once=1]: run days through to the predictions, each by itself or as one range
	@if [ -z "$(from)" ] || [ -z "$(to)" ]; then \
		echo "backfill: say the days, both included: make backfill from=2013-06-01 to=2013-06-07" >&2; exit 2; fi
	@$(SERVICES) up --quiet
	@$(SERVICES) exec -- $(PYTHON) -m include.orchestration.backfill --from "$(from)" --to "$(to)" --source "$(or $(source),flights)" $(if $(at_once),--at-once)

.PHONY: train
train: venv ## use_case=… partition=…: train on all that is known by that day, through the gates to a champion or a refusal
	@if [ -z "$(use_case)" ] || [ -z "$(partition)" ]; then \
		echo "train: say which: make train use_case=flight_delays partition=2013-05-31" >&2; exit 2; fi
	@$(SERVICES) up --quiet
	@$(SERVICES) exec -- $(PYTHON) -m include.orchestration.train --use-case "$(use_case)" --partition "$(partition)"

stream: venv ## source=… [every=10]: spool its events as they come, looking every so many seconds, until Ctrl-C
	@if [ -z "$(source)" ]; then echo "stream: say which source: make stream source=rides" >&2; exit 2; fi
	@$(SERVICES) up --quiet
	@$(SERVICES) exec -- $(PYTHON) -m include.ingestion.stream --source "$(source)" --every "$(or $(every),10)"

.PHONY: source-check
source-check: venv ## file=… [name=…]: how it is written, as a spec to paste, and what would become of its rows
	@if [ -z "$(file)" ]; then echo "source-check: say which: make source-check file=sample.csv" >&2; exit 2; fi
	@$(SERVICES) exec -- $(PYTHON) -m include.cli.source_check "$(file)" --name "$(name)"

SCAFFOLD := $(PYTHON) -m include.scaffold

.PHONY: source
source: venv ## name=… from=sample.csv [owner=] [day=] [key=a,b] [columns=a,b] [rename=1]: a source from a sample
	@if [ -z "$(name)" ] || [ -z "$(from)" ]; then \
		echo "source: say what: make source name=shop from=orders-2024-05-01.csv" >&2; exit 2; fi
	@$(SCAFFOLD) source --name "$(name)" --from "$(from)" $(if $(owner),--owner "$(owner)") $(if $(day),--day "$(day)") \
		$(if $(key),--key "$(key)") $(if $(columns),--columns "$(columns)") $(if $(rename),--rename)

.PHONY: use-case
use-case: venv ## name=… source=… task=binary|multiclass|regression label=… entity=a,b [label_days=0] [population=] [classes=] [every=day] [table=]
	@if [ -z "$(name)" ] || [ -z "$(source)" ] || [ -z "$(task)" ] || [ -z "$(label)" ] || [ -z "$(entity)" ]; then \
		echo "use-case: say what: make use-case name=reorders source=shop task=binary label='count(order_id) > 0'" \
			"entity=customer label_days=30" >&2; exit 2; fi
	@$(SCAFFOLD) use-case --name "$(name)" --source "$(source)" --task "$(task)" --label "$(label)" --entity "$(entity)" \
		$(if $(label_days),--label-days "$(label_days)") $(if $(population),--population "$(population)") \
		$(if $(classes),--classes "$(classes)") $(if $(every),--every "$(every)") $(if $(table),--table "$(table)") \
		$(if $(owner),--owner "$(owner)")

.PHONY: night
night: venv ## use_case=…|source=… partition=2013-06-01: all its stages on this machine, with what each did; Airflow is not told
	@if [ -z "$(partition)" ] || [ -z "$(use_case)$(source)" ]; then \
		echo "night: say which: make night use_case=flight_delays partition=2013-06-01" >&2; exit 2; fi
	@$(SERVICES) up --quiet
	@$(SERVICES) exec -- $(SCAFFOLD) night --partition "$(partition)" $(if $(use_case),--use-case "$(use_case)",--source "$(source)")

.PHONY: remove
remove: venv ## use_case=…|source=… [yes=1]: what it leaves behind; yes=1 drops that, once its files are gone
	@if [ -z "$(use_case)$(source)" ]; then echo "remove: say what: make remove use_case=reorders" >&2; exit 2; fi
	@$(SERVICES) up --quiet
	@$(SERVICES) exec -- $(SCAFFOLD) remove $(if $(use_case),--use-case "$(use_case)",--source "$(source)") $(if $(yes),--yes)

.PHONY: compare-engines
compare-engines: venv ## use_case=flight_delays partition=2013-06-01: build it on both engines, compare every value
	@if [ -z "$(use_case)" ] || [ -z "$(partition)" ]; then \
		echo "compare-engines: say what: make compare-engines use_case=flight_delays partition=2013-06-01" >&2; exit 2; fi
	@$(SERVICES) exec -- $(PYTHON) -m include.local.compare_engines --use-case "$(use_case)" --partition "$(partition)"

reprocess: venv ## [source=flights] [from= to=] [dry_run=1]: ingest again what the quarantine holds, after a fix
	@$(SERVICES) up --quiet
	@$(SERVICES) exec -- $(PYTHON) -m include.orchestration.reprocess --source "$(or $(source),flights)" $(if $(from),--from $(from)) \
		$(if $(to),--to $(to)) $(if $(dry_run),--dry-run)

trace: venv ## prediction=2013-06-02:UA:15:EWR [use_case=flight_delays] [json=1]: its model, features and landing files
	@if [ -z "$(prediction)" ]; then echo "trace: say which: make trace prediction=2013-06-02:UA:15:EWR" >&2; exit 2; fi
	@$(SERVICES) exec -- $(PYTHON) -m include.cli.trace "$(prediction)" --use-case "$(or $(use_case),flight_delays)" \
		$(if $(json),--json)

docs: venv ## the pages of dbt: models, columns and their lineage, for Airflow's menu and var/dbt/docs
	@$(SERVICES) up --quiet
	@$(SERVICES) exec -- $(PYTHON) -m include.governance.docs

test: setup ## the whole suite, the real stack included
	@$(SERVICES) exec -- $(TESTS) $(args)

test-full: setup ## the same, and what takes an hour: every kill, every order
	@$(SERVICES) exec -- $(TESTS) -m "" $(args)

freshness: venv ## how long ago each feed last brought something; fails where that is longer than its objective
	@$(SERVICES) up --quiet
	@$(SERVICES) exec -- sh -c 'dbt source freshness --project-dir dbt_project --profiles-dir dbt_project \
		--target-path "$$NOCTURNE_VAR/dbt/freshness" --log-path "$$NOCTURNE_VAR/dbt/freshness"'

bench: venv ## ours beside a named peer, in the same run, to var/report/bench.json [args="--rows 1000000"]
	@$(SERVICES) up --quiet
	@$(SERVICES) exec -- $(PYTHON) -m tests.benchmarks $(args)

check: setup ## lint (Python and SQL), format, types and DAG import, in under a minute
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/sqlfluff lint --nocolor --disable-progress-bar dbt_project/models dbt_project/tests/*.sql
	@.venv/bin/mypy
	@$(SERVICES) exec -- $(PYTHON) -m pytest tests/policy -q

format: venv ## repair what ruff and sqlfluff can repair
	@.venv/bin/ruff check --fix --quiet . || true
	@.venv/bin/ruff format .
	@.venv/bin/sqlfluff fix --nocolor --disable-progress-bar dbt_project/models dbt_project/tests/*.sql

.PHONY: image
image: ## [java=17] the container image, which records this commit with its models: docs/docker.md
	@COMMIT=$$([ -n "$$(git status --porcelain)" ] || git rev-parse HEAD) JAVA="$(java)" \
		docker compose -f docker/compose.yaml build

lock: venv ## compile requirements.txt and requirements-setup.txt from their .in files
	@for name in requirements-setup requirements; do \
		.venv/bin/uv pip compile --quiet --universal --python-version 3.12 --generate-hashes --no-header \
			--no-emit-index-url --no-emit-find-links $(args) $$name.in -o $$name.txt || exit 1; done

screenshots: venv ## the README's pictures, and a backfill in a real browser that must change nothing; needs Chromium
	@$(SERVICES) exec -- $(PYTHON) examples/screenshots.py

catalogue: venv ## docs/sources, docs/features: the pages of sources and features, from specs and dbt's metadata
	@$(SERVICES) exec -- $(PYTHON) -m include.governance.catalogue
	@$(SERVICES) exec -- $(PYTHON) -m include.features.catalogue

features: venv ## [use_case=flight_delays]: each feature, what it gives the champion, which versions use it
	@$(SERVICES) up --quiet
	@$(SERVICES) exec -- $(PYTHON) -m include.cli.features $(use_case)

clean: ## remove all state under var (CONFIRM=yes)
	@if [ -x $(PYTHON) ]; then $(SERVICES) clean $(if $(filter yes,$(CONFIRM)),--yes); else echo "nothing is set up"; fi
