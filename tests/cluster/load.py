"""The clients: whole registrations at a steady rate, over connections that stay open."""

import asyncio
import contextlib
import json
import random
import time

import aiohttp

from history import Request
from inbox import Mailbox

# A client gives up a request after this time.
REQUEST_TIMEOUT = 10.0
# A client that got no answer sends the request again after this pause, and gives up after this time.
RETRY_PAUSE, PATIENCE = 1.0, 40.0
MAIL_PATIENCE = 45.0
# Longest time between the arrival of a mail and the use of its code. Without it, hardly any code would be live when a
# fault begins.
READING = 3.0
# Longer than the lifetime of a code, plus the slack that the checker grants.
PAST_EXPIRY = 78.0

# Kinds of flows, with their weights.
FLOWS = {
    "plain": 50,
    "active_twice": 8,
    "two_at_once": 10,
    "one_miss": 6,
    "two_misses": 4,
    "all_misses": 8,
    "register_again": 6,
    "delete": 8,
    "expire": 5,
}


class Load:
    """Starts flows at a steady rate. The seed decides their kinds."""

    def __init__(self, url: str, mailbox: Mailbox, rate: float, seed: int) -> None:
        self.url, self.mailbox, self.rate = url, mailbox, rate
        self.random = random.Random(f"load {seed}")
        self.history: list[Request] = []
        self.flows: set[asyncio.Task] = set()
        self.errors: list[BaseException] = []
        self.started = 0
        # Flows that outlast their code start only before this time.
        self.expiry_until = float("inf")

    async def run(self, session: aiohttp.ClientSession) -> None:
        """Starts flows until it is cancelled. The rate does not depend on the speed of the service."""
        clock = asyncio.get_running_loop().time
        due = clock()
        while True:
            kind = self.random.choices(list(FLOWS), list(FLOWS.values()))[0]
            if kind == "expire" and time.time() > self.expiry_until:
                kind = "plain"
            self.started += 1
            flow = Flow(self, session, self.started, random.Random(self.random.random()))
            task = asyncio.create_task(getattr(flow, kind)())
            self.flows.add(task)
            task.add_done_callback(self._done)
            due += 1 / self.rate
            await asyncio.sleep(max(0.0, due - clock()))

    def _done(self, task: asyncio.Task) -> None:
        self.flows.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self.errors.append(error)

    async def finish(self, seconds: float) -> int:
        """Waits for the open flows. Returns the number of those that did not end."""
        if self.flows:
            await asyncio.wait(self.flows, timeout=seconds)
        open_flows = list(self.flows)
        for task in open_flows:
            task.cancel()
        await asyncio.gather(*open_flows, return_exceptions=True)
        return len(open_flows)


class Stop(Exception):
    """The flow ends early: the service did not answer for too long, or the code does not work."""


class Flow:
    """One person with an address and a password of their own."""

    def __init__(self, load: Load, session: aiohttp.ClientSession, number: int, rng: random.Random) -> None:
        self.load, self.session, self.number, self.random = load, session, number, rng
        self.address = f"p{number}@example.com"
        self.password = f"correct horse {number}"

    # --- Flows. Each method name is a key of `FLOWS`. ---

    async def plain(self) -> None:
        await self._flow(self._plain)

    async def active_twice(self) -> None:
        async def steps() -> None:
            code = await self._plain()
            await self._sure("activate", code=code, intent="twice")

        await self._flow(steps)

    async def two_at_once(self) -> None:
        async def steps() -> None:
            code = await self._register_and_read()
            await asyncio.gather(*(self._sure("activate", code=code, intent="right") for _ in range(2)))
            await self._sure("get")

        await self._flow(steps)

    async def one_miss(self) -> None:
        await self._flow(lambda: self._misses(1))

    async def two_misses(self) -> None:
        await self._flow(lambda: self._misses(2))

    async def all_misses(self) -> None:
        await self._flow(lambda: self._misses(5))

    async def register_again(self) -> None:
        async def steps() -> None:
            code = await self._register_and_read()
            await self._sure("register", intent="again")
            await self._activate(code)

        await self._flow(steps)

    async def delete(self) -> None:
        async def steps() -> None:
            await self._plain()
            await self._sure("delete")
            await self._sure("get", intent="deleted")

        await self._flow(steps)

    async def expire(self) -> None:
        async def steps() -> None:
            code = await self._register_and_read()
            await asyncio.sleep(PAST_EXPIRY)
            await self._sure("activate", code=code, intent="late")

        await self._flow(steps)

    # --- Steps. ---

    async def _flow(self, steps) -> None:
        with contextlib.suppress(Stop):
            await steps()

    async def _register_and_read(self) -> str:
        registered = await self._sure("register")
        if registered.status not in (201, 429):
            raise Stop
        mail = await self.load.mailbox.code(self.address, MAIL_PATIENCE)
        if mail is None:
            raise Stop
        await asyncio.sleep(self.random.uniform(0.0, READING))
        return mail.code

    async def _activate(self, code: str) -> None:
        activated = await self._sure("activate", code=code, intent="right")
        if activated.status not in (200, 409):
            raise Stop

    async def _plain(self) -> str:
        code = await self._register_and_read()
        await self._activate(code)
        await self._sure("get")
        return code

    async def _misses(self, count: int) -> None:
        code = await self._register_and_read()
        for number in range(1, count + 1):
            wrong = f"{(int(code) + number) % 10 ** len(code):0{len(code)}}"
            await self._sure("activate", code=wrong, intent="wrong")
        await self._sure("activate", code=code, intent="right" if count < 3 else "destroyed")
        await self._sure("get")

    async def _sure(self, operation: str, code: str = "", intent: str = "") -> Request:
        """Sends a request until it is answered."""
        deadline = time.monotonic() + PATIENCE
        while True:
            request = await self._send(operation, code, intent)
            if not request.failed:
                return request
            if time.monotonic() > deadline:
                raise Stop
            await asyncio.sleep(RETRY_PAUSE * self.random.uniform(0.8, 1.2))

    async def _send(self, operation: str, code: str, intent: str) -> Request:
        method, path, body = {
            "register": ("POST", "/v1/users", {"email": self.address, "password": self.password}),
            "activate": ("POST", "/v1/users/me/activation", {"code": code}),
            "get": ("GET", "/v1/users/me", None),
            "delete": ("DELETE", "/v1/users/me", None),
        }[operation]
        auth = None if operation == "register" else aiohttp.BasicAuth(self.address, self.password, "utf-8")
        request = Request(self.number, self.address, operation, time.time(), code=code, intent=intent)
        self.load.history.append(request)
        try:
            async with self.session.request(method, self.load.url + path, json=body, auth=auth) as response:
                text = await response.text()
                try:
                    request.body = json.loads(text) if text else None
                except ValueError:
                    request.error = f"no JSON: {text[:100]}"
                request.status = response.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            request.error = f"{type(error).__name__}: {error}"
        finally:
            request.ended = time.time()
        return request


def session() -> aiohttp.ClientSession:
    """Returns a client that keeps its connections open and never repeats a request by itself."""
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=50),
        timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT),
        headers={"User-Agent": "sixty-cluster"},
    )
    # A repetition by the library would hide a failure. The library has no public setting for this.
    session._retry_connection = False
    return session
