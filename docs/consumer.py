"""Reads Sixty's events from their Redis Stream, in order for each user, and prints them.

    pip install redis
    REDIS_URL=redis://127.0.0.1:6379/0 python3 docs/consumer.py

To write your own program, copy this file, choose another GROUP and replace `handle`.
"""

import json
import os
import time
from collections.abc import Iterator
from typing import Any

import redis

STREAM = os.environ.get("REDIS_PREFIX", "sixty") + ":events"
# Redis stores how far each group has read, even while no reader runs.
GROUP = os.environ.get("GROUP", "example")
# The group has one consumer. Two would share the events, and events of one user could be handled in another order.
CONSUMER = "only"
# The relay appends a copy of an event, if at all, within a much shorter time.
REMEMBERED_SECONDS = 24 * 60 * 60


def handle(event: dict[str, Any]) -> None:
    """Handles one event. It must be idempotent: a program that is killed here gets the same event again."""
    who = event["data"].get("email", event["subject"])
    print(event["time"], event["type"], who, event["data"]["status"], flush=True)


def entries(store: redis.Redis) -> Iterator[tuple[str, dict[str, str]]]:
    """Yields the entries that were read but not acknowledged, then new entries, for ever."""
    try:
        store.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
    except redis.ResponseError as error:
        if not str(error).startswith("BUSYGROUP"):
            raise
    after = "0"
    while True:
        read: Any = store.xreadgroup(GROUP, CONSUMER, {STREAM: after}, count=100, block=5000)
        batch = read[0][1] if read else []
        yield from batch
        if after != ">":
            after = batch[-1][0] if batch else ">"


def consume(store: redis.Redis) -> None:
    for entry, fields in entries(store):
        # Redis returns no fields for an entry that the stream has dropped since it was read.
        event = json.loads(fields["event"]) if fields else None
        done = store.pipeline(transaction=True)
        if event:
            seen = f"{GROUP}:seen:{event['id']}"
            # Delivery is at least once: a copy has the same id.
            if not store.exists(seen):
                handle(event)
            done.set(seen, "", ex=REMEMBERED_SECONDS)
        done.xack(STREAM, GROUP, entry)
        done.execute()


def main() -> None:
    url = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
    # RESP2, which Redis 6.2 supports, gives replies one shape. The timeout detects a Redis that hangs.
    store = redis.Redis.from_url(url, decode_responses=True, protocol=2, socket_timeout=10)
    while True:
        try:
            consume(store)
        except redis.RedisError as error:
            # This includes a Redis that lost its data: `entries` creates the group again.
            print("Redis failed, retrying in one second:", error, flush=True)
            time.sleep(1)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
