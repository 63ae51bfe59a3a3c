"""Network namespaces, one for each server, connected by a bridge without any other link.

All runs use the same addresses: a namespace is private, so two runs cannot reach each other.
"""

import asyncio
import contextlib
import ctypes
import os
import re

NETWORK = "10.66.0"
CLONE_NEWNET = 0x40000000


class Network:
    """A bridge and the namespaces behind it. `name` must be unique on this machine."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.hub = f"{name}-hub"
        self.addresses: dict[str, str] = {}

    def namespace(self, part: str) -> str:
        return f"{self.name}-{part}"

    async def create(self, parts: list[str]) -> None:
        """Creates one namespace for each part, with the addresses 10.66.0.10, 10.66.0.11 and so on."""
        await command("ip", "netns", "add", self.hub)
        await command("ip", "-n", self.hub, "link", "add", "bridge", "type", "bridge")
        await command("ip", "-n", self.hub, "link", "set", "bridge", "up")
        for number, part in enumerate(parts, 10):
            namespace, port, address = self.namespace(part), f"to-{number}", f"{NETWORK}.{number}"
            await command("ip", "netns", "add", namespace)
            batch = [
                f"link add eth0 netns {namespace} type veth peer name {port} netns {self.hub}",
                f"-n {namespace} link set lo up",
                f"-n {namespace} addr add {address}/24 dev eth0",
                f"-n {namespace} link set eth0 up",
                f"-n {self.hub} link set {port} master bridge",
                f"-n {self.hub} link set {port} up",
            ]
            for line in batch:
                await command("ip", *line.split())
            self.addresses[part] = address

    def enter(self, part: str) -> None:
        """Moves this thread, and every thread and process that it starts later, into the namespace of `part`."""
        libc = ctypes.CDLL(None, use_errno=True)
        with open(f"/run/netns/{self.namespace(part)}") as file:
            if libc.setns(file.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns failed")

    async def processes(self, part: str) -> list[int]:
        """Returns the ids of all processes in the namespace of `part`."""
        return [int(pid) for pid in (await command("ip", "netns", "pids", self.namespace(part))).split()]

    async def cut(self, part: str, other: str) -> None:
        """Drops all packets between two parts, in the namespace of `part`."""
        await self._drop(
            part, [f"-A INPUT -s {self.addresses[other]} -j DROP", f"-A OUTPUT -d {self.addresses[other]} -j DROP"]
        )

    async def drop_open_connections(self, part: str, other: str, port: int) -> int:
        """Drops the packets of the connections that `part` has to a port of `other` now. New connections work.

        Returns the number of connections.
        """
        address = self.addresses[other]
        listed = await command(
            "ip",
            "netns",
            "exec",
            self.namespace(part),
            "ss",
            "-Htn",
            "state",
            "established",
            "dst",
            f"{address}:{port}",
        )
        rules = []
        for local in re.findall(r":(\d+)\s+" + re.escape(f"{address}:{port}"), listed):
            rules.append(f"-A INPUT -p tcp -s {address} --sport {port} --dport {local} -j DROP")
            rules.append(f"-A OUTPUT -p tcp -d {address} --dport {port} --sport {local} -j DROP")
        await self._drop(part, rules)
        return len(rules) // 2

    async def _drop(self, part: str, rules: list[str]) -> None:
        table = "\n".join(["*filter", *rules, "COMMIT", ""])
        await command("ip", "netns", "exec", self.namespace(part), "iptables-restore", "--noflush", stdin=table)

    async def heal(self, part: str) -> None:
        """Deletes all rules in the namespace of `part`."""
        await command("ip", "netns", "exec", self.namespace(part), "iptables", "-F")

    async def remove(self) -> None:
        """Kills what still runs in the namespaces, except this process, and deletes them."""
        listed = (await command("ip", "netns", "list")).splitlines()
        for namespace in [line.split()[0] for line in listed if line.startswith(f"{self.name}-")]:
            pids = (await command("ip", "netns", "pids", namespace)).split()
            for pid in set(map(int, pids)) - {os.getpid()}:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 9)
            await command("ip", "netns", "del", namespace)


async def command(*arguments: str, stdin: str = "") -> str:
    """Runs a command and returns its output. A failure raises `RuntimeError` with the command's message."""
    process = await asyncio.create_subprocess_exec(
        *arguments, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate(stdin.encode())
    if process.returncode != 0:
        raise RuntimeError(
            f"`{' '.join(arguments)}` failed with status {process.returncode}: {errors.decode().strip()}"
        )
    return output.decode()
