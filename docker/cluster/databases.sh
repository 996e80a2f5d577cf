#!/bin/sh
# Makes the databases and their roles as PostgreSQL starts for the first time. Each role's name, password and database
# are in the address that its service gets.
set -eu

part() { sed -n "s#^[a-z+]*://\([^:]*\):\([^@]*\)@[^/]*/\([^?]*\).*#\\$2#p" "/run/secrets/$1"; }

role() {
    # by standard input, and not as an argument: every process list would show it
    psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 --username postgres <<SQL
CREATE ROLE "$(part "$1" 1)" LOGIN PASSWORD '$(part "$1" 2)';
SQL
}

database() {
    role "$1"
    psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 --username postgres <<SQL
CREATE DATABASE "$(part "$1" 3)" OWNER "$(part "$1" 1)";
REVOKE ALL ON DATABASE "$(part "$1" 3)" FROM PUBLIC;
SQL
}

database NOCTURNE_AIRFLOW_DB
database NOCTURNE_MLFLOW_DB
# Tasks, for leases: `init` lets this role use the schema of these, beside Airflow's tables, and nothing else.
role NOCTURNE_LEASE_DB
psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 --username postgres <<SQL
GRANT CONNECT ON DATABASE "$(part NOCTURNE_LEASE_DB 3)" TO "$(part NOCTURNE_LEASE_DB 1)";
SQL
