#!/usr/bin/env bash
# Which tokens of a window to keep, and whether beta finds what a question is about: windows of generated scenes into
# .cache/tokens, answers of draft and full model, tables. FLICKR=, DAQUAR= and SOUNDS= add to the windows as windows.sh has
# it. MODELS=folder has other models.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$PWD/.cache/tokens
models=$(realpath "${MODELS:-testdata/models}")
venv=$PWD/.cache/tokens-venv
bench/windows.sh "$work/windows" --scenes 150 --questions 2
# Captions are scored only where there are photographs.
file=bench/captions-requirements.txt
if [ -n "${FLICKR:-}" ] && ! cmp -s "$file" "$venv/$(basename "$file")"; then
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r "$file"
    cp "$file" "$venv/"
fi
target/release/examples/evaluate --edge "$models/msao-edge" --cloud "$models/msao-cloud" --keep 1.0,0.75,0.5,0.35,0.25,0.1 \
    --choose mas,random,grid,centre,energy --beta on,off "$work/windows/items.jsonl" >"$work/answers.jsonl"
(cd models && "$venv/bin/python" -m msao_models.score "$work/answers.jsonl")
