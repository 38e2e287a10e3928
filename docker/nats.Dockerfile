# nats-server, as pinned in setup/wheels.txt: `docker build -f docker/nats.Dockerfile -t msao-nats .` from the root of the source.
FROM debian:bookworm-slim AS fetched
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates python3 python3-pip unzip \
    && rm -rf /var/lib/apt/lists/*
COPY setup /src/setup
RUN /src/setup/setup.sh nats-server

FROM debian:bookworm-slim
RUN useradd --system --uid 10001 --user-group --create-home msao && mkdir /data && chown msao:msao /data
COPY --from=fetched /src/.cache/bin/nats-server /usr/local/bin/
COPY docker/healthy /usr/local/bin/
USER 10001
WORKDIR /data
VOLUME /data
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s --retries=3 CMD ["healthy", "8222"]
ENTRYPOINT ["nats-server"]
