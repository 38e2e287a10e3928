#!/usr/bin/env bash
# docker/gstreamer.sh: installs Debian's GStreamer and puts its plugins into /out, with the libraries and data that they load. As
# packages they would take twice the room, for Mesa and LLVM, which draw, and for programs that nothing here starts.
set -euo pipefail
# Of plugins-bad: parsers of H.264 and H.265, and what reads MPEG-TS, RTMP, SRT and RTP.
bad=(videoparsersbad mpegtsdemux rtmp2 srt rtpmanagerbad)

files() { find /usr/lib /usr/share /etc -not -type d -printf '%T@ %s %p\n' | sort; }
files >/before
apt-get update
DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ca-certificates \
    gstreamer1.0-{alsa,libav,plugins-bad,plugins-base,plugins-good}
files | comm -13 /before - | cut -d' ' -f3- | sort >/new

cd "$(dirname /usr/lib/*/gstreamer-1.0)"
mapfile -t unwanted < <(dpkg -L gstreamer1.0-plugins-bad | grep '/gstreamer-1\.0/.*\.so$' | grep -v -F "$(printf '/libgst%s.so\n' "${bad[@]}")")
rm "${unwanted[@]}"
# Beside the plugins what is loaded by name: for TLS, HTTP, and cameras of odd formats.
roots=("$PWD"/{gstreamer-1.0/*.so,gstreamer1.0/gstreamer-1.0/gst-plugin-scanner,gio/modules/libgiognutls.so,libv4l/plugins/*.so,libsoup-*.so.?})
linked=$(ldd "${roots[@]}")
if grep 'not found' <<<"$linked"; then exit 1; fi
{
    printf '%s\n' "${roots[@]}"
    # /lib is a link to /usr/lib.
    sed -n 's:.* => \(/usr\)\?\(/lib/[^ ]*\) .*:/usr\2:p' <<<"$linked"
    find /etc/ssl/certs/ca-certificates.crt /usr/share/alsa /etc/pulse -type f
} | sort -u | comm -12 - /new >/wanted
mkdir /out
xargs -d '\n' cp --parents --dereference --target-directory=/out </wanted
