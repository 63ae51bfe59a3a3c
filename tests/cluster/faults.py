"""The faults. Each function injects one fault, marks its phases, observes the clients, and repairs the servers."""

import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import redis_cluster
import replicas
from history import Phase, Window
from redis_cluster import Node
from topology import Topology

# How long a paused process stays paused, and how long a cut network stays cut.
PAUSE, CUT = 20.0, 10.0


@dataclass
class Scene:
    """What a fault works on."""

    topology: Topology
    window: Window
    random: random.Random
    # How long the clients are watched after each phase.
    watch: float
    # Allows flows that outlast their code to start for a number of seconds.
    allow_expiry: Callable[[float], None]
    # Whether the chosen Redis master has the event stream.
    has_stream: bool = False

    def phase(self, label: str, *, loses_redis: bool = False) -> Phase:
        """Begins a phase. The engine counts as working until the fault sets another time."""
        now = time.time()
        phase = Phase(label, now, now, loses_redis, loses_redis and self.has_stream)
        self.window.phases.append(phase)
        return phase

    async def observe(self) -> None:
        await asyncio.sleep(self.watch)

    async def master(self) -> Node:
        """Chooses a Redis master: half of the time the one with the event stream."""
        stream = await self.topology.redis.owner(redis_cluster.stream_slot())
        others = [node for node in await self.topology.redis.masters() if node is not stream]
        master = stream if self.random.random() < 0.5 else self.random.choice(others)
        self.window.notes.append(f"{master.part}{', which has the event stream' if master is stream else ''}")
        self.has_stream = master is stream
        return master

    def replica(self) -> str:
        part = self.random.choice(replicas.PARTS)
        self.window.notes.append(part)
        return part


async def kill_sixty(scene: Scene) -> None:
    part = scene.replica()
    scene.window.killed_replica = scene.phase("killed").begun
    await scene.topology.replicas.kill(part)
    await scene.topology.api.wait_up("sixty", part, True)
    await scene.observe()


async def stop_sixty(scene: Scene) -> None:
    part = scene.replica()
    server = scene.topology.replicas.servers[part]
    frozen = scene.phase("paused")
    server.send(signal.SIGSTOP)
    frozen.engine_back = await scene.topology.api.wait_up("sixty", part, False)
    await asyncio.sleep(max(0.0, frozen.begun + PAUSE - time.time()))
    scene.phase("resumed")
    server.send(signal.SIGCONT)
    await scene.topology.api.wait_up("sixty", part, True)
    await scene.observe()


async def kill_redis(scene: Scene) -> None:
    cluster = scene.topology.redis
    master = await scene.master()
    replica = await cluster.replica_of(master)
    killed = scene.phase("killed", loses_redis=True)
    await master.server.kill()
    killed.engine_back = await cluster.wait_for_election(master, replica)
    await scene.observe()
    scene.phase("back as a replica")
    await cluster.restart_empty(master)
    await asyncio.sleep(3)


async def stop_redis(scene: Scene) -> None:
    cluster = scene.topology.redis
    master = await scene.master()
    replica = await cluster.replica_of(master)
    frozen = scene.phase("paused", loses_redis=True)
    master.server.send(signal.SIGSTOP)
    frozen.engine_back = await cluster.wait_for_election(master, replica)
    await asyncio.sleep(max(0.0, frozen.begun + PAUSE - time.time()))
    # The old master accepts writes until it discovers the new one. These writes are lost.
    scene.phase("resumed, a replica now", loses_redis=True)
    master.server.send(signal.SIGCONT)
    await cluster.wait_whole()
    await scene.observe()


async def _promoted(scene: Scene, phase: Phase) -> None:
    postgres = scene.topology.postgres
    await asyncio.wait_for(postgres.promoted.wait(), 60)
    phase.engine_back = postgres.promotions[-1]
    await asyncio.sleep(max(scene.watch, phase.begun + PAUSE - time.time()))
    scene.phase("new standby")
    await postgres.rebuild_standby()
    await asyncio.sleep(3)


async def kill_postgres(scene: Scene) -> None:
    postgres = scene.topology.postgres
    postgres.promoted.clear()
    killed = scene.phase("killed")
    await postgres.primary.server.send_all(signal.SIGKILL)
    await _promoted(scene, killed)


async def stop_postgres(scene: Scene) -> None:
    postgres = scene.topology.postgres
    postgres.promoted.clear()
    frozen = scene.phase("paused, then fenced")
    await postgres.primary.server.send_all(signal.SIGSTOP)
    await _promoted(scene, frozen)


async def _drop(scene: Scene, other: str, port: int) -> None:
    network = scene.topology.network
    scene.phase("open connections dropped")
    counts = await asyncio.gather(*(network.drop_open_connections(part, other, port) for part in replicas.PARTS))
    scene.window.notes.append(f"connections of the three replicas: {counts}")
    await asyncio.sleep(max(PAUSE, scene.watch))
    scene.phase("healed")
    await asyncio.gather(*(network.heal(part) for part in replicas.PARTS))
    await asyncio.sleep(3)


async def drop_postgres(scene: Scene) -> None:
    await _drop(scene, "db", 5432)


async def drop_redis(scene: Scene) -> None:
    await _drop(scene, (await scene.master()).part, redis_cluster.PORT)


