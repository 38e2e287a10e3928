#!/usr/bin/env bash
# The Python packages of subscribe.py, by hash, into .cache/python-venv; what is there is skipped. Needs Python 3.11.
set -euo pipefail
cd "$(dirname "$0")/../.."
venv=$PWD/.cache/python-venv
cmp -s examples/python/requirements.txt "$venv/requirements.txt" && exit
echo "examples/python/setup.sh: fetching nats-py, numpy and pyarrow (70 MB)" >&2
# Two at the same time would spoil each other's.
exec 9>"$PWD/.cache/python-venv.lock"
flock 9
cmp -s examples/python/requirements.txt "$venv/requirements.txt" && exit
python3 -m venv --clear "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes -r examples/python/requirements.txt ||
    { echo "examples/python/setup.sh: could not install: check the network, pip's index (pip config list), and that python3 is 3.11" >&2; exit 1; }
cp examples/python/requirements.txt "$venv/"
