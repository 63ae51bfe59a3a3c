"""Each invariant is violated once in a recorded history, and found: python3 -m unittest discover tests/cluster"""

import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from checker import Checker
from history import Final, History, Mail, Phase, Request, Window
from report import recoveries, timeline

T = 1_800_000_000.0
ADDRESS, USER, CODE = "p1@example.com", "0190-1", "1234"


def request(operation: str, at: float, status: int, body=None, **more) -> Request:
    return Request(1, ADDRESS, operation, T + at, T + at + 0.01, status, body=body, **more)


def problem(name: str, **more) -> dict:
    return {"type": f"/problems/{name}", **more}


def registered(at: float = 0, identity: str = USER) -> Request:
    return request("register", at, 201, {"id": identity, "status": "pending"})


def activated(at: float, code: str = CODE, intent: str = "right", identity: str = USER) -> Request:
    return request("activate", at, 200, {"id": identity, "status": "active"}, code=code, intent=intent)


def missed(at: float, left: int) -> Request:
    body = problem("incorrect-code", attempts_remaining=left)
    return request("activate", at, 422, body, code="0000", intent="wrong")


def mail(at: float = 0.5, code: str = CODE) -> Mail:
    return Mail(f"mail {at}", ADDRESS, "Your code", code, T + at, T + at)


def event(kind: str, identity: str = "1", subject: str = USER) -> dict:
    return {"id": f"{kind}-{identity}", "type": f"user.{kind}", "subject": subject}


def history(*requests: Request, active: float | None = None, **more) -> History:
    """A history in which everything is right, except for what the test changes."""
    user: dict = {"id": USER, "address": ADDRESS, "status": "pending", "activated_at": None}
    events = [event("registered")]
    if active is not None:
        user |= {"status": "active", "activated_at": T + active}
        events.append(event("activated"))
    final = Final(users=[user], events=events, mails=[mail()])
    for name, value in more.items():
        setattr(final, name, value)
    return History(list(requests), [], final)


def redis_death(at: float, stream: bool = False) -> Window:
    return Window("kill-redis", T + at, T + at + 20, [Phase("killed", T + at, T + at + 3, True, stream)])


