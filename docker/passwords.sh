#!/usr/bin/env bash
# Makes passwords for docker/compose.yaml, in docker/.env, if there are none yet.
set -euo pipefail
cd "$(dirname "$0")"
[ -e .env ] && exit
umask 077
for secret in ADMIN_PASSWORD CLOUD_PASSWORD READER_PASSWORD STREET_PASSWORD DASH_TOKEN; do
    # A letter first: digits alone would be a number in the server's configuration.
    printf 'MSAO_%s=p%s\n' "$secret" "$(head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n')"
done >.env
