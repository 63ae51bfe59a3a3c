"""Reads Sixty's events from their Redis Stream, each user's in order, and prints them.

    pip install redis
    REDIS_URL=redis://127.0.0.1:6379/0 python3 docs/consumer.py

Begin here for a program of your own: give it another GROUP and put what it does in place of `handle`.
"""

import json
import os
import time
from collections.abc import Iterator
from typing import Any

import redis

STREAM = os.environ.get("REDIS_PREFIX", "sixty") + ":events"
# Redis remembers how far each group has read, also while nobody runs.
GROUP = os.environ.get("GROUP", "example")
# The group's only one: two would share the events out, and a user's could be handled in another order.
CONSUMER = "only"
# Far longer than it can take until a copy of an event is appended.
REMEMBERED_SECONDS = 24 * 60 * 60


def handle(event: dict[str, Any]) -> None:
    """What this program is for. Whoever is killed here finds the same event again: let it be harmless twice."""
    who = event["data"].get("email", event["subject"])
    print(event["time"], event["type"], who, event["data"]["status"], flush=True)


def entries(store: redis.Redis) -> Iterator[tuple[str, dict[str, str]]]:
    """First what was read and never finished, then what is new, for ever."""
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
        # Nothing is left of what the stream has dropped since it was read.
        event = json.loads(fields["event"]) if fields else None
        done = store.pipeline(transaction=True)
        if event:
            seen = f"{GROUP}:seen:{event['id']}"
            # Appended at least once: a copy has the same id.
            if not store.exists(seen):
                handle(event)
            done.set(seen, "", ex=REMEMBERED_SECONDS)
        done.xack(STREAM, GROUP, entry)
        done.execute()


def main() -> None:
    url = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
    # As old as Redis 6.2 speaks, so that answers have one shape; and a Redis that hangs is noticed.
    store = redis.Redis.from_url(url, decode_responses=True, protocol=2, socket_timeout=10)
    while True:
        try:
            consume(store)
        except redis.RedisError as error:
            # Also when the stream is gone with all else that Redis held: the group is made anew.
            print("once more in a second:", error, flush=True)
            time.sleep(1)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
