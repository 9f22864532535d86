#!/bin/sh
# Makes the folder of secrets that compose.yaml mounts: a random password for each login, and the
# files by which the services know them.  UI_USER names who logs in to the UI (operator); the password
# is in ui_password, which no service reads.  A folder that exists is left alone.
#
#   deploy/secrets.sh [FOLDER]        FOLDER: deploy/secrets
#
# CADDY: the command that hashes the password, where Caddy is installed; else its image does.
set -eu
folder=${1:-$(dirname "$0")/secrets}
caddy=${CADDY:-docker run --rm --interactive caddy:2.11.7 caddy}

if [ -e "$folder" ]; then
    echo "$folder is there already: nothing was changed" >&2
    exit 1
fi
made=$folder.$$
trap 'rm -rf "$made"' EXIT
# Nobody else may enter the folder.  The files can be read by whoever is inside a container that
# mounts them, whose users have other numbers than here.
mkdir -m 700 "$made"
umask 022

random() {
    od -An -N24 -tx1 /dev/urandom | tr -d ' \n'
}
secret() {
    printf '%s\n' "$2" >"$made/$1"
}

migrator=$(random) app=$(random) dagster=$(random) broker=$(random) cache=$(random)
store_key=$(random) store_secret=$(random) ui=$(random)

secret postgres_password "$(random)"
secret migrator_password "$migrator"
secret app_password "$app"
secret dagster_password "$dagster"
secret trade_pipeline_admin_database_url \
    "postgresql://trade_migrator:$migrator@postgres:5432/trade_pipeline"
secret trade_pipeline_database_url "postgresql://trade_app:$app@postgres:5432/trade_pipeline"
secret trade_pipeline_dagster_url "postgresql+psycopg2://dagster:$dagster@postgres:5432/dagster"

secret broker_auth "requirepass $broker"
secret trade_pipeline_broker_url "redis://:$broker@broker:6379/0"
secret cache_auth "requirepass $cache"
secret trade_pipeline_cache_url "redis://:$cache@cache:6379/0"

secret aws_credentials "[default]
aws_access_key_id = $store_key
aws_secret_access_key = $store_secret"
secret store_identities.json '{"identities": [{"name": "trade_pipeline",
  "credentials": [{"accessKey": "'"$store_key"'", "secretKey": "'"$store_secret"'"}],
  "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}'

hash=$(printf '%s\n' "$ui" | $caddy hash-password)
secret ui_users "${UI_USER:-operator} $hash"
secret ui_password "$ui"
chmod 600 "$made/ui_password"

mv "$made" "$folder"
echo "$folder is made; ${UI_USER:-operator} logs in to the UI by $folder/ui_password"
