#!/usr/bin/env bash
# MSAO against other ways to share the work of edge and cloud: windows of generated scenes into .cache/offload, operations
# counted from the models' graphs, and `msao bench offload` with what is given to this script. FLICKR=, DAQUAR= and SOUNDS= add to
# the windows as windows.sh has it. MODELS=folder has other models.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$PWD/.cache/offload
models=$(realpath "${MODELS:-testdata/models}")
bench/setup.sh
bench/windows.sh "$work" --scenes 150 --questions 2 --captions
.cache/bench-venv/bin/python bench/flops.py --edge "$models/msao-edge" --cloud "$models/msao-cloud" >"$work/flops.json"
target/release/msao bench offload --windows "$work/items.jsonl" --flops "$work/flops.json" \
    --edge-model "$models/msao-edge" --cloud-model "$models/msao-cloud" "$@"
