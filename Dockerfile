# The service:    docker build -t sixty .
# The mail mock:  docker build -t sixty-mail-mock --target mail-mock .
# The tests:      docker build -t sixty-tests --target tests . && docker run --rm --init sixty-tests
#
# Dependencies have layers of their own, which are rebuilt only when Cargo.toml or Cargo.lock changes. BuildKit is not
# needed. Without BuildKit, Docker builds every stage before the target, so the stage of the tests comes last.

# --- source dependencies ---------------------------------------------------------------------------------------------

FROM rust:1.95-bookworm AS crates
WORKDIR /src
# Incremental compilation would only enlarge the layers.
ENV CARGO_INCREMENTAL=0
COPY .cargo .cargo
COPY Cargo.toml Cargo.lock ./
COPY crates/dev-stack/Cargo.toml crates/dev-stack/
COPY crates/huge-pages/Cargo.toml crates/huge-pages/
COPY crates/listen-address/Cargo.toml crates/listen-address/
COPY crates/mail-mock/Cargo.toml crates/mail-mock/
COPY crates/mailbox-syntax/Cargo.toml crates/mailbox-syntax/
# Empty programs replace ours while their dependencies are compiled.
RUN mkdir -p src tests/api crates/dev-stack/src crates/huge-pages/src crates/listen-address/src crates/mail-mock/src \
        crates/mailbox-syntax/src \
    && touch src/lib.rs crates/dev-stack/src/lib.rs crates/huge-pages/src/lib.rs crates/listen-address/src/lib.rs \
        crates/mail-mock/src/lib.rs crates/mailbox-syntax/src/lib.rs \
    && echo 'fn main() {}' | tee src/main.rs crates/mail-mock/src/main.rs >tests/api/main.rs \
    && cargo fetch --locked

# --- the service and the mock mail provider -------------------------------------------------------------------------

FROM crates AS build
# The service is built without the commands `dev` and `mail-mock` and their dependencies.
ARG SERVICE="--package sixty --no-default-features"
ARG BUILD="cargo build --release --locked --offline"
# Removes the compiled empty programs: cargo compares file times, and our files may be older.
RUN $BUILD $SERVICE && $BUILD --package mail-mock \
    && cargo clean --release --offline --workspace
COPY build.rs ./
COPY .sqlx .sqlx
COPY sql sql
COPY src src
COPY crates crates
RUN $BUILD $SERVICE && $BUILD --package mail-mock

FROM debian:bookworm-slim AS mail-mock
COPY --from=build /src/target/release/mail-mock /usr/local/bin/mail-mock
USER 10001:10001
ENV MAIL_MOCK_ADDR=:8025
EXPOSE 8025
HEALTHCHECK --interval=2s --timeout=5s --start-period=30s CMD ["mail-mock", "healthcheck"]
ENTRYPOINT ["mail-mock"]

FROM debian:bookworm-slim AS service
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /src/target/release/sixty /usr/local/bin/sixty
# A numeric user id lets an orchestrator verify that it is not root.
USER 10001:10001
# The service listens on all interfaces of the container, over IPv6 and IPv4; the operator decides which ports are
# published. `docker stop` kills after 10 s, so SHUTDOWN_GRACE is a little shorter.
ENV API_ADDR=:8000 \
    OPS_ADDR=:9000 \
    SHUTDOWN_GRACE=8s
EXPOSE 8000 9000
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s CMD ["sixty", "healthcheck"]
ENTRYPOINT ["sixty"]
CMD ["serve"]

# --- the tests ------------------------------------------------------------------------------------------------------

FROM crates AS tests
# The tests start PostgreSQL and Redis, open pages in a browser, and type the README's tour.
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        chromium chromium-driver curl npm postgresql postgresql-client redis-server redis-tools \
    && rm -rf /var/lib/apt/lists/*
RUN cargo test --no-run --locked --offline \
    && cargo clean --offline --workspace
COPY . .
RUN cargo test --no-run --locked --offline
# The accessibility tests would install this at their start.
RUN mkdir -p target/tmp/axe && cd target/tmp/axe && cp ../../../tests/api/browser/axe/package*.json . && npm ci --ignore-scripts \
    && cp package-lock.json installed.json
CMD ["cargo", "test", "--locked", "--offline", "--", "--include-ignored"]

# The default target is the service.
FROM service
