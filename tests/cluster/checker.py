"""Compares the responses that clients received with the contents of the stores.

A finding has one of three verdicts:
- `lost`: the service acknowledged a change, and the change is gone.
- `wrong`: a response or a state that must not exist.
- `excused`: a write that was lost with a Redis master, because Redis replicates asynchronously. The report counts them.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime

from history import History, Mail, Phase, Request

# Lifetime of a code, and slack for the write that starts the lifetime anew after the mail was accepted.
CODE_TTL, SLACK = 60.0, 15.0
# Wait between two codes for an address.
CODE_WAIT = 60.0
GUESSES = 3
# Longest delay of a mail after the kill of a replica.
MAIL_AFTER_KILL = 10.0
# Longest time between a response and the replication of its event, if the stream is available.
RELAY = 5.0


@dataclass(frozen=True)
class Finding:
    verdict: str
    # The name of the invariant.
    invariant: str
    message: str


class Checker:
    """Checks one history. `findings` has the result after `check`."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.findings: list[Finding] = []
        self.requests: dict[str, list[Request]] = defaultdict(list)
        for request in sorted(history.requests, key=lambda request: request.begun):
            self.requests[request.address].append(request)
        self.mails: dict[str, list[Mail]] = defaultdict(list)
        for mail in sorted(history.final.mails, key=lambda mail: mail.accepted):
            if mail.code:
                self.mails[mail.address].append(mail)
        self.users = {user["id"]: user for user in history.final.users}

    def check(self) -> list[Finding]:
        for requests in self.requests.values():
            self._acknowledged_users(requests)
            self._activated_once(requests)
            self._guesses(requests)
            self._mails(requests)
            self._answers(requests)
        self._active_with_code()
        self._events()
        self._quiet()
        return self.findings

    def _add(self, verdict: str, invariant: str, message: str) -> None:
        self.findings.append(Finding(verdict, invariant, message))

    # --- Excuses. ---

    def _redis_died(self, begun: float, ended: float) -> list[Phase]:
        """Returns the phases that began between two times, in which a Redis master lost writes."""
        phases = (phase for window in self.history.windows for phase in window.phases)
        return [phase for phase in phases if phase.loses_redis and begun <= phase.begun <= ended]

    # --- 1: no acknowledged user is missing. ---

    def _replaced(self, registered: Request, requests: list[Request]) -> bool:
        """Returns whether a later registration of the address may have replaced this one."""
        for later in requests:
            if later.operation != "register" or later.begun <= registered.begun:
                continue
            if later.status == 201 or (later.failed and later.ended - registered.begun > CODE_WAIT - 5):
                return True
        return False

    def _acknowledged_users(self, requests: list[Request]) -> None:
        deletes = [request for request in requests if request.operation == "delete"]
        is_deleted = any(request.status == 204 for request in deletes)
        may_be_deleted = is_deleted or any(request.failed for request in deletes)
        for request in requests:
            is_registration = request.operation == "register" and request.status == 201
            is_activation = request.operation == "activate" and request.status == 200
            if not (is_registration or is_activation):
                continue
            user = self.users.get(request.body["id"])
            told = f"{request.operation} was answered {request.status} at {stamp(request.ended)}"
            what = f"{request.address} ({request.body['id']}), {told}"
            if is_deleted:
                if user is not None:
                    self._add("wrong", "deleted", f"{what}: deleted with 204, but its row exists")
            elif user is None:
                if not may_be_deleted and not (is_registration and self._replaced(request, requests)):
                    self._add("lost", "user", f"{what}: its row is missing")
            elif is_activation and user["status"] != "active":
                self._add("lost", "user", f"{what}: its row is {user['status']}")

    # --- 2: nobody is active without a live code of their mailbox. ---

    def _was_live(self, address: str, code: str, at: float) -> bool:
        return any(
            mail.code == code and mail.accepted - 1 <= at <= mail.accepted_last + CODE_TTL + SLACK
            for mail in self.mails[address]
        )

    def _active_with_code(self) -> None:
        for user in self.users.values():
            if user["status"] != "active":
                continue
            attempts = [
                request
                for request in self.requests[user["address"]]
                if request.operation == "activate" and (request.status == 200 or request.failed)
            ]
            # A resumed replica may execute a request after its client has given up.
            if not any(
                self._was_live(user["address"], request.code, user["activated_at"])
                and request.begun <= user["activated_at"] + 1
                for request in attempts
            ):
                self._add(
                    "wrong",
                    "code",
                    f"{user['address']} ({user['id']}) is active since {stamp(user['activated_at'])}, but no request "
                    f"sent a code that was in the mailbox and live: {self._codes(user['address'])}",
                )
        for request in self.history.requests:
            if request.operation != "activate" or request.status != 200:
                continue
            if not self._was_live(request.address, request.code, request.begun):
                self._add(
                    "wrong",
                    "code",
                    f"{request.address}: code {request.code} was answered 200 at {stamp(request.ended)}, but was not "
                    f"in the mailbox or not live: {self._codes(request.address)}",
                )

    def _codes(self, address: str) -> str:
        return (
            ", ".join(f"{mail.code} accepted {stamp(mail.accepted)}" for mail in self.mails[address])
            or "no code was mailed"
        )

    # --- 3: nobody is activated twice. ---

    def _activated_once(self, requests: list[Request]) -> None:
        count = Counter(
            request.body["id"] for request in requests if request.operation == "activate" and request.status == 200
        )
        for identity, times in count.items():
            if times > 1:
                self._add(
                    "wrong",
                    "twice",
                    f"{requests[0].address} ({identity}): {times} activations were answered 200, expected one",
                )

    # --- 4: no more guesses than allowed. ---

    def _guesses(self, requests: list[Request]) -> None:
        # A second code for an address allows new guesses.
        if len({mail.code for mail in self.mails[requests[0].address]}) > 1:
            return
        misses: list[Request] = []
        for request in sorted(requests, key=lambda request: request.ended):
            if request.operation != "activate":
                continue
            if request.status == 200 and len(misses) >= GUESSES:
                self._too_many(misses, request, f"the right code was answered 200 after {len(misses)} wrong guesses")
            if request.status == 422 and request.problem == "incorrect-code":
                misses.append(request)
                left, most = request.body.get("attempts_remaining"), GUESSES - len(misses)
                if len(misses) > GUESSES:
                    self._too_many(misses, request, f"guess {len(misses)} was answered 422, expected at most {GUESSES}")
                elif left is None or left > most:
                    self._too_many(
                        misses,
                        request,
                        f"guess {len(misses)} was answered with attempts_remaining {left}, expected at most {most}",
                    )

    def _too_many(self, misses: list[Request], request: Request, message: str) -> None:
        deaths = self._redis_died(misses[0].begun, request.ended)
        is_excused = bool(deaths) and len(misses) <= GUESSES * (1 + len(deaths))
        self._add(
            "excused" if is_excused else "wrong", "guesses", f"{request.address} at {stamp(request.ended)}: {message}"
        )

    # --- 5: every pending registration has its mail. ---

    def _mails(self, requests: list[Request]) -> None:
        address = requests[0].address
        for request in requests:
            if request.operation != "register" or request.status != 201 or self._replaced(request, requests):
                continue
            mails = [mail for mail in self.mails[address] if mail.accepted >= request.begun - 1]
            if not mails:
                # The worker drops a retried mail if Redis has lost the count of wrong guesses at its code.
                excuse = self._redis_died(request.begun - 40, request.ended + 40)
                self._add(
                    "excused" if excuse else "lost",
                    "mail",
                    f"{address}: registered with 201 at {stamp(request.ended)}, but no code was mailed",
                )
                continue
            for window in self.history.windows:
                killed = window.killed_replica
                if killed and killed - MAIL_AFTER_KILL <= request.ended <= killed + 1:
                    late = mails[0].accepted - max(killed, request.ended)
                    if late > MAIL_AFTER_KILL:
                        self._add(
                            "lost",
                            "mail",
                            f"{address}: the mail came {late:.1f} s after the kill of a replica, "
                            f"expected at most {MAIL_AFTER_KILL:.0f} s",
                        )

    # --- 6: every user's event is in the stream. ---

    def _events(self) -> None:
        seen: dict[tuple[str, str], set[str]] = defaultdict(set)
        for event in self.history.final.events:
            seen[event["subject"], event["type"]].add(event["id"])
        for (subject, kind), ids in seen.items():
            if kind == "user.activated" and len(ids) > 1:
                self._add("wrong", "twice", f"{subject}: {len(ids)} different events user.activated, expected one")
        kinds = {
            ("register", 201): "user.registered",
            ("activate", 200): "user.activated",
            ("delete", 204): "user.deleted",
        }
        deaths = [phase.begun for window in self.history.windows for phase in window.phases if phase.loses_stream]
        identities = {
            request.address: request.body["id"]
            for request in self.history.requests
            if request.status in (200, 201) and request.body
        }
        for request in self.history.requests:
            if (request.operation, request.status) not in kinds:
                continue
            kind = kinds[request.operation, request.status]
            subject = request.body["id"] if request.body else identities.get(request.address, "")
            if (subject, kind) not in seen:
                is_excused = any(request.begun - 1 <= death <= request.ended + RELAY for death in deaths)
                self._add(
                    "excused" if is_excused else "lost",
                    "event",
                    f"{request.address} ({subject}): {kind} at {stamp(request.ended)} is not in the stream",
                )

    # --- 7: every answer is one that the state allows. ---

    def _answers(self, requests: list[Request]) -> None:
        for request in requests:
            if request.status == 500:
                self._unexpected(request, "an answer other than 500")
            elif not request.failed:
                getattr(self, f"_answer_to_{request.operation}")(
                    request, [other for other in requests if other is not request]
                )

    def _unexpected(self, request: Request, expected: str) -> None:
        found = f"{request.status} {request.problem}".strip()
        intent = f" ({request.intent})" if request.intent else ""
        self._add(
            "wrong",
            "answer",
            f"{request.address}: {request.operation}{intent} was answered {found} at {stamp(request.ended)}, "
            f"expected {expected}",
        )

    def _answer_to_register(self, request: Request, others: list[Request]) -> None:
        earlier = [other for other in others if other.operation == "register" and other.begun < request.begun]
        granted = [other for other in earlier if other.status == 201]
        if request.status == 201:
            if any(request.ended - other.begun < CODE_WAIT - 1 for other in granted):
                self._unexpected(request, "429 inside the wait")
        elif request.status != 429:
            self._unexpected(request, "201 or 429")
        elif not any(other.status == 201 or other.failed for other in earlier):
            self._unexpected(request, "201: the address was never granted a code")

    def _answer_to_activate(self, request: Request, others: list[Request]) -> None:
        activations = [other for other in others if other.operation == "activate" and other.begun < request.ended]
        may_be_active = any(other.status in (200, 409) or other.failed for other in activations)
        sure = any(other.status == 200 and other.ended < request.begun for other in activations)
        if sure and request.status != 409:
            # `_activated_once` reports 200.
            if request.status != 200:
                self._unexpected(request, "409 already-active")
        elif request.status == 409:
            if not may_be_active:
                self._unexpected(request, "200: nobody had activated the account")
        elif request.status == 410:
            self._code_is_gone(request, activations)
        elif request.status == 422:
            if request.intent != "wrong" or request.problem != "incorrect-code":
                self._unexpected(request, "200 for the right code")
        elif request.status != 200:
            self._unexpected(request, "200, 409, 410 or 422")

    def _code_is_gone(self, request: Request, activations: list[Request]) -> None:
        wrong = [other for other in activations if other.intent == "wrong" and other.begun < request.begun]
        guessed = sum(other.status == 422 or other.failed for other in wrong)
        mails = self.mails[request.address]
        has_expired = bool(mails) and request.ended >= mails[-1].accepted + CODE_TTL - 2
        if guessed >= GUESSES or has_expired or len(mails) > 1:
            return
        if mails and self._redis_died(mails[0].accepted - 5, request.ended):
            self._add(
                "excused",
                "code",
                f"{request.address}: the code was lost with a Redis master, answered 410 at {stamp(request.ended)}",
            )
        else:
            self._unexpected(request, "a live code")

    def _answer_to_get(self, request: Request, others: list[Request]) -> None:
        deletes = [other for other in others if other.operation == "delete" and other.begun < request.begun]
        if any(other.status == 204 for other in deletes):
            if request.status != 401:
                self._unexpected(request, "401 after the deletion")
        elif request.status == 401 and any(other.failed for other in deletes):
            pass
        elif request.status != 200:
            self._unexpected(request, "200")
        else:
            activated = any(o.operation == "activate" and o.status == 200 and o.ended < request.begun for o in others)
            status = request.body["status"]
            if activated and status != "active":
                message = f"{request.address}: status {status} at {stamp(request.ended)}, expected active"
                self._add("wrong", "answer", message)

    def _answer_to_delete(self, request: Request, others: list[Request]) -> None:
        repeated = any(other.operation == "delete" and other.failed and other.begun < request.begun for other in others)
        if request.status != 204 and not (request.status == 401 and repeated):
            self._unexpected(request, "204")

    # --- The end is quiet. ---

    def _quiet(self) -> None:
        final = self.history.final
        if final.waiting_mails:
            self._add("lost", "mail", f"{final.waiting_mails} mails are still in the outbox, expected none")
        if final.waiting_events:
            self._add("lost", "event", f"{final.waiting_events} events are not relayed, expected none")


def stamp(at: float) -> str:
    """Formats a time as the logs do: UTC, time of day."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S.%f")[:-3]