async def _cut(scene: Scene, other: str) -> None:
    network = scene.topology.network
    cut = scene.phase("cut off for 10 s")
    await asyncio.gather(*(network.cut(part, other) for part in replicas.PARTS))
    await asyncio.sleep(CUT)
    await asyncio.gather(*(network.heal(part) for part in replicas.PARTS))
    cut.engine_back = time.time()
    await scene.observe()


async def cut_postgres(scene: Scene) -> None:
    await _cut(scene, "db")


async def cut_redis(scene: Scene) -> None:
    await _cut(scene, (await scene.master()).part)


async def isolate_sixty(scene: Scene) -> None:
    part = scene.replica()
    network, api = scene.topology.network, scene.topology.api
    cut = scene.phase("cut off for 10 s")
    await network.cut(part, "db")
    cut.engine_back = await api.wait_up("sixty", part, False)
    await asyncio.sleep(max(0.0, cut.begun + CUT - time.time()))
    scene.phase("healed")
    await network.heal(part)
    await api.wait_up("sixty", part, True)
    await scene.observe()


async def restart_balancer(scene: Scene) -> None:
    stopped = scene.phase("restarted")
    await scene.topology.api.stop()
    await scene.topology.api.start()
    for part in replicas.PARTS:
        stopped.engine_back = await scene.topology.api.wait_up("sixty", part, True)
    await scene.observe()


async def roll(scene: Scene) -> None:
    scene.window.must_not_fail = True
    rolled = scene.phase("three replicas replaced")
    scene.window.problems += await scene.topology.replicas.roll()
    rolled.engine_back = time.time()
    await asyncio.sleep(3)


async def _move(scene: Scene, slots: list[int], source: Node, label: str) -> None:
    cluster = scene.topology.redis
    target = scene.random.choice([node for node in await cluster.masters() if node is not source])
    moved = scene.phase(label)
    await cluster.move_slots(slots, source, target)
    moved.engine_back = time.time()
    scene.window.notes.append(f"{len(slots)} slots from {source.part} to {target.part}")
    await scene.observe()


async def move_slots(scene: Scene) -> None:
    cluster = scene.topology.redis
    source = scene.random.choice(await cluster.masters())
    ranges = next(entry["slots"] for entry in await cluster.view() if entry["part"] == source.part)
    owned = [slot for low, high in ranges for slot in range(low, high + 1)]
    await _move(scene, scene.random.sample(owned, min(400, len(owned) // 2)), source, "400 slots moved")


async def move_stream(scene: Scene) -> None:
    slot = redis_cluster.stream_slot()
    # Longer than an event may wait.
    scene.watch = max(scene.watch, 14.0)
    await _move(scene, [slot], await scene.topology.redis.owner(slot), "slot of sixty:events moved")


async def clock_redis(scene: Scene) -> None:
    """A replica whose clock is two hours ahead becomes a master, and later a replica with the right clock again."""
    cluster = scene.topology.redis
    master = await scene.master()
    replica = await cluster.replica_of(master)
    await replica.server.kill()
    scene.phase("the clock of a replica is ahead")
    await cluster.restart_empty(replica, scene.topology.clock_ahead())
    await asyncio.sleep(2)
    # The new master deletes the codes that have expired by its clock.
    handed = scene.phase("it becomes a master", loses_redis=True)
    await cluster.hand_over(master, replica)
    handed.engine_back = time.time()
    scene.allow_expiry(PAUSE)
    await asyncio.sleep(max(PAUSE, scene.watch))
    # The codes that the fast clock dated have expired.
    back = scene.phase("the right clock again", loses_redis=True)
    await cluster.hand_over(replica, master)
    back.engine_back = time.time()
    await replica.server.kill()
    await cluster.restart_empty(replica)
    await scene.observe()


FAULTS: dict[str, tuple[Callable[[Scene], Awaitable[None]], str]] = {
    "kill-sixty": (kill_sixty, "kill -9 of a replica of Sixty; it starts again after 1 s"),
    "kill-redis": (kill_redis, "kill -9 of a Redis master; its replica is elected, and it comes back as a replica"),
    "kill-postgres": (
        kill_postgres,
        "kill -9 of the PostgreSQL primary; the standby is promoted, and a new standby is built",
    ),
    "stop-sixty": (stop_sixty, "SIGSTOP of a replica of Sixty for 20 s"),
    "stop-redis": (stop_redis, "SIGSTOP of a Redis master for 20 s; its replica is elected"),
    "stop-postgres": (stop_postgres, "SIGSTOP of the PostgreSQL primary; it is fenced, and the standby is promoted"),
    "drop-postgres": (drop_postgres, "packets of open connections to PostgreSQL are dropped; new connections work"),
    "drop-redis": (drop_redis, "packets of open connections to one Redis master are dropped; new connections work"),
    "cut-postgres": (cut_postgres, "no network between Sixty and PostgreSQL for 10 s"),
    "cut-redis": (cut_redis, "no network between Sixty and one Redis master for 10 s"),
    "isolate-sixty": (isolate_sixty, "no network between one replica of Sixty and PostgreSQL for 10 s"),
    "restart-balancer": (restart_balancer, "the balancer of the API stops and starts again"),
    "roll": (roll, "all three replicas of Sixty are replaced, one after the other; no request may fail"),
    "move-slots": (move_slots, "400 slots of the Redis Cluster move to another master"),
    "move-stream": (move_stream, "only the slot of the event stream moves to another master"),
    "clock-redis": (clock_redis, "a Redis whose clock is two hours ahead becomes a master for 20 s"),
}
