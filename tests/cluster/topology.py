"""All servers of one run, and their connections.

clients → balancer → three replicas of Sixty → balancer of PostgreSQL → primary, standby
                                             → Redis Cluster
                                             → mock mail provider
"""

import asyncio
import shutil
import subprocess
import time
from pathlib import Path

import balancers
import redis_cluster
import replicas
from balancers import Balancer
from network import Network
from postgres import DATABASE, USER, Postgres
from redis_cluster import Cluster
from replicas import Replicas

PARTS = ["clients", "api", "db", "mail", "pg-a", "pg-b", *replicas.PARTS, *redis_cluster.PARTS]


class Topology:
    """The servers of one run. `folder` must exist; the data below it is private to the run."""

    def __init__(self, name: str, folder: Path, binary: Path) -> None:
        self.network = Network(name)
        self.folder, self.logs, self.data = folder, folder / "logs", folder / "data"
        self.binary = binary
        self.supervisors: list[asyncio.Task] = []

    async def start(self) -> None:
        await self.network.create(PARTS)
        # This process contains the clients and the supervisors.
        self.network.enter("clients")
        self.logs.mkdir()
        self.data.mkdir()
        network, addresses = self.network, self.network.addresses
        databases = [f"{part} {addresses[part]}:5432" for part in ("pg-a", "pg-b")]
        self.db = Balancer(network, "db", balancers.DATABASE, databases, self.data, self.logs)
        self.db.disabled.add("pg-b")
        apis = [f"{part} {addresses[part]}:8000" for part in replicas.PARTS]
        self.api = Balancer(network, "api", balancers.API, apis, self.data, self.logs)
        (self.data / "postgres").mkdir()
        (self.data / "redis").mkdir()
        self.postgres = Postgres(network, self.data / "postgres", self.logs, self.db)
        self.redis = Cluster(network, self.data / "redis", self.logs)
        await asyncio.gather(self.postgres.start(), self.redis.start(), self.db.start())
        self.replicas = Replicas(
            network,
            self.binary,
            self.logs,
            self.api,
            f"postgres://{USER}@{self.db.address}:5432/{DATABASE}",
            self.redis.urls,
        )
        await self.api.start()
        await self.replicas.start()
        self.supervisors = [
            asyncio.create_task(self.postgres.supervise()),
            asyncio.create_task(self.replicas.supervise()),
        ]

    @property
    def api_url(self) -> str:
        return f"http://{self.api.address}:8000"

    @property
    def mail_url(self) -> str:
        return f"http://{self.network.addresses['mail']}:8025"

    def check_supervisors(self) -> None:
        """Raises the error of a supervisor that has failed."""
        for task in self.supervisors:
            if task.done():
                task.result()

    async def quiet(self, seconds: float) -> tuple[int, int]:
        """Waits until no mail and no event waits. Returns the numbers that still wait."""
        deadline = time.monotonic() + seconds
        while True:
            waiting = await self.postgres.waiting("outbox"), await self.postgres.waiting("events")
            if waiting == (0, 0) or time.monotonic() > deadline:
                return waiting
            await asyncio.sleep(0.5)

    def clock_ahead(self) -> dict[str, str]:
        """Builds the library that shifts the clock of a process. Returns the variables that load it."""
        library = self.data / "clock_ahead.so"
        if not library.exists():
            source = Path(__file__).with_name("clock_ahead.c")
            subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, source], check=True)
        return {"LD_PRELOAD": str(library), "CLOCK_AHEAD": "7200"}

    async def stop(self) -> None:
        """Kills everything and deletes the data. The logs stay."""
        for task in self.supervisors:
            task.cancel()
        await asyncio.gather(*self.supervisors, return_exceptions=True)
        await self.network.remove()
        shutil.rmtree(self.data, ignore_errors=True)
