# A cloud worker, and the commands that need no GStreamer: `docker build -f docker/cloud.Dockerfile -t msao-cloud .` from the
# root of the source. The build arguments are those of docker/edge.Dockerfile.
ARG BASE=debian:bookworm-slim
ARG BUILT=build

FROM rust:1.95-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends build-essential && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# Without line numbers of the source: they would be most of the image.
ENV CARGO_PROFILE_RELEASE_DEBUG=false CARGO_PROFILE_RELEASE_STRIP=symbols
RUN cargo build --release --locked -p pipeline --bin msao --no-default-features && mkdir /out && cp target/release/msao /out/

FROM ${BUILT} AS built

FROM debian:bookworm-slim AS onnxruntime
ARG ONNXRUNTIME=onnxruntime
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates python3 python3-pip unzip \
    && rm -rf /var/lib/apt/lists/*
COPY setup /src/setup
RUN /src/setup/setup.sh "$ONNXRUNTIME"

FROM ${BASE}
RUN useradd --system --uid 10001 --user-group --create-home msao
COPY --from=onnxruntime /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=onnxruntime /src/.cache/onnxruntime/ /usr/local/lib/
COPY --from=built /out/msao /usr/local/bin/
COPY docker/healthy /usr/local/bin/
COPY testdata/models/msao-cloud /usr/share/msao/msao-cloud
ENV ORT_DYLIB_PATH=/usr/local/lib/libonnxruntime.so
USER 10001
WORKDIR /home/msao
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 CMD ["healthy", "9464"]
ENTRYPOINT ["msao"]
CMD ["cloud", "--config", "/etc/msao/cloud.toml"]
