# SeaweedFS, whose one program is built on this machine, in the place of the upstream's image.
FROM docker.io/library/debian:bookworm-slim
RUN groupadd --gid 1000 seaweed && useradd --uid 1000 --gid seaweed --no-create-home --home-dir /tmp seaweed \
    && apt-get update && apt-get install --yes --no-install-recommends wget ca-certificates \
    && rm -rf /var/lib/apt/lists/* && mkdir -p /data && chown seaweed:seaweed /data
COPY weed /usr/bin/weed
ENTRYPOINT ["/usr/bin/weed", "-logtostderr=true"]
