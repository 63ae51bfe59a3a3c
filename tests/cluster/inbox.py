"""Reads the inbox of the mock mail provider for all clients at once."""

import asyncio
import contextlib
import re
import time
from datetime import datetime

import aiohttp

from history import Mail

POLL = 0.15
# One read in this many is long, to find mails that were accepted again.
LONG_READ_EVERY = 30
SHORT, LONG = 60, 3000


class Mailbox:
    """All mails that were accepted, and the clients that wait for one."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.mails: dict[str, Mail] = {}
        self.codes: dict[str, list[Mail]] = {}
        self._arrivals: dict[str, asyncio.Event] = {}

    async def run(self, session: aiohttp.ClientSession) -> None:
        """Reads the inbox again and again. Runs until it is cancelled."""
        count = 0
        while True:
            count += 1
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError, ValueError):
                await self.read(session, LONG if count % LONG_READ_EVERY == 0 else SHORT)
            await asyncio.sleep(POLL)

    async def read(self, session: aiohttp.ClientSession, limit: int) -> None:
        async with session.get(f"{self.url}/api/inbox", params={"after": "", "limit": str(limit)}) as response:
            inbox = await response.json()
        now, new = time.time(), 0
        for entry in inbox["messages"]:
            new += self._take(entry, now)
        # All mails of a short read were new: there may be more.
        if new == limit and limit < LONG:
            await self.read(session, LONG)

    def _take(self, entry: dict, now: float) -> bool:
        code = entry.get("Code") or {}
        left = code.get("LeftMs", 0)
        accepted_last = now - (code["LifetimeMs"] - left) / 1000 if left > 0 else 0.0
        known = self.mails.get(entry["ID"])
        if known is not None:
            known.accepted_last = max(known.accepted_last, accepted_last)
            return False
        address = entry["To"][0]["Address"].lower()
        accepted = datetime.fromisoformat(entry["Created"].replace("Z", "+00:00")).timestamp()
        digits = code.get("Digits") or "".join(re.findall(r"code is (\d{4,10})", entry["Snippet"])[:1])
        mail = Mail(entry["ID"], address, entry["Subject"], digits, accepted, max(accepted, accepted_last))
        self.mails[mail.id] = mail
        if digits:
            self.codes.setdefault(address, []).append(mail)
            if address in self._arrivals:
                self._arrivals[address].set()
        return True

    async def code(self, address: str, seconds: float) -> Mail | None:
        """Waits for the first code mail to an address. Returns `None` if none arrives in time."""
        arrival = self._arrivals.setdefault(address, asyncio.Event())
        try:
            if address not in self.codes:
                async with asyncio.timeout(seconds):
                    await arrival.wait()
            return self.codes[address][-1]
        except TimeoutError:
            return None
        finally:
            self._arrivals.pop(address, None)
