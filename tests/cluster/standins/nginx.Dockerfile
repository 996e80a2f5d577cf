# nginx of Debian, in the place of the upstream's image for a user without privileges.
FROM docker.io/library/debian:bookworm-slim
RUN groupadd --gid 101 nginx && useradd --uid 101 --gid nginx --no-create-home --home-dir /tmp nginx \
    && apt-get update && apt-get install --yes --no-install-recommends nginx-light curl ca-certificates \
    && rm -rf /var/lib/apt/lists/*
USER 101
# nginx opens /dev/stdout anew. An engine gives the container's user its streams; here cat's pipe is that user's.
ENTRYPOINT ["sh", "-c", "\"$@\" 2>&1 | cat", "sh"]
CMD ["nginx", "-g", "daemon off;"]
