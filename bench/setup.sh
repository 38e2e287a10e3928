#!/usr/bin/env bash
# Python packages, by hash, and clips for the gate benchmark, by checksum, into .cache; what is there is skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=$PWD/.cache
venv=$cache/bench-venv
if ! cmp -s bench/requirements.txt "$venv/requirements.txt"; then
    python3 -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r bench/requirements.txt
    cp bench/requirements.txt "$venv/"
fi
sums=$PWD/bench/media.sha256
if ! (cd "$cache/media" && sha256sum --quiet --check "$sums" >/dev/null 2>&1); then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    (cd "$work" && apt-get download -qq -o APT::Sandbox::User=root opencv-doc) ||
        { echo "bench/setup.sh: could not fetch the Debian package opencv-doc: check /etc/apt and the network" >&2; exit 1; }
    dpkg-deb -x "$work"/opencv-doc_*.deb "$work/doc"
    cp "$work/doc/usr/share/doc/opencv-doc/examples/data/tree.avi" "$cache/media/"
    for name in box cup; do
        gunzip -c "$work/doc/usr/share/doc/opencv-doc/opencv4/html/$name.mp4.gz" >"$cache/media/$name.mp4"
    done
    (cd "$cache/media" && sha256sum --quiet --check "$sums")
fi
