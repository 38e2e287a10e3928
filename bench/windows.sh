#!/usr/bin/env bash
# Test windows of generated scenes into a folder, which is made anew: `bench/windows.sh FOLDER [options of testset.py]`. Their
# textures are cut from the sample videos. FLICKR=folder adds photographs, DAQUAR=folder rooms, and SOUNDS=sounds.npz
# recordings: see models/README.md for what those are.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$(realpath -m "$1")
shift
cache=$PWD/.cache
venv=$cache/tokens-venv
file=bench/tokens-requirements.txt
if ! cmp -s "$file" "$venv/$(basename "$file")"; then
    [ -d "$venv" ] || python3 -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r "$file"
    cp "$file" "$venv/"
fi
rm -rf "$out"
textures=$(mktemp -d)
trap 'rm -rf "$textures"' EXIT
for video in vtest.avi bikes.mp4 carphone_pristine.mp4; do
    gst-launch-1.0 -q filesrc location="$cache/media/$video" ! decodebin ! videoconvert ! videoscale ! videorate ! \
        video/x-raw,format=RGB,width=224,height=224,framerate=1/1,pixel-aspect-ratio=1/1 ! pngenc ! \
        multifilesink location="$textures/$video-%03d.png"
done
more=()
[ -z "${FLICKR:-}" ] || more+=(--flickr "$(realpath "$FLICKR")" --photographs 120)
[ -z "${DAQUAR:-}" ] || more+=(--daquar "$(realpath "$DAQUAR")" --rooms 100)
[ -z "${SOUNDS:-}" ] || more+=(--sounds "$(realpath "$SOUNDS")")
cd models
"$venv/bin/python" -m msao_models.testset --out "$out" --textures "$textures" "$@" "${more[@]}"
