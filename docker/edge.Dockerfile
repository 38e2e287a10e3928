# An edge: `docker build -f docker/edge.Dockerfile -t msao-edge .` from the root of the source.
#   --build-arg BUILT=image        takes /out/msao from an image that has it, instead of building it
#   --build-arg BASE=image         what it runs on: Debian 12 or newer, or Ubuntu 24.04 or newer
#   --build-arg ONNXRUNTIME=onnxruntime-gpu    for CUDA, with a BASE that has CUDA and cuDNN
ARG BASE=debian:bookworm-slim
ARG BUILT=build

FROM rust:1.95-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends \
    build-essential libgstreamer-plugins-base1.0-dev libgstreamer1.0-dev pkg-config \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# Without line numbers of the source: they would be most of the image.
ENV CARGO_PROFILE_RELEASE_DEBUG=false CARGO_PROFILE_RELEASE_STRIP=symbols
RUN cargo build --release --locked -p pipeline --bin msao && mkdir /out && cp target/release/msao /out/

FROM ${BUILT} AS built

FROM debian:bookworm-slim AS onnxruntime
ARG ONNXRUNTIME=onnxruntime
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates python3 python3-pip unzip \
    && rm -rf /var/lib/apt/lists/*
COPY setup /src/setup
RUN /src/setup/setup.sh "$ONNXRUNTIME"

# Of plugins-bad the parsers of H.264 and H.265, MPEG-TS and RTMP: all of it would bring 300 MB of other libraries.
FROM ${BASE} AS parsers
WORKDIR /bad
RUN apt-get update && apt-get download gstreamer1.0-plugins-bad && dpkg -x gstreamer1.0-plugins-bad_*.deb . && mkdir /out \
    && cp --parents usr/lib/*/gstreamer-1.0/libgstvideoparsersbad.so usr/lib/*/gstreamer-1.0/libgstmpegtsdemux.so \
    usr/lib/*/gstreamer-1.0/libgstrtmp2.so /out

FROM ${BASE}
RUN apt-get update && apt-get install -y --no-install-recommends \
    ca-certificates gstreamer1.0-libav gstreamer1.0-plugins-base gstreamer1.0-plugins-good libgstreamer-plugins-bad1.0-0 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --user-group --create-home msao
COPY --from=parsers /out/ /
COPY --from=onnxruntime /src/.cache/onnxruntime/ /usr/local/lib/
COPY --from=built /out/msao /usr/local/bin/
COPY docker/healthy /usr/local/bin/
COPY testdata/models/msao-edge /usr/share/msao/msao-edge
ENV ORT_DYLIB_PATH=/usr/local/lib/libonnxruntime.so
USER 10001
WORKDIR /home/msao
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 CMD ["healthy", "9464"]
ENTRYPOINT ["msao"]
CMD ["edge", "--config", "/etc/msao/edge.toml"]
