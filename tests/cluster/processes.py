"""Server processes, each in a network namespace of its own."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from network import Network, command


class Server:
    """A server that can be killed, paused and started again. Its output goes to `logs/PART.log`."""

    def __init__(
        self,
        network: Network,
        part: str,
        arguments: Sequence[str],
        logs: Path,
        environment: Mapping[str, str] | None = None,
        user: str | None = None,
    ) -> None:
        self.network = network
        self.part = part
        self.address = network.addresses[part]
        self.arguments = list(arguments)
        self.log = logs / f"{part}.log"
        self.environment = dict(environment or {})
        self.user = user
        self.process: asyncio.subprocess.Process | None = None

    async def start(self, environment: Mapping[str, str] | None = None) -> None:
        identity = [f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups"] if self.user else []
        # `ip netns exec` and `setpriv` replace themselves by the server, so the process id is the server's.
        # The kernel kills the server when this program ends, however it ends.
        wrapper = [
            "ip",
            "netns",
            "exec",
            self.network.namespace(self.part),
            "setpriv",
            "--pdeathsig=KILL",
            *identity,
            "--",
        ]
        variables = {name: os.environ[name] for name in ("PATH", "LANG", "TZ") if name in os.environ}
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *wrapper,
                *self.arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**variables, **self.environment, **(environment or {})},
                start_new_session=True,
            )

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.returncode is None

    def send(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(number)

    async def send_all(self, number: signal.Signals) -> None:
        """Sends a signal to the server and to its child processes."""
        for pid in await self.network.processes(self.part):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    async def wait(self) -> int:
        assert self.process is not None, "the server was started"
        return await self.process.wait()

    async def kill(self) -> None:
        """Kills the server and its child processes, and waits for the end of all."""
        await self.send_all(signal.SIGKILL)
        if self.process is not None:
            await self.process.wait()
        while await self.network.processes(self.part):
            await asyncio.sleep(0.02)


async def run_as(user: str, *arguments: str, network: Network | None = None, part: str = "") -> str:
    """Runs a command as another user, if wanted in a namespace, and returns its output."""
    inside = ["ip", "netns", "exec", network.namespace(part)] if network else []
    return await command(*inside, "setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--", *arguments)


async def wait_until(condition, what: str, seconds: float = 30.0, pause: float = 0.05) -> None:
    """Waits until an asynchronous condition returns true. A failing check counts as false."""
    deadline = asyncio.get_running_loop().time() + seconds
    last: Exception | None = None
    while True:
        try:
            if await condition():
                return
        except Exception as error:  # A server that starts fails in many ways
            last = error
        if asyncio.get_running_loop().time() > deadline:
            raise TimeoutError(f"waited {seconds:.0f} s in vain: {what}" + (f" (last error: {last})" if last else ""))
        await asyncio.sleep(pause)
