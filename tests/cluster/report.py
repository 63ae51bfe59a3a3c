"""The recovery of each fault, and the printed report."""

from collections import Counter
from dataclasses import dataclass

from checker import Finding, stamp
from history import History, Phase, Request, Window

# The bar: from this many seconds after the servers behind Sixty work again, no request fails.
BAR = 5.0
# From the same moment on, or from its registration if that is later, a mail arrives within this time. A killed replica
# holds its mails for five seconds (MAIL_LEASE).
MAIL_BAR = 10.0
# From this many seconds on, no event waits for long. The lock of a relay that hangs is released after ten seconds.
EVENT_BAR, LONG_WAIT = 8.0, 2.0
# Findings of one kind that are printed in full.
PRINTED = 12


@dataclass
class Recovery:
    """Consequences of one phase of a fault. Times are seconds."""

    window: Window
    phase: Phase
    failed: int
    # From the start of the phase, and from the moment at which the engine was back, to the last request that was sent
    # and failed. Zero if none failed after that.
    from_begin: float
    from_engine: float
    # The same, to the moment at which the last failure was seen: a request may hang before it fails.
    seen: float
    slowest: float
    # The longest wait for a mail, after the engine was back.
    mail: float
    # From the moment at which the engine was back, until no event waits for longer than `LONG_WAIT`.
    events: float

    @property
    def is_missed(self) -> bool:
        is_late = self.from_engine > BAR or self.mail > MAIL_BAR or self.events > EVENT_BAR
        return is_late or (self.window.must_not_fail and self.failed > 0)


def recoveries(history: History) -> list[Recovery]:
    """Assigns each failed request to the latest phase that had begun when the client saw the failure."""
    phases = [(window, phase) for window in history.windows for phase in window.phases]
    phases.sort(key=lambda pair: pair[1].begun)
    mails = first_mails(history)
    result = []
    for number, (window, phase) in enumerate(phases):
        end = phases[number + 1][1].begun if number + 1 < len(phases) else float("inf")
        failed = [r for r in history.requests if r.failed and phase.begun <= r.ended < end]
        slowest = max((r.ended - r.begun for r in history.requests if phase.begun <= r.begun < end), default=0.0)
        result.append(
            Recovery(
                window,
                phase,
                len(failed),
                max((max(0.0, r.begun - phase.begun) for r in failed), default=0.0),
                max((max(0.0, r.begun - phase.engine_back) for r in failed), default=0.0),
                max((max(0.0, r.ended - phase.engine_back) for r in failed), default=0.0),
                slowest,
                max(
                    (at - max(asked, phase.engine_back) for asked, at in mails if phase.begun <= at < end), default=0.0
                ),
                max(
                    (
                        at - phase.engine_back
                        for at, age in history.final.lag
                        if phase.begun <= at < end and age > LONG_WAIT
                    ),
                    default=0.0,
                ),
            )
        )
    return result


def first_mails(history: History) -> list[tuple[float, float]]:
    """Returns the time of each registration that was answered 201, and the time of its first mail."""
    mails: dict[str, float] = {}
    for mail in history.final.mails:
        if mail.code:
            mails[mail.address] = min(mail.accepted, mails.get(mail.address, mail.accepted))
    registered = {
        r.address: r.ended for r in reversed(history.requests) if r.operation == "register" and r.status == 201
    }
    return [(ended, mails[address]) for address, ended in registered.items() if address in mails]


def timeline(requests: list[Request], windows: list[Window], width: int = 60) -> list[str]:
    """Returns a line a minute, with one character a second: the failures, `.` for none, a blank without requests."""
    if not requests:
        return []
    first = int(min(request.begun for request in requests))
    sent = {int(request.ended) - first for request in requests}
    failed = Counter(int(request.ended) - first for request in requests if request.failed)
    seconds = "".join(
        "#" if failed[s] > 9 else str(failed[s]) if failed[s] else "." if s in sent else " "
        for s in range(max(sent) + 1)
    )
    lines = []
    for begin in range(0, len(seconds), width):
        names = [
            f"+{int(p.begun) - first - begin} {w.fault}: {p.label}"
            for w in windows
            for p in w.phases
            if begin <= int(p.begun) - first < begin + width
        ]
        lines.append(f"{stamp(first + begin)[:8]} {seconds[begin : begin + width]:{width}} {', '.join(names)}".rstrip())
    return lines


def render(history: History, findings: list[Finding], seed: int, unfinished: int) -> tuple[list[str], bool]:
    """Returns the report, and whether every bar is reached."""
    lines = ["", "Failed requests, one character a second (. none, # ten or more):"]
    lines += timeline(history.requests, history.windows)
    measured = recoveries(history)
    lines += [
        "",
        f"Recovery in seconds. The bars: recovered {BAR}, mail {MAIL_BAR}, events {EVENT_BAR}; roll: no failure.",
    ]
    columns = ["failed", "engine back", "recovered", "from start", "last seen", "slowest", "mail", "events"]
    lines.append(f"{'fault':18} {'phase':32} {'  '.join(columns)}")
    for r in measured:
        back = r.phase.engine_back - r.phase.begun
        bar = "  MISSED" if r.is_missed else ""
        numbers = [back, r.from_engine, r.from_begin, r.seen, r.slowest, max(0.0, r.mail), max(0.0, r.events)]
        cells = [f"{r.failed:6}", *(f"{n:{len(name)}.1f}" for n, name in zip(numbers, columns[1:], strict=True))]
        lines.append(f"{r.window.fault:18} {r.phase.label:32} {'  '.join(cells)}{bar}")
    lines += [
        "  engine back: from the start of the phase until the servers behind Sixty work again.",
        "  recovered, from start: from `engine back`, and from the start, to the sending of the last failure.",
        "  last seen: from `engine back` to the last failure, by the time the client saw it.",
        "  slowest: the longest request.",
        "  mail: the longest wait for a mail, from the registration or from `engine back`.",
        "  events: from `engine back` until no event waits for the relay for more than two seconds.",
    ]
    lines += [f"note: {window.fault}: {note}" for window in history.windows for note in window.notes]
    lines += [
        "",
        f"requests: {len(history.requests)}, failed: {sum(r.failed for r in history.requests)}, "
        f"unfinished flows: {unfinished}",
    ]
    answers = Counter(f"{r.operation} {r.status or 'no response'}" for r in history.requests)
    lines.append("answers: " + ", ".join(f"{name}: {count}" for name, count in sorted(answers.items())))
    final = history.final
    lines.append(f"stores: {len(final.users)} users, {len(final.mails)} mails, {len(final.events)} events")
    for verdict in ("lost", "wrong", "excused"):
        of_verdict = [finding for finding in findings if finding.verdict == verdict]
        kinds = Counter(finding.invariant for finding in of_verdict)
        lines.append(
            f"{verdict}: {len(of_verdict)}"
            + (f" ({', '.join(f'{k}: {n}' for k, n in kinds.items())})" if kinds else "")
        )
        for kind in kinds:
            of_kind = [finding for finding in of_verdict if finding.invariant == kind]
            shown = of_kind[: PRINTED if verdict != "excused" else 2]
            lines += [f"  {verdict} {kind}: {finding.message}" for finding in shown]
            if len(of_kind) > len(shown):
                lines.append(f"  … and {len(of_kind) - len(shown)} more")
    is_good = not any(r.is_missed for r in measured) and all(finding.verdict == "excused" for finding in findings)
    lines.append(f"seed: {seed}")
    lines.append("result: every bar is reached" if is_good else "result: a bar is missed")
    return lines, is_good
