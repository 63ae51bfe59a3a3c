"""Runs a registration, a password reset and a change of address with the client that openapi-python-client generates."""

import base64
import os
import re
import time
import uuid
from datetime import datetime
from typing import TypeVar

import httpx

from client import AuthenticatedClient, Client
from client.api.account import change_email, confirm_email, delete_current_user, get_current_user
from client.api.administration import list_users
from client.api.password_reset import request_password_reset, reset_password
from client.api.registration import activate_user, register_user, resend_code
from client.models import (
    ActivateUser,
    ChangeEmail,
    CodeQueued,
    FieldError,
    Problem,
    RegisterUser,
    RequestPasswordReset,
    ResetPassword,
    Status,
    User,
)
from client.types import Response, Unset

API, MAIL = os.environ["API_URL"], os.environ["MAIL_URL"]
CODE_TTL = float(os.environ["CODE_TTL_SECONDS"])
PASSWORD = "päss:wörd of Ada"
NEW_PASSWORD = "näw:päss of Ada"


def address(name: str) -> str:
    return f"{name}-{uuid.uuid4().hex}@example.com"


def credentials(email: str, password: str = PASSWORD) -> AuthenticatedClient:
    pair = base64.b64encode(f"{email}:{password}".encode()).decode()
    return AuthenticatedClient(base_url=API, token=pair, prefix="Basic")


def code(email: str, digits: int = 4) -> str:
    """Waits until the newest mail to the address at the mock provider has a code of so many digits, and returns the code."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = httpx.get(f"{MAIL}/api/v1/search", params={"query": f"to:{email}"}).json()["messages"]
        if found:
            text: str = httpx.get(f"{MAIL}/api/v1/message/{found[0]['ID']}").json()["Text"]
            if match := re.search(rf"\b\d{{{digits}}}\b", text):
                return match.group()
        time.sleep(0.1)
    raise AssertionError("no mail arrived within 30 seconds")


T = TypeVar("T")


def problem(answer: Response[Problem | T], status: int, name: str) -> Problem:
    assert isinstance(answer.parsed, Problem), answer
    assert (answer.status_code, answer.parsed.status) == (status, status), answer
    assert answer.parsed.type_ == f"/problems/{name}", answer
    return answer.parsed


def pointers(problem: Problem) -> list[str | Unset]:
    assert not isinstance(problem.errors, Unset), problem
    return [error.pointer for error in problem.errors if isinstance(error, FieldError)]


def main() -> None:
    anonymous = Client(base_url=API)
    late, ada = address("late"), address("ada")

    registered = register_user.sync(client=anonymous, body=RegisterUser(email=late, password=PASSWORD))
    assert isinstance(registered, User) and registered.status == Status.PENDING, registered
    late_code, late_since = code(late), time.monotonic()

    answer = register_user.sync_detailed(client=anonymous, body=RegisterUser(email=ada, password=PASSWORD))
    assert answer.status_code == 201 and answer.headers["Location"] == "/v1/users/me", answer
    right = code(ada)
    wrong = "".join("1" if digit == "0" else "0" for digit in right)

    incorrect = activate_user.sync_detailed(client=credentials(ada), body=ActivateUser(code=wrong))
    refusal = problem(incorrect, 422, "incorrect-code")
    assert (refusal.attempts_remaining, pointers(refusal)) == (2, ["/code"]), refusal
    activated = activate_user.sync(client=credentials(ada), body=ActivateUser(code=right))
    assert isinstance(activated, User) and activated.status == Status.ACTIVE, activated
    assert isinstance(activated.activated_at, datetime) and activated.activated_at >= activated.created_at
    again = activate_user.sync_detailed(client=credentials(ada), body=ActivateUser(code=right))
    problem(again, 409, "already-active")

    wrong_password = get_current_user.sync_detailed(client=credentials(ada, "not her password"))
    problem(wrong_password, 401, "unauthenticated")
    assert wrong_password.headers["WWW-Authenticate"].startswith("Basic"), wrong_password
    problem(list_users.sync_detailed(client=credentials(ada), limit=2), 403, "forbidden")
    invalid = register_user.sync_detailed(client=anonymous, body=RegisterUser(email="ada", password="short"))
    assert pointers(problem(invalid, 422, "invalid-field")) == ["/email", "/password"], invalid
    too_soon = register_user.sync_detailed(client=anonymous, body=RegisterUser(email=late, password=PASSWORD))
    throttled = problem(too_soon, 429, "too-many-codes")
    assert throttled.retry_after == int(too_soon.headers["Retry-After"]) > 0, throttled
    resent = resend_code.sync_detailed(client=credentials(late))
    assert not isinstance(resent.parsed, CodeQueued)
    problem(resent, 429, "too-many-codes")

    queued = request_password_reset.sync(client=anonymous, body=RequestPasswordReset(email=ada))
    assert isinstance(queued, CodeQueued) and queued.retry_after == 600, queued
    new_password = ResetPassword(email=ada, code=code(ada, 8), password=NEW_PASSWORD)
    assert reset_password.sync_detailed(client=anonymous, body=new_password).status_code == 204
    problem(reset_password.sync_detailed(client=anonymous, body=new_password), 410, "code-expired")
    problem(get_current_user.sync_detailed(client=credentials(ada)), 401, "unauthenticated")

    moved, owner = address("moved"), credentials(ada, NEW_PASSWORD)
    assert isinstance(change_email.sync(client=owner, body=ChangeEmail(email=moved)), CodeQueued)
    confirmed = confirm_email.sync(client=owner, body=ActivateUser(code=code(moved)))
    assert isinstance(confirmed, User) and confirmed.email == moved, confirmed
    problem(get_current_user.sync_detailed(client=owner), 401, "unauthenticated")
    ada = moved

    time.sleep(max(0.0, late_since + CODE_TTL + 1 - time.monotonic()))
    expired = activate_user.sync_detailed(client=credentials(late), body=ActivateUser(code=late_code))
    problem(expired, 410, "code-expired")

    assert delete_current_user.sync_detailed(client=credentials(ada, NEW_PASSWORD)).status_code == 204
    problem(get_current_user.sync_detailed(client=credentials(ada, NEW_PASSWORD)), 401, "unauthenticated")


main()
