"""A Redis Cluster of three masters with one replica each."""

import asyncio
import json
import time
from pathlib import Path

import redis.asyncio as redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import RedisError

from network import Network, command
from processes import Server, wait_until

PORT = 6379
STREAM = "sixty:events"
PARTS = [f"redis-{number}" for number in range(1, 7)]


class Node:
    """One Redis server."""

    def __init__(self, network: Network, part: str, folder: Path, logs: Path) -> None:
        self.part = part
        self.data = folder / part
        self.data.mkdir()
        arguments = [
            "redis-server",
            "--port",
            str(PORT),
            "--bind",
            f"{network.addresses[part]} 127.0.0.1",
            "--protected-mode",
            "no",
            "--dir",
            str(self.data),
            "--save",
            "",
            "--appendonly",
            "no",
            "--cluster-enabled",
            "yes",
            "--cluster-node-timeout",
            "2000",
            "--cluster-require-full-coverage",
            "no",
            "--cluster-replica-validity-factor",
            "0",
            "--cluster-allow-replica-migration",
            "no",
            "--repl-diskless-sync-delay",
            "0",
        ]
        self.server = Server(network, part, arguments, logs)
        self.address = self.server.address

    @property
    def url(self) -> str:
        return f"redis://{self.address}:{PORT}"

    async def ask(self, *words: str | int | bytes, raw: bool = False):
        """Sends one command on a new connection."""
        client = redis.Redis(
            host=self.address,
            port=PORT,
            decode_responses=not raw,
            socket_timeout=5,
            socket_connect_timeout=1,
            retry=Retry(NoBackoff(), 0),
        )
        # The callbacks of the library would parse some responses; this program reads them as Redis sends them.
        client.response_callbacks.clear()
        try:
            return await client.execute_command(*words)
        finally:
            await client.aclose()

    async def is_master(self) -> bool:
        return (await self.ask("ROLE"))[0] in ("master", b"master")


class Cluster:
    """The six nodes."""

    def __init__(self, network: Network, folder: Path, logs: Path) -> None:
        self.nodes = [Node(network, part, folder, logs) for part in PARTS]
        self.urls = ",".join(node.url for node in self.nodes)

    async def start(self) -> None:
        for node in self.nodes:
            await node.server.start()
        for node in self.nodes:
            await wait_until(lambda node=node: node.ask("PING"), f"{node.part} answers")
        addresses = [f"{node.address}:{PORT}" for node in self.nodes]
        await command("redis-cli", "--cluster", "create", *addresses, "--cluster-replicas", "1", "--cluster-yes")
        for node in self.nodes:
            await wait_until(lambda node=node: self._is_whole(node), f"{node.part} sees the whole cluster")

    async def _is_whole(self, node: Node) -> bool:
        info = await node.ask("CLUSTER INFO")
        links = await node.ask("ROLE")
        has_link = links[0] == "master" or links[3] == "connected"
        return "cluster_state:ok" in info and "cluster_slots_ok:16384" in info and has_link

    async def view(self, asked: Node | None = None) -> list[dict]:
        """Returns the nodes as a running node sees them: part, id, master's id, flags, slot ranges."""
        asked = asked or await self.running()
        parts = {node.address: node.part for node in self.nodes}
        view = []
        for line in (await asked.ask("CLUSTER NODES")).strip().splitlines():
            words = line.split()
            part = parts.get(words[1].split(":")[0])
            slots = [tuple(map(int, (word.split("-") * 2)[:2])) for word in words[8:] if not word.startswith("[")]
            view.append(
                {"part": part, "id": words[0], "flags": words[2].split(","), "master": words[3], "slots": slots}
            )
        return view

    async def running(self) -> Node:
        """Returns a node that answers."""
        for node in self.nodes:
            if node.server.is_running:
                try:
                    async with asyncio.timeout(0.3):
                        await node.ask("PING")
                    return node
                except (TimeoutError, RedisError, OSError):
                    continue
        raise RuntimeError("no Redis node answers")

    def node(self, part: str) -> Node:
        return next(node for node in self.nodes if node.part == part)

    async def masters(self) -> list[Node]:
        """Returns the masters that have slots."""
        return [
            self.node(entry["part"]) for entry in await self.view() if entry["slots"] and "fail" not in entry["flags"]
        ]

    async def replica_of(self, master: Node) -> Node:
        view = await self.view()
        identity = next(entry["id"] for entry in view if entry["part"] == master.part)
        replicas = [
            e for e in view if e["master"] == identity and "fail" not in e["flags"] and "fail?" not in e["flags"]
        ]
        return self.node(replicas[0]["part"])

    async def owner(self, slot: int) -> Node:
        for entry in await self.view():
            if any(low <= slot <= high for low, high in entry["slots"]):
                return self.node(entry["part"])
        raise RuntimeError(f"no master has slot {slot}")

    async def wait_for_election(self, dead: Node, replica: Node) -> float:
        """Waits until the replica itself and another master see the replica as master. Returns the time."""
        others = [node for node in await self.masters() if node not in (dead, replica)]

        async def is_elected() -> bool:
            for asked in [replica, others[0]]:
                entry = next(entry for entry in await self.view(asked) if entry["part"] == replica.part)
                if not ("master" in entry["flags"] and entry["slots"]):
                    return False
            return True

        await wait_until(is_elected, f"{replica.part} replaces {dead.part}", 40)
        return time.time()

    async def wait_whole(self) -> None:
        for node in self.nodes:
            await wait_until(lambda node=node: self._is_whole(node), f"{node.part} sees the whole cluster", 40)

    async def move_slots(self, slots: list[int], source: Node, target: Node) -> None:
        """Moves slots with their keys, as `redis-cli --cluster reshard` does, one slot after the other."""
        ids = {entry["part"]: entry["id"] for entry in await self.view()}
        for slot in slots:
            await target.ask("CLUSTER SETSLOT", slot, "IMPORTING", ids[source.part])
            await source.ask("CLUSTER SETSLOT", slot, "MIGRATING", ids[target.part])
            while keys := await source.ask("CLUSTER GETKEYSINSLOT", slot, 100):
                await source.ask("MIGRATE", target.address, PORT, "", 0, 5000, "KEYS", *keys)
            await target.ask("CLUSTER SETSLOT", slot, "NODE", ids[target.part])
            for node in [source, *(node for node in await self.masters() if node not in (source, target))]:
                await node.ask("CLUSTER SETSLOT", slot, "NODE", ids[target.part])

    async def hand_over(self, master: Node, replica: Node) -> None:
        """Lets a replica take the place of its running master, without losing anything."""
        await replica.ask("CLUSTER FAILOVER")

        async def is_done() -> bool:
            return await replica.is_master() and not await master.is_master()

        await wait_until(is_done, f"{replica.part} takes over from {master.part}")

    async def events(self) -> list[dict]:
        """Returns all events of the stream."""
        client = RedisCluster(
            startup_nodes=[ClusterNode(node.address, PORT) for node in self.nodes], decode_responses=True
        )
        try:
            events: list[dict] = []
            after = "-"
            while page := await client.xrange(STREAM, min=after, count=5000):
                events += [json.loads(fields["event"]) for _, fields in page]
                after = f"({page[-1][0]}"
            return events
        finally:
            await client.aclose()

    async def restart_empty(self, node: Node, environment: dict[str, str] | None = None) -> None:
        """Starts a killed node again. It has its identity but no data, and joins as a replica."""
        await node.server.start(environment)
        await self.wait_whole()


def stream_slot() -> int:
    return key_slot(STREAM.encode())
