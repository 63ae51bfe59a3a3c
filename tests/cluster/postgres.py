"""A PostgreSQL primary with a synchronous standby, and the supervisor that promotes the standby."""

import asyncio
import shutil
import signal
import time
from pathlib import Path

import psycopg

from balancers import Balancer
from network import Network
from processes import Server, run_as, wait_until

# Time without a response after which the supervisor replaces the primary.
SILENCE = 2.5
DATABASE, USER = "sixty", "sixty"


def binaries() -> Path:
    """Returns the folder of the newest PostgreSQL that is installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    return Path(shutil.which("initdb") or "/nonexistent/initdb").parent


class Node:
    """One PostgreSQL server with its data folder."""

    def __init__(self, network: Network, part: str, folder: Path, logs: Path) -> None:
        self.part, self.network = part, network
        self.data, self.sockets = folder / part, folder / f"{part}-socket"
        self.sockets.mkdir()
        shutil.chown(self.sockets, "postgres")
        self.server = Server(network, part, [str(binaries() / "postgres"), "-D", str(self.data)], logs, user="postgres")
        self.address = self.server.address

    def conninfo(self, user: str = "postgres", database: str = "postgres") -> str:
        return f"host={self.address} user={user} dbname={database} connect_timeout=2"

    async def query(self, statement: str, database: str = "postgres") -> list[tuple]:
        async with asyncio.timeout(5):
            async with await psycopg.AsyncConnection.connect(
                self.conninfo(database=database), autocommit=True
            ) as connection:
                cursor = await connection.execute(statement)
                return await cursor.fetchall() if cursor.description else []

    async def initialise(self) -> None:
        await run_as(
            "postgres",
            str(binaries() / "initdb"),
            "-D",
            str(self.data),
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        )
        with (self.data / "postgresql.conf").open("a") as file:
            # No fault crashes the kernel, so fsync can be off.
            file.write(
                "listen_addresses = '*'\nmax_connections = 100\nshared_buffers = 64MB\nfsync = off\n"
                "wal_level = replica\nmax_wal_senders = 10\nmax_replication_slots = 10\nhot_standby = on\n"
                "wal_sender_timeout = 5s\nwal_receiver_timeout = 5s\nwal_retrieve_retry_interval = 500ms\n"
                "log_line_prefix = '%m [%p] '\ninclude_if_exists = 'node.conf'\n"
            )
        with (self.data / "pg_hba.conf").open("a") as file:
            file.write("host all all 10.66.0.0/24 trust\nhost replication all 10.66.0.0/24 trust\n")

    def configure(self, synchronous: bool) -> None:
        """Writes the settings that differ between the two nodes."""
        names = "ANY 1 (standby)" if synchronous else ""
        file = self.data / "node.conf"
        file.write_text(f"unix_socket_directories = '{self.sockets}'\nsynchronous_standby_names = '{names}'\n")
        shutil.chown(file, "postgres")

    async def start(self) -> None:
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        await self.server.start()

    def reload(self) -> None:
        self.server.send(signal.SIGHUP)

    async def answers(self) -> bool:
        return await self.query("SELECT 1") == [(1,)]

    async def clone(self, primary: "Node", slot: str) -> None:
        """Replaces the data by a copy of the primary's, as a standby with a replication slot."""
        shutil.rmtree(self.data, ignore_errors=True)
        await run_as(
            "postgres",
            str(binaries() / "pg_basebackup"),
            "-D",
            str(self.data),
            "-R",
            "-X",
            "stream",
            "-c",
            "fast",
            "--no-sync",
            "-C",
            "-S",
            slot,
            "-d",
            f"host={primary.address} user=postgres application_name=standby",
            network=self.network,
            part=self.part,
        )
        self.configure(synchronous=False)


