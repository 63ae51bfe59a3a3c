"""Three replicas of `sixty serve`, the supervisor that restarts them, and the mock mail provider."""

import asyncio
import base64
import os
import signal
import time
from pathlib import Path

from balancers import Balancer
from network import Network
from processes import Server, wait_until

PARTS = ["sixty-1", "sixty-2", "sixty-3"]
RESTART_DELAY = 1.0
SHUTDOWN_DELAY = 4


class Replicas:
    """The three replicas behind their balancer."""

    def __init__(
        self, network: Network, binary: Path, logs: Path, balancer: Balancer, database_url: str, redis_url: str
    ) -> None:
        mail = network.addresses["mail"]
        environment = {
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "MAIL_URL": f"http://{mail}:8025",
            "PUBLIC_URL": f"http://{balancer.address}:8000",
            "CODE_SECRET": base64.b64encode(os.urandom(32)).decode(),
            # Cheap hashes: this program measures recovery, and the machine has few cores.
            "ARGON2_MEMORY_KIB": "8",
            "ARGON2_PASSES": "1",
            "HASH_THREADS": "1",
            # All requests come from one network.
            "CLIENT_LIMITS": "false",
            "TRUSTED_PROXIES": balancer.address,
            "API_ADDR": "0.0.0.0:8000",
            "OPS_ADDR": "0.0.0.0:9000",
            # A little longer than the balancer needs to notice: two checks that fail, and the pauses between them.
            "SHUTDOWN_DELAY": f"{SHUTDOWN_DELAY}s",
            "SHUTDOWN_GRACE": "10s",
        }
        self.balancer = balancer
        self.servers = {part: Server(network, part, [str(binary), "serve"], logs, environment) for part in PARTS}
        mock = {"MAIL_MOCK_ADDR": "0.0.0.0:8025"}
        self.mail = Server(network, "mail", [str(binary), "mail-mock"], logs, mock)
        # Replicas that the supervisor must not restart.
        self.held: set[str] = set()
        self.unexpected_ends: list[str] = []
        self.expected_kills: set[str] = set()

    async def start(self) -> None:
        await self.mail.start()
        for server in self.servers.values():
            await server.start()
        for part in PARTS:
            await self.balancer.wait_up("sixty", part, True)

    async def supervise(self) -> None:
        """Starts a replica again one second after its end. Runs until it is cancelled."""
        while True:
            for part, server in self.servers.items():
                if not server.is_running and part not in self.held:
                    if part in self.expected_kills:
                        self.expected_kills.discard(part)
                    else:
                        assert server.process is not None, "the replica was started"
                        self.unexpected_ends.append(
                            f"{part} ended with status {server.process.returncode}, see {server.log}"
                        )
                    await asyncio.sleep(RESTART_DELAY)
                    await server.start()
            await asyncio.sleep(0.1)

    async def kill(self, part: str) -> None:
        """Kills a replica, and waits until the supervisor has started it again."""
        server = self.servers[part]
        killed = server.process
        self.expected_kills.add(part)
        server.send(signal.SIGKILL)

        async def is_restarted() -> bool:
            return server.process is not killed and server.is_running

        await wait_until(is_restarted, f"{part} is started again")

    async def roll(self) -> list[str]:
        """Restarts one replica after the other, as an operator does. Returns the problems."""
        problems = []
        for part, server in self.servers.items():
            self.held.add(part)
            try:
                server.send(signal.SIGTERM)
                begun = time.monotonic()
                async with asyncio.timeout(SHUTDOWN_DELAY + 15):
                    status = await server.wait()
                if status != 0:
                    problems.append(f"{part} ended with status {status} after SIGTERM, expected 0, see {server.log}")
                if time.monotonic() - begun > SHUTDOWN_DELAY + 10:
                    problems.append(f"{part} took {time.monotonic() - begun:.1f} s to stop, see {server.log}")
                await server.start()
                await self.balancer.wait_up("sixty", part, True)
            finally:
                self.held.discard(part)
        return problems
