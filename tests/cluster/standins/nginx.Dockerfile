# nginx of Debian, in the place of the upstream's image for a user without privileges.
FROM docker.io/library/debian:bookworm-slim
RUN groupadd --gid 101 nginx && useradd --uid 101 --gid nginx --no-create-home --home-dir /tmp nginx \
    && apt-get update && apt-get install --yes --no-install-recommends nginx-light curl ca-certificates \
    && rm -rf /var/lib/apt/lists/*
USER 101
ENTRYPOINT []
CMD ["nginx", "-g", "daemon off;"]
