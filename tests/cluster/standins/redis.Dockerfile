# Redis of Debian, in the place of the upstream's image.
FROM docker.io/library/debian:bookworm-slim
RUN groupadd --gid 999 redis && useradd --uid 999 --gid redis --home-dir /data redis \
    && apt-get update && apt-get install --yes --no-install-recommends redis-server redis-tools \
    && rm -rf /var/lib/apt/lists/* && mkdir -p /data && chown redis:redis /data
WORKDIR /data
# Debian's answers on loopback alone where nothing else is said; the upstream's on all addresses.
COPY redis.sh /usr/local/bin/docker-entrypoint.sh
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["redis-server"]
