"""Chaos test: starts Sixty with replicated stores, injects faults under load, and checks Sixty's guarantees."""

import argparse
import asyncio
import json
import logging
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

from checker import Checker, Finding
from faults import FAULTS, Scene
from history import Final, History, Window
from inbox import Mailbox
from load import PAST_EXPIRY, Load, session
from report import recoveries, render
from topology import Topology


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/cluster/run", description=__doc__)
    parser.add_argument("--short", action="store_true", help="a random sequence of faults of at most three minutes")
    parser.add_argument(
        "--seed", type=int, default=None, help="seed of the random sequence and of the load (default: a new one)"
    )
    parser.add_argument("--only", metavar="FAULT[,FAULT]", help="these faults alone, and no random sequence")
    parser.add_argument("--no-faults", metavar="SECONDS", type=float, help="load without faults for this time")
    parser.add_argument("--list", action="store_true", help="list the faults")
    parser.add_argument("--rate", type=float, default=12.0, help="registrations a second (default: %(default)s)")
    parser.add_argument(
        "--random-seconds", type=float, default=170.0, help="time of the random sequence (default: %(default)s)"
    )
    parser.add_argument("--keep", action="store_true", help="keep logs and history even if every bar is reached")
    parser.add_argument(
        "--report", metavar="FILE", type=Path, help="write the measurements and findings to this file as JSON"
    )
    parser.add_argument("--folder", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--name", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--binary", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--check-arguments", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    unknown = [name for name in (options.only or "").split(",") if name and name not in FAULTS]
    if unknown:
        parser.error(f"unknown faults: {', '.join(unknown)}; --list shows all")
    return options


# The driver logs each query that a killed server does not answer.
logging.getLogger("psycopg").setLevel(logging.CRITICAL)


def say(line: str) -> None:
    print(time.strftime("%H:%M:%S", time.gmtime()), line, flush=True)


class Unrepaired(Exception):
    """The servers did not work again after a fault, so later faults would measure its consequences."""


class Run:
    """One run of the chaos test."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1_000_000)
        self.random = random.Random(f"faults {self.seed}")
        self.history = History()
        self.findings: list[Finding] = []
        self.topology = Topology(options.name, options.folder, options.binary)

    async def run(self) -> bool:
        say(f"seed {self.seed}; logs in {self.topology.logs}")
        begun = time.monotonic()
        try:
            await self.topology.start()
            say(f"all servers are ready after {time.monotonic() - begun:.1f} s")
            unfinished = await self._load_and_break()
        finally:
            await self.topology.stop()
        self.findings += Checker(self.history).check()
        self._read_logs()
        lines, is_good = render(self.history, self.findings, self.seed, unfinished)
        print("\n".join(lines), flush=True)
        self._write(lines)
        return is_good

    async def _load_and_break(self) -> int:
        """Returns the number of flows that did not end."""
        mailbox = Mailbox(self.topology.mail_url)
        async with session() as clients:
            load = self.load = Load(self.topology.api_url, mailbox, self.options.rate, self.seed)
            self.history.requests = load.history
            reading, starting = asyncio.create_task(mailbox.run(clients)), asyncio.create_task(load.run(clients))
            try:
                await self._plan(load)
                starting.cancel()
                say(f"the load ends; {len(load.flows)} flows are open")
                unfinished = await load.finish(PAST_EXPIRY + 20)
                await self._collect(mailbox, clients)
            finally:
                tasks = [reading, starting, *load.flows]
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        for error in load.errors:
            raise error
        return unfinished

    async def _plan(self, load: Load) -> None:
        try:
            await self._faults(load)
        except Unrepaired as error:
            say(f"{error}; the run ends here")
            self.findings.append(Finding("wrong", "fault", str(error)))

    async def _faults(self, load: Load) -> None:
        options = self.options
        if options.no_faults is not None:
            load.expiry_until = time.time() + options.no_faults - PAST_EXPIRY
            await asyncio.sleep(options.no_faults)
            return
        # The load is steady before the first fault.
        await asyncio.sleep(4)
        if options.only:
            # Flows that outlast their code would delay the end.
            load.expiry_until = time.time() + 30
            for name in options.only.split(","):
                await self._break(name, 12.0)
            return
        if options.short:
            load.expiry_until = time.time() + 25
            await self._random_sequence(105.0)
            return
        for name in FAULTS:
            await self._break(name, 10.0)
        say("a random sequence follows")
        load.expiry_until = time.time() + options.random_seconds - PAST_EXPIRY
        await self._random_sequence(options.random_seconds)

    async def _random_sequence(self, seconds: float) -> None:
        """Injects random faults until the time is over. No fault is repeated before each was injected once."""
        names: list[str] = []
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            names = names or self.random.sample(list(FAULTS), len(FAULTS))
            await self._break(names.pop(), 8.0)

    async def _break(self, name: str, watch: float) -> None:
        window = Window(name, time.time())
        self.history.windows.append(window)
        try:
            async with asyncio.timeout(150):
                await FAULTS[name][0](self._scene(window, watch))
        except (TimeoutError, RuntimeError) as error:
            raise Unrepaired(f"{name}: the servers did not work again after the fault: {error}") from error
        window.ended = time.time()
        self.topology.check_supervisors()
        self.history.final.lag = [list(sample) for sample in self.topology.postgres.lag]
        of_window = [r for r in recoveries(self.history) if r.window is window]
        results = "; ".join(f"{r.phase.label}: {r.failed} failed, {r.from_engine:.1f} s" for r in of_window)
        say(f"{name}: {results}{'  MISSED' if any(r.is_missed for r in of_window) else ''}")

    def _scene(self, window: Window, watch: float) -> Scene:
        return Scene(self.topology, window, random.Random(self.random.random()), watch, self._allow_expiry)

    def _allow_expiry(self, seconds: float) -> None:
        """Starts flows that outlast their code for some seconds. Not in a short run: these flows take 80 seconds."""
        if not self.options.short:
            self.load.expiry_until = max(self.load.expiry_until, time.time() + seconds)

    async def _collect(self, mailbox: Mailbox, clients) -> None:
        """Reads the stores when the outbox and the events are empty."""
        topology = self.topology
        mails, events = await topology.quiet(30)
        await mailbox.read(clients, 10_000)
        users, stream = await topology.postgres.users(), await topology.redis.events()
        lag = [list(sample) for sample in topology.postgres.lag]
        self.history.final = Final(users, stream, list(mailbox.mails.values()), mails, events, lag)

    def _read_logs(self) -> None:
        """Reports panics, and replicas that ended without a fault or not as they should."""
        for window in self.history.windows:
            self.findings += [Finding("wrong", "process", f"{window.fault}: {problem}") for problem in window.problems]
        for message in self.topology.replicas.unexpected_ends:
            self.findings.append(Finding("wrong", "process", message))
        for part in self.topology.replicas.servers:
            for line in (self.topology.logs / f"{part}.log").read_text(errors="replace").splitlines():
                if "panicked" in line:
                    self.findings.append(Finding("wrong", "panic", f"{part}: {line[:300]}"))

    def _write(self, lines: list[str]) -> None:
        folder = self.options.folder
        self.history.write(folder / "history.jsonl")
        (folder / "report.txt").write_text("\n".join(lines) + "\n")
        measured = [
            {
                "fault": r.window.fault,
                "phase": r.phase.label,
                "failed": r.failed,
                "engine_back": r.phase.engine_back - r.phase.begun,
                "recovered": r.from_engine,
                "from_start": r.from_begin,
                "last_seen": r.seen,
                "mail": r.mail,
                "events": r.events,
                "missed": r.is_missed,
            }
            for r in recoveries(self.history)
        ]
        findings = [vars(finding) for finding in self.findings]
        report = {"seed": self.seed, "recoveries": measured, "findings": findings}
        for path in filter(None, [folder / "report.json", self.options.report]):
            path.write_text(json.dumps(report, indent=1) + "\n")


async def main(options: argparse.Namespace) -> int:
    run = Run(options)
    task = asyncio.current_task()
    assert task is not None, "main runs in a task"
    signals: set[int] = set()

    def interrupt() -> None:
        # A second signal must not interrupt the cleanup.
        if not signals:
            task.cancel()
        signals.add(1)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, interrupt)
    try:
        is_good = await run.run()
    except asyncio.CancelledError:
        say("interrupted; everything is stopped")
        return 130
    if is_good and not options.keep:
        shutil.rmtree(options.folder)
    else:
        say(f"logs, history and report: {options.folder}")
    return 0 if is_good else 1


if __name__ == "__main__":
    parsed = arguments()
    if parsed.list:
        for fault, (_, meaning) in FAULTS.items():
            print(f"{fault:18} {meaning}")
        sys.exit(0)
    if parsed.check_arguments:
        sys.exit(0)
    os.umask(0o022)
    sys.exit(asyncio.run(main(parsed)))