class CheckerTest(unittest.TestCase):
    def found(self, checked: History, *expected: tuple[str, str]) -> None:
        findings = Checker(checked).check()
        self.assertEqual([(f.verdict, f.invariant) for f in findings], list(expected), [f.message for f in findings])

    def test_a_right_history_has_no_findings(self) -> None:
        twice = request("activate", 3, 409, problem("already-active"), code=CODE, intent="twice")
        self.found(history(registered(), missed(1, 2), activated(2), twice, active=2))

    def test_a_missing_user_is_lost(self) -> None:
        self.found(history(registered(), users=[]), ("lost", "user"))

    def test_an_activation_that_was_rolled_back_is_lost(self) -> None:
        checked = history(registered(), activated(2), events=[event("registered"), event("activated")])
        self.found(checked, ("lost", "user"))

    def test_a_deleted_user_must_be_gone(self) -> None:
        events = [event("registered"), event("deleted")]
        checked = history(registered(), request("delete", 2, 204), events=events)
        self.found(checked, ("wrong", "deleted"))
        checked.final.users = []
        self.found(checked)

    def test_active_without_any_code_is_wrong(self) -> None:
        self.found(history(registered(), active=2), ("wrong", "code"))

    def test_a_code_that_was_not_mailed_is_wrong(self) -> None:
        self.found(history(registered(), activated(2, code="9999"), active=2), ("wrong", "code"), ("wrong", "code"))

    def test_a_dead_code_is_wrong(self) -> None:
        self.found(history(registered(), activated(90), active=90), ("wrong", "code"), ("wrong", "code"))

    def test_a_lost_response_may_have_activated(self) -> None:
        failed = request("activate", 2, 0, code=CODE, intent="right")
        self.found(history(registered(), failed, active=2.005))

    def test_two_activations_are_wrong(self) -> None:
        self.found(history(registered(), activated(2), activated(3, intent="twice"), active=2), ("wrong", "twice"))

    def test_two_events_of_activation_are_wrong(self) -> None:
        events = [event("registered"), event("activated", "1"), event("activated", "2"), event("activated", "2")]
        self.found(history(registered(), activated(2), active=2, events=events), ("wrong", "twice"))

    def test_a_fourth_guess_is_wrong(self) -> None:
        misses = [missed(1, 2), missed(2, 1), missed(3, 0), missed(4, 0)]
        self.found(history(registered(), *misses), ("wrong", "guesses"))

    def test_a_miscounted_guess_is_wrong(self) -> None:
        self.found(history(registered(), missed(1, 3)), ("wrong", "guesses"))

    def test_the_right_code_after_three_misses_is_wrong(self) -> None:
        misses = [missed(1, 2), missed(2, 1), missed(3, 0)]
        self.found(history(registered(), *misses, activated(4), active=4), ("wrong", "guesses"))

    def test_guesses_that_a_dead_master_took_along_are_excused_within_a_bound(self) -> None:
        checked = history(registered(), missed(1, 2), missed(2, 1), missed(3, 0), missed(6, 0))
        checked.windows = [redis_death(5)]
        self.found(checked, ("excused", "guesses"))
        checked.requests += [missed(6 + n, 0) for n in range(1, 4)]
        self.found(checked, *[("excused", "guesses")] * 3, ("wrong", "guesses"))

    def test_a_missing_mail_is_lost(self) -> None:
        self.found(history(registered(), mails=[]), ("lost", "mail"))

    def test_a_late_mail_after_a_killed_replica_is_lost(self) -> None:
        checked = history(registered(), mails=[mail(14)])
        self.found(checked)
        checked.windows = [Window("kill-sixty", T + 1, T + 20, [Phase("killed", T + 1, T + 1)], killed_replica=T + 1)]
        self.found(checked, ("lost", "mail"))

    def test_a_missing_event_is_lost_unless_its_stream_died(self) -> None:
        checked = history(registered(), events=[])
        self.found(checked, ("lost", "event"))
        checked.windows = [redis_death(1, stream=True)]
        self.found(checked, ("excused", "event"))
        checked.windows = [redis_death(60, stream=True)]
        self.found(checked, ("lost", "event"))

    def test_what_still_waits_at_the_end_is_lost(self) -> None:
        self.found(history(registered(), waiting_mails=1, waiting_events=2), ("lost", "mail"), ("lost", "event"))

    def test_a_lost_code_is_wrong_unless_its_master_died(self) -> None:
        checked = history(registered(), request("activate", 2, 410, problem("code-expired"), code=CODE, intent="right"))
        self.found(checked, ("wrong", "answer"))
        checked.windows = [redis_death(1)]
        self.found(checked, ("excused", "code"))

    def test_unexpected_answers_are_wrong(self) -> None:
        for wrong in [
            request("get", 2, 401, problem("unauthenticated")),
            request("get", 2, 500, problem("internal")),
            request("activate", 2, 409, problem("already-active"), code=CODE, intent="right"),
            request("activate", 2, 422, problem("incorrect-code", attempts_remaining=2), code=CODE, intent="right"),
        ]:
            with self.subTest(wrong.status):
                self.found(history(registered(), wrong), ("wrong", "answer"))
        self.found(history(request("register", 0, 429, problem("too-many-codes"))), ("wrong", "answer"))

    def test_a_repeated_registration_after_a_lost_response_is_right(self) -> None:
        repeated = request("register", 1, 429, problem("too-many-codes"))
        self.found(history(request("register", 0, 504), repeated, activated(2), active=2))

    def test_a_history_survives_its_file(self) -> None:
        checked = history(registered(), missed(1, 2), active=2)
        checked.windows = [redis_death(5)]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "history.jsonl"
            checked.write(path)
            self.assertEqual(History.read(path), checked)


class RecoveryTest(unittest.TestCase):
    def test_recovery_counts_from_the_engine_to_the_last_request_that_failed(self) -> None:
        phases = [Phase("killed", T + 10, T + 13), Phase("back", T + 30, T + 30)]
        window = Window("kill-postgres", T + 10, T + 40, phases)
        # Sent before the fault, and failed because of it.
        early = Request(1, ADDRESS, "get", T + 9.5, T + 10.5, 503)
        late = Request(1, ADDRESS, "get", T + 16, T + 21, 503)
        first, second = recoveries(History([early, late], [window]))
        self.assertEqual((first.failed, first.from_begin, first.from_engine, first.seen), (2, 6, 3, 8))
        self.assertFalse(first.is_missed)
        self.assertEqual(second.failed, 0)

    def test_a_rolling_restart_must_not_fail_a_request(self) -> None:
        window = Window("roll", T, T + 20, [Phase("replaced", T, T + 15)], must_not_fail=True)
        failed = Request(1, ADDRESS, "get", T + 2, T + 2.1, 503)
        self.assertTrue(recoveries(History([failed], [window]))[0].is_missed)

    def test_the_timeline_has_a_character_a_second(self) -> None:
        requests = [
            Request(1, ADDRESS, "get", T + s, T + s + 0.1, status) for s, status in [(0, 200), (1, 503), (3, 200)]
        ]
        self.assertEqual(timeline(requests, [])[0].split()[1:], [".1", "."])


if __name__ == "__main__":
    unittest.main()
