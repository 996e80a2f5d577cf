#!/bin/sh
# What the upstream's entry does where PGDATA is empty: the cluster, the password of a file, the scripts that are mounted.
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    # shellcheck disable=SC2086  # options
    initdb --username=postgres --pwfile="$POSTGRES_PASSWORD_FILE" --encoding=UTF8 ${POSTGRES_INITDB_ARGS:-} >/dev/null
    pg_ctl -D "$PGDATA" -o "-c listen_addresses=''" -w start >/dev/null
    export PGPASSWORD; PGPASSWORD=$(cat "$POSTGRES_PASSWORD_FILE")
    for script in /docker-entrypoint-initdb.d/*.sh; do
        if [ -x "$script" ]; then "$script"; else . "$script"; fi
    done
    unset PGPASSWORD
    pg_ctl -D "$PGDATA" -m fast -w stop >/dev/null
    echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
fi
# After a kill it names a process of a container that is gone. In an engine PostgreSQL is process 1, and knows by that.
rm -f "$PGDATA/postmaster.pid"
exec "$@" -c listen_addresses='*'