class Postgres:
    """The two nodes. `primary` changes with each promotion."""

    def __init__(self, network: Network, folder: Path, logs: Path, balancer: Balancer) -> None:
        # PostgreSQL refuses to run as root, and its user must reach the data.
        shutil.chown(folder, "postgres")
        self.nodes = {part: Node(network, part, folder, logs) for part in ("pg-a", "pg-b")}
        self.primary, self.standby = self.nodes["pg-a"], self.nodes["pg-b"]
        self.balancer = balancer
        self.has_standby = False
        self.slots = 0
        self.promotions: list[float] = []
        self.promoted = asyncio.Event()
        # Times and ages of the oldest event that waits, in seconds.
        self.lag: list[tuple[float, float]] = []
        self.connection: psycopg.AsyncConnection | None = None
        self.connected_to: Node | None = None

    async def start(self) -> None:
        await self.primary.initialise()
        self.primary.configure(synchronous=False)
        await self.primary.start()
        await wait_until(self.primary.answers, "the PostgreSQL primary answers")
        await self.primary.query(f"CREATE ROLE {USER} LOGIN")
        await self.primary.query(f"CREATE DATABASE {DATABASE} OWNER {USER}")
        await self.rebuild_standby()

    async def rebuild_standby(self) -> None:
        """Makes the other node a synchronous standby of the primary."""
        await self.standby.server.kill()
        self.slots += 1
        slot = f"standby_{self.slots}"
        await self.standby.clone(self.primary, slot)
        await self.standby.start()

        async def streams() -> bool:
            rows = await self.primary.query("SELECT state FROM pg_stat_replication WHERE application_name = 'standby'")
            return rows == [("streaming",)]

        await wait_until(streams, "the standby streams", 60)
        await self.primary.query(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots "
            f"WHERE NOT active AND slot_name <> '{slot}'"
        )
        self.primary.configure(synchronous=True)
        self.primary.reload()

        async def is_synchronous() -> bool:
            return await self.primary.query("SELECT sync_state FROM pg_stat_replication") == [("quorum",)]

        await wait_until(is_synchronous, "the standby is synchronous")
        self.has_standby = True

    async def supervise(self) -> None:
        """Replaces the primary when it has not answered for `SILENCE` seconds. Runs until it is cancelled."""
        answered, check = time.monotonic(), None
        while True:
            if check is None:
                check = asyncio.create_task(self._check(self.primary))
                # Reads the error of a check that is abandoned below.
                check.add_done_callback(lambda task: task.cancelled() or task.exception())
            # A check is never cancelled: the driver would ask a paused server to cancel the query, and wait for it.
            done, _ = await asyncio.wait({check}, timeout=0.25)
            if done:
                if not check.exception():
                    answered = time.monotonic()
                    self.lag.append((time.time(), check.result()))
                check = None
            if time.monotonic() - answered > SILENCE and self.has_standby:
                await self.fail_over()
                answered, check = time.monotonic(), None
            await asyncio.sleep(0.25)

    async def _check(self, node: "Node") -> float:
        """Asks the primary for the age of the oldest event that waits for the relay. Zero if none waits."""
        if self.connection is None or self.connection.closed or self.connected_to is not node:
            self.connected_to = node
            self.connection = await psycopg.AsyncConnection.connect(node.conninfo(database=DATABASE), autocommit=True)
        try:
            cursor = await self.connection.execute("SELECT to_regclass('events') IS NOT NULL")
            if await cursor.fetchone() != (True,):
                return 0.0
            cursor = await self.connection.execute(
                "SELECT coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)::float8 FROM events"
            )
            row = await cursor.fetchone()
            return row[0] if row else 0.0
        except psycopg.Error:
            self.connection = None
            raise

    async def fail_over(self) -> None:
        """Kills the primary, promotes the standby, and switches the balancer to it."""
        old, new = self.primary, self.standby
        self.has_standby = False
        await old.server.kill()
        await self.balancer.disable("postgresql", old.part)
        await new.query("SELECT pg_promote(true, 30)")

        async def is_writable() -> bool:
            return await new.query("SELECT pg_is_in_recovery()") == [(False,)]

        await wait_until(is_writable, "the standby is promoted", pause=0.02)
        await self.balancer.enable("postgresql", new.part)
        self.primary, self.standby = new, old
        self.promotions.append(time.time())
        self.promoted.set()

    async def users(self) -> list[dict]:
        rows = await self.primary.query(
            "SELECT id::text, address, status, extract(epoch FROM activated_at)::float8 FROM users", DATABASE
        )
        return [dict(zip(("id", "address", "status", "activated_at"), row, strict=True)) for row in rows]

    async def waiting(self, table: str) -> int:
        return (await self.primary.query(f"SELECT count(*) FROM {table}", DATABASE))[0][0]


def folder_is_reachable(folder: Path) -> bool:
    """Whether the user of PostgreSQL can enter every folder on the way."""
    return all(parent.stat().st_mode & 0o001 or parent.owner() == "postgres" for parent in [folder, *folder.parents])
