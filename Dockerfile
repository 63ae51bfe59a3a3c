# The service:  docker build -t sixty .
# The tests:    docker build -t sixty-tests --target tests . && docker run --rm --init sixty-tests
#
# Dependencies are layers of their own, which only Cargo.toml and Cargo.lock change. BuildKit is not needed. Without
# it every stage up to the wanted one is built, so the tests come after the service.

# --- what is compiled of --------------------------------------------------------------------------------------------

FROM rust:1.95-bookworm AS crates
WORKDIR /src
# It would only make the layers larger: nothing is compiled twice in one of them.
ENV CARGO_INCREMENTAL=0
COPY .cargo .cargo
COPY Cargo.toml Cargo.lock ./
COPY crates/dev-stack/Cargo.toml crates/dev-stack/
COPY crates/mail-mock/Cargo.toml crates/mail-mock/
# Empty programs stand in for ours while their dependencies are compiled.
RUN mkdir -p src tests/api crates/dev-stack/src crates/mail-mock/src \
    && touch src/lib.rs crates/dev-stack/src/lib.rs crates/mail-mock/src/lib.rs \
    && echo 'fn main() {}' | tee src/main.rs crates/mail-mock/src/main.rs >tests/api/main.rs \
    && cargo fetch --locked

# --- the service and the mock mail provider -------------------------------------------------------------------------

FROM crates AS build
# The service is built without `dev` and `mail-mock`, so without what only they need.
ARG SERVICE="--package sixty --no-default-features"
ARG BUILD="cargo build --release --locked --offline"
# What the empty programs became has to go: cargo compares times, and our files may be older.
RUN $BUILD $SERVICE && $BUILD --package mail-mock \
    && cargo clean --release --offline --package sixty --package mail-mock
COPY build.rs askama.toml ./
COPY .sqlx .sqlx
COPY sql sql
COPY src src
COPY crates crates
RUN $BUILD $SERVICE && $BUILD --package mail-mock

FROM debian:bookworm-slim AS mail-mock
COPY --from=build /src/target/release/mail-mock /usr/local/bin/mail-mock
USER 10001:10001
ENV MAIL_MOCK_ADDR=0.0.0.0:8025
EXPOSE 8025
HEALTHCHECK --interval=2s --timeout=5s --start-period=30s CMD ["mail-mock", "healthcheck"]
ENTRYPOINT ["mail-mock"]

FROM debian:bookworm-slim AS service
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /src/target/release/sixty /usr/local/bin/sixty
# As a number, so that an orchestrator can tell that it is not root.
USER 10001:10001
# A container is reached from outside it; what is published is decided where it is run. `docker stop` kills after 10 s, so
# what is under way gets a little less.
ENV API_ADDR=0.0.0.0:8000 \
    OPS_ADDR=0.0.0.0:9000 \
    SHUTDOWN_GRACE=8s
EXPOSE 8000 9000
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s CMD ["sixty", "healthcheck"]
ENTRYPOINT ["sixty"]
CMD ["serve"]

# --- the tests ------------------------------------------------------------------------------------------------------

FROM crates AS tests
# The tests start their own servers, of which they need the programs, open the pages in a browser, and type the README's
# tour.
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        chromium chromium-driver curl postgresql postgresql-client redis-server redis-tools \
    && rm -rf /var/lib/apt/lists/*
RUN cargo test --no-run --locked --offline \
    && cargo clean --offline --package sixty --package mail-mock --package dev-stack
COPY . .
RUN cargo test --no-run --locked --offline
CMD ["cargo", "test", "--locked", "--offline", "--", "--include-ignored"]

# Without --target one gets the service.
FROM service
