"""``nocturne <command>``: every command, in one table. ``make <command>`` calls the same."""

import sys

from include.cli.program import Command, Needs, main

ENVIRONMENT, SERVICES = Needs.ENVIRONMENT, Needs.SERVICES
CASE = "--use-case flight_delays"
# What a use case is made of, as its guide has it.
REORDERS = "--source shop --task binary --label 'count(order_id) > 0' --entity customer --label-days 30"

# name, what it does, the function that does it, an example, what has to be there
THE_SERVICES = (
    Command("run", "the demonstration, with its report", "include.cli.services:run", "--also weather_temperature"),
    Command("setup", "make all that must exist before the first start", "include.cli.services:setup"),
    Command("up", "start them and wait until all are healthy", "include.cli.services:up", "--take-lake"),
    Command("upgrade", "after a git pull: stop, bring all forward, start", "include.cli.services:upgrade", "--dry-run"),
    Command("down", "stop them; no process stays", "include.cli.services:down"),
    Command("status", "state, health, memory and address of each", "include.cli.services:status", "--quiet"),
    Command("foreground", "run them until a signal comes, as a container wants", "include.cli.services:foreground"),
    Command("init", "databases, logins and buckets, for all machines", "include.cli.services:init"),
    Command("serve", "one service in the foreground, with only its secrets", "include.cli.services:serve"),
    Command("cluster-up", "build and start the cluster's containers", "include.cli.cluster:up", "--name localhost"),
    Command("cluster-do", "a command beside the cluster's services", "include.cli.cluster:do", "-- run"),
    Command("cluster-down", "stop them; their data stays", "include.cli.cluster:down"),
    Command("cluster-status", "state and health of each of them", "include.cli.cluster:status"),
    Command(
        "user",
        "an account at Airflow and MLflow, with a role: make one, give it another role and password, or close it",
        "include.cli.users:user",
        "--name ann --role operator",
        SERVICES,
    ),
    Command("users", "who may log in, with which role", "include.cli.users:users", needs=SERVICES),
    Command(
        "rotate",
        "a new value for a secret that set-up has made, for all who use it",
        "include.cli.rotate:rotate",
        "--secret fernet_key --yes",
        ENVIRONMENT,
    ),
    Command("exec", "another program in their environment", "include.cli.services:execute", "-- airflow dags list"),
    Command("clean", "stop them and remove all state under var", "include.cli.services:clean", "--yes"),
)
WAYS_BACK = (
    Command(
        "backup",
        "databases, models, ledgers, keys and the lake as they are at one moment, while nights go on",
        "include.cli.ways_back:backup",
        "--to /mnt/backup --keep 14",
    ),
    Command(
        "backup-check",
        "whether all of a backup is there and as it was written",
        "include.cli.ways_back:backup_check",
        "--from /mnt/backup",
    ),
    Command(
        "restore",
        "put a backup into an empty installation",
        "include.cli.ways_back:restore",
        "--from /mnt/backup --yes",
    ),
    Command(
        "retention",
        "forget old logs, runs that no version came of, events, alerts, caches: a step of maintenance",
        "include.cli.ways_back:retention",
        "--yes",
        SERVICES,
    ),
)
NIGHTS = (
    Command(
        "backfill",
        "run days through to the predictions, each by itself or as one range",
        "include.cli.runs:backfill",
        "--from 2013-06-01 --to 2013-06-07",
        SERVICES,
    ),
    Command(
        "train",
        "train on all that is known by a day, through the gates to a champion or a refusal",
        "include.cli.runs:train",
        f"{CASE} --partition 2013-05-31",
        SERVICES,
    ),
    Command(
        "promote",
        "make a version champion that waits, or is older, by a person's decision",
        "include.cli.runs:promote",
        f"{CASE} --version 3 --why 'it was right all spring' --yes",
        SERVICES,
    ),
    Command(
        "accept",
        "let a feature through that the gate has refused, since the world has really changed so",
        "include.cli.runs:accept",
        f"{CASE} --partition 2013-06-01 --feature distance_miles --why 'the summer schedule' --yes",
        ENVIRONMENT,
    ),
    Command(
        "rollback",
        "put back the version of a model that served before, at once",
        "include.cli.runs:rollback",
        f"{CASE} --why 'scores look wrong' --yes",
        SERVICES,
    ),
    Command(
        "rollout",
        "how it stands with a challenger that is rolled out, and take it back",
        "include.cli.runs:rollout",
        f"{CASE} --stop --why 'scores look wrong' --yes",
        ENVIRONMENT,
    ),
    Command(
        "night",
        "all stages of one partition on this machine; Airflow is not told",
        "include.cli.scaffold:night",
        f"{CASE} --partition 2013-06-01",
        SERVICES,
    ),
    Command(
        "stale",
        "partitions whose features, predictions or measurements are of something that is not there now, and why",
        "include.cli.runs:stale",
        CASE,
        ENVIRONMENT,
    ),
    Command(
        "refresh",
        "make again what is stale, and nothing else",
        "include.cli.runs:refresh",
        f"{CASE} --yes",
        SERVICES,
    ),
    Command(
        "publish",
        "bring predictions to the targets of a use case, what these have not got yet",
        "include.cli.publish:publish",
        f"{CASE} --yes",
        SERVICES,
    ),
    Command(
        "label-requests",
        "the rows whose labels would teach a model most, as a file for persons to label",
        "include.cli.labels:label_requests",
        f"{CASE} --budget 50",
        SERVICES,
    ),
    Command(
        "labels",
        "take the labels that persons have given in a file",
        "include.cli.labels:labels",
        f"{CASE} --file labels.csv",
        ENVIRONMENT,
    ),
    Command(
        "reprocess",
        "ingest again what the quarantine holds, after a fix",
        "include.cli.runs:reprocess",
        "--source flights --dry-run",
        SERVICES,
    ),
    Command(
        "stream",
        "spool the events of a source as they come, until Ctrl-C",
        "include.cli.stream:stream",
        "--source rides",
        SERVICES,
    ),
)
WHAT_THERE_IS = (
    Command("lake", "rows, files, bytes and version of each table", "include.cli.lake:lake", needs=ENVIRONMENT),
    Command("verify", "whether tables hold what the ledgers and counts say", "include.cli.lake:verify", needs=SERVICES),
    Command(
        "audit",
        "who logged in, decided, changed or removed what; fails where the log is not as it was written",
        "include.cli.audit:audit",
        "--since 2013-06-01 --action promotion",
        ENVIRONMENT,
    ),
    Command(
        "trace",
        "the model, features and landing files behind a prediction",
        "include.cli.trace:trace",
        "--prediction 2013-06-02:UA:15:EWR",
        ENVIRONMENT,
    ),
    Command(
        "reproduce",
        "train a version again from its record alone, and compare it byte by byte",
        "include.cli.runs:reproduce",
        "--model flight_delays --version 1",
        SERVICES,
    ),
    Command(
        "backtest",
        "what monitor and policy would have done on the stored history, as it was and with something broken",
        "include.cli.runs:backtest",
        CASE,
        SERVICES,
    ),
    Command(
        "card",
        "a version's card as one HTML file: data, metrics, groups, why it says what it says, history",
        "include.cli.runs:card",
        CASE,
        SERVICES,
    ),
    Command(
        "features",
        "each feature, what it gives the champion, which versions use it",
        "include.cli.features:features",
        CASE,
        SERVICES,
    ),
    Command(
        "freshness",
        "how long ago each feed last brought something; fails where that is longer than its objective",
        "include.cli.docs:freshness",
        needs=SERVICES,
    ),
    Command(
        "incidents",
        "what is wrong now, as it was told; close one, or try the channels",
        "include.cli.incidents:incidents",
        "--close 'failed flight_delays_train 2013-06-01'",
        ENVIRONMENT,
    ),
    Command("metrics", "the figures, as Prometheus reads them", "include.cli.incidents:metrics", needs=ENVIRONMENT),
    Command(
        "compare-engines",
        "build a partition on both engines and compare every value",
        "include.cli.compare_engines:compare_engines",
        f"{CASE} --partition 2013-06-01",
        ENVIRONMENT,
    ),
    Command("sql", "open the read-only SQL endpoint, or say where it is", "include.cli.sql:sql", "--port 31337"),
    Command(
        "sql-user",
        "who may log in there; make a login, with a password that is shown once, or take one away",
        "include.cli.sql:sql_user",
        "--name ann --role data_scientist",
    ),
    Command("docs", "dbt's pages of models and their lineage", "include.cli.docs:docs", needs=SERVICES),
    Command("catalogue", "the pages of sources and features, from specs", "include.cli.docs:catalogue"),
)
YOUR_OWN = (
    Command(
        "source-check",
        "how a file is written, as a spec to paste, and what would become of its rows",
        "include.cli.source_check:source_check",
        "--file sample.csv",
        ENVIRONMENT,
    ),
    Command(
        "source",
        "a source from a sample of its files",
        "include.cli.scaffold:source",
        "--name shop --from orders-2024-05-01.csv",
    ),
    Command("use-case", "a use case on a source", "include.cli.scaffold:use_case", f"--name reorders {REORDERS}"),
    Command(
        "remove",
        "what a source or a use case leaves behind, and drop it",
        "include.cli.scaffold:remove",
        "--use-case reorders",
        SERVICES,
    ),
)
FOR_OTHER_PROGRAMS = (
    Command(
        "quarantine",
        "what the quarantine of a source holds, as JSON: for its page",
        "include.cli.lake:quarantine",
        "--source flights",
        ENVIRONMENT,
    ),
    Command(
        "migrate",
        "bring the tables of the lake to this release's layout: a step of up and upgrade",
        "include.cli.lake:migrate",
        "--dry-run",
    ),
)
COMMANDS = {
    "the services": THE_SERVICES,
    "ways back": WAYS_BACK,
    "nights": NIGHTS,
    "what there is": WHAT_THERE_IS,
    "your own": YOUR_OWN,
    "for other programs": FOR_OTHER_PROGRAMS,
}

if __name__ == "__main__":
    sys.exit(main(COMMANDS, sys.argv[1:]))
