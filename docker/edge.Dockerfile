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

FROM ${BASE} AS gstreamer
COPY docker/gstreamer.sh /
RUN /gstreamer.sh

FROM ${BASE}
RUN useradd --system --uid 10001 --user-group --create-home msao
COPY --from=gstreamer /out/ /
COPY --from=onnxruntime /src/.cache/onnxruntime/ /usr/local/lib/
COPY --from=built /out/msao /usr/local/bin/
COPY docker/healthy /usr/local/bin/
COPY testdata/models/msao-edge /usr/share/msao/msao-edge
ENV ORT_DYLIB_PATH=/usr/local/lib/libonnxruntime.so MSAO_MODEL_DIR=/usr/share/msao/msao-edge
USER 10001
WORKDIR /home/msao
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 CMD ["healthy", "9464"]
ENTRYPOINT ["msao"]
CMD ["edge", "--config", "/etc/msao/edge.toml"]
