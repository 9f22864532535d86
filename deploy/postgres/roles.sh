#!/bin/sh
# Run once by the image of PostgreSQL, in an empty cluster: who may log in, and the two databases.
# trade_migrator migrates and owns the records' database.  The product logs in as trade_app, which is
# nobody by itself and becomes trade_writer, trade_reader or trade_admin: they can add records and
# change none.  Dagster has a database of its own.  The migrations make what else there is.
set -eu
secrets=${SECRETS:-/run/secrets}
psql --set ON_ERROR_STOP=1 --quiet --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
    --set migrator="$(cat "$secrets/migrator_password")" \
    --set app="$(cat "$secrets/app_password")" \
    --set dagster="$(cat "$secrets/dagster_password")" <<'SQL'
-- No log shows a password.
SET log_statement = 'none';
SET log_min_error_statement = 'panic';
CREATE ROLE trade_migrator LOGIN CREATEROLE PASSWORD :'migrator';
CREATE ROLE dagster LOGIN PASSWORD :'dagster';
CREATE DATABASE trade_pipeline OWNER trade_migrator;
CREATE DATABASE dagster OWNER dagster;
REVOKE CONNECT ON DATABASE trade_pipeline, dagster FROM PUBLIC;
-- Made by the one who migrates, who may then act for them.
SET ROLE trade_migrator;
CREATE ROLE trade_writer NOLOGIN;
CREATE ROLE trade_reader NOLOGIN;
CREATE ROLE trade_admin NOLOGIN;
CREATE ROLE trade_app LOGIN NOINHERIT PASSWORD :'app';
GRANT trade_writer, trade_reader, trade_admin TO trade_app;
GRANT CONNECT ON DATABASE trade_pipeline TO trade_app;
SQL
