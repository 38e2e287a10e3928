#!/usr/bin/env bash
# Which tokens of a window to keep, and whether beta finds what a question is about: windows of generated scenes into
# .cache/tokens, answers of draft and full model, tables. FLICKR=folder adds photographs, DAQUAR=folder rooms, and
# SOUNDS=sounds.npz recordings: see models/README.md for what those are. MODELS=folder has other models.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=$PWD/.cache
work=$cache/tokens
models=$(realpath "${MODELS:-testdata/models}")
venv=$cache/tokens-venv
wanted=(bench/tokens-requirements.txt)
# Captions are scored only where there are photographs.
[ -z "${FLICKR:-}" ] || wanted+=(bench/captions-requirements.txt)
for file in "${wanted[@]}"; do
    have=$venv/$(basename "$file")
    cmp -s "$file" "$have" && continue
    [ -d "$venv" ] || python3 -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r "$file"
    cp "$file" "$have"
done

rm -rf "$work"
mkdir -p "$work/textures"
for video in vtest.avi bikes.mp4 carphone_pristine.mp4; do
    gst-launch-1.0 -q filesrc location="$cache/media/$video" ! decodebin ! videoconvert ! videoscale ! videorate ! \
        video/x-raw,format=RGB,width=224,height=224,framerate=1/1,pixel-aspect-ratio=1/1 ! pngenc ! \
        multifilesink location="$work/textures/$video-%03d.png"
done
more=()
[ -z "${FLICKR:-}" ] || more+=(--flickr "$(realpath "$FLICKR")" --photographs 60)
[ -z "${DAQUAR:-}" ] || more+=(--daquar "$(realpath "$DAQUAR")" --rooms 100)
[ -z "${SOUNDS:-}" ] || more+=(--sounds "$(realpath "$SOUNDS")")
(cd models && "$venv/bin/python" -m msao_models.testset --out "$work/windows" --textures "$work/textures" \
    --scenes 150 --questions 2 "${more[@]}")
target/release/examples/evaluate --edge "$models/msao-edge" --cloud "$models/msao-cloud" --keep 1.0,0.5,0.25 \
    --choose mas,random,grid,centre,energy --beta on,off "$work/windows/items.jsonl" >"$work/answers.jsonl"
(cd models && "$venv/bin/python" -m msao_models.score "$work/answers.jsonl")
