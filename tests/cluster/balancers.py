"""HAProxy in front of the API and in front of PostgreSQL."""

import asyncio
import signal
import time
from pathlib import Path

from network import Network
from processes import Server, wait_until

API = """
global
    stats socket {socket} mode 600 level admin
    nbthread 1
    log stderr format raw local0 notice
defaults
    mode http
    log global
    # A failed connection carried no request, so another replica can serve it. Requests that were sent are not repeated.
    timeout connect 1s
    option redispatch 1
    retries 3
    retry-on conn-failure
    timeout client 30s
    timeout http-request 10s
    # Shorter than IDLE_TIMEOUT of Sixty.
    timeout http-keep-alive 60s
    # Longer than DATABASE_TIMEOUT, so that Sixty's own 503 arrives.
    timeout server 7s
    # Longer than REDIS_TIMEOUT, which bounds the part of Redis in /readyz.
    timeout check 1500ms
frontend api
    bind :8000
    default_backend sixty
backend sixty
    balance roundrobin
    option httpchk
    http-check send meth GET uri /readyz hdr Host sixty
    http-check expect status 200
    # No `on-marked-down shutdown-sessions`: it would cut the open requests of a replica that stops and so is not ready.
    default-server check port 9000 inter 1s fastinter 300ms downinter 500ms fall 2 rise 1
{servers}
"""

DATABASE = """
global
    stats socket {socket} mode 600 level admin
    nbthread 1
    log stderr format raw local0 notice
defaults
    mode tcp
    log global
    timeout connect 1s
    timeout client 1h
    timeout server 1h
    retries 1
listen postgresql
    bind :5432
    # The supervisor enables the server that accepts changes, and disables the other one.
    default-server on-marked-down shutdown-sessions
{servers}
"""


class Balancer:
    """An HAProxy process and its runtime socket."""

    def __init__(
        self, network: Network, part: str, template: str, servers: list[str], folder: Path, logs: Path
    ) -> None:
        self.socket, self.configuration = folder / f"{part}.sock", folder / f"{part}.cfg"
        self.network, self.template, self.servers = network, template, servers
        self.disabled: set[str] = set()
        self.server = Server(network, part, ["haproxy", "-db", "-f", str(self.configuration)], logs)
        self.address = self.server.address

    async def start(self) -> None:
        lines = [f"    server {line}{' disabled' if line.split()[0] in self.disabled else ''}" for line in self.servers]
        self.configuration.write_text(self.template.format(socket=self.socket, servers="\n".join(lines)))
        await self.server.start()
        await wait_until(self._answers, f"{self.server.part} answers", 10, pause=0.02)

    async def stop(self) -> None:
        """Stops the process at once: open connections are cut."""
        self.server.send(signal.SIGTERM)
        await self.server.wait()

    async def _answers(self) -> bool:
        return "Version" in await self.ask("show info")

    async def ask(self, line: str) -> str:
        """Sends one line to the runtime socket and returns the response."""
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_unix_connection(str(self.socket))
            writer.write(f"{line}\n".encode())
            response = (await reader.read()).decode()
            writer.close()
            return response

    async def enable(self, backend: str, name: str) -> None:
        self.disabled.discard(name)
        await self.ask(f"set server {backend}/{name} state ready")

    async def disable(self, backend: str, name: str) -> None:
        self.disabled.add(name)
        await self.ask(f"set server {backend}/{name} state maint")

    async def is_up(self, backend: str, name: str) -> bool:
        for line in (await self.ask("show stat")).splitlines():
            fields = line.split(",")
            if fields[:2] == [backend, name]:
                return fields[17].startswith("UP") or fields[17] == "no check"
        return False

    async def wait_up(self, backend: str, name: str, up: bool, seconds: float = 30) -> float:
        """Waits until the balancer uses a server, or no longer uses it. Returns the time."""

        async def has_state() -> bool:
            return await self.is_up(backend, name) == up

        await wait_until(has_state, f"{name} is {'up' if up else 'down'}", seconds)
        return time.time()
