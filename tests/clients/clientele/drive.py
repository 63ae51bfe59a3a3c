"""Runs the whole registration flow with the client that clientele generates."""

import base64
import os
import re
import time
import uuid
from typing import TypeVar

import httpx
from clientele.api.exceptions import APIException

from client import client as sixty
from client.config import Config
from client.schemas import ActivateUser, Problem, RegisterUser, Status, User

API, MAIL = os.environ["API_URL"], os.environ["MAIL_URL"]
CODE_TTL = float(os.environ["CODE_TTL_SECONDS"])
PASSWORD = "päss:wörd of Ada"



def address(name: str) -> str:
    return f"{name}-{uuid.uuid4().hex}@example.com"


def login(email: str, password: str = PASSWORD) -> None:
    """Sends these credentials with all further requests. The generated client has one configuration."""
    pair = base64.b64encode(f"{email}:{password}".encode()).decode()
    sixty.client.configure(config=Config(base_url=API, headers={"Authorization": f"Basic {pair}"}))


def delete() -> int:
    """Deletes the current user and returns the status. The generated client raises for a success without a body."""
    try:
        sixty.delete_current_user()
    except APIException as error:
        return error.response.status_code
    raise AssertionError("clientele accepts 204 now")


def code(email: str) -> str:
    """Waits for a mail to the address at the mock provider, and returns the code in the newest."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = httpx.get(f"{MAIL}/api/v1/search", params={"query": f"to:{email}"}).json()["messages"]
        if found:
            text: str = httpx.get(f"{MAIL}/api/v1/message/{found[0]['ID']}").json()["Text"]
            match = re.search(r"\b\d{4}\b", text)
            assert match, text
            return match.group()
        time.sleep(0.1)
    raise AssertionError("no mail arrived within 30 seconds")


T = TypeVar("T")


def problem(answer: Problem | T, status: int, name: str) -> Problem:
    assert isinstance(answer, Problem), answer
    assert (answer.status, answer.type) == (status, f"/problems/{name}"), answer
    return answer


def pointers(problem: Problem) -> list[str | None]:
    assert problem.errors, problem
    return [error.pointer for error in problem.errors]


def main() -> None:
    sixty.client.configure(config=Config(base_url=API))
    late, ada = address("late"), address("ada")

    registered = sixty.register_user(data=RegisterUser(email=late, password=PASSWORD))
    assert isinstance(registered, User) and registered.status == Status.PENDING, registered
    assert registered.activated_at is None, registered
    late_code, late_since = code(late), time.monotonic()

    registered = sixty.register_user(data=RegisterUser(email=ada, password=PASSWORD))
    assert isinstance(registered, User) and registered.email == ada, registered
    right = code(ada)
    wrong = "".join("1" if digit == "0" else "0" for digit in right)

    login(ada)
    refusal = problem(sixty.activate_user(data=ActivateUser(code=wrong)), 422, "incorrect-code")
    assert (refusal.attempts_remaining, pointers(refusal)) == (2, ["/code"]), refusal
    activated = sixty.activate_user(data=ActivateUser(code=right))
    assert isinstance(activated, User) and activated.status == Status.ACTIVE, activated
    assert activated.activated_at is not None, activated
    problem(sixty.activate_user(data=ActivateUser(code=right)), 409, "already-active")

    problem(sixty.list_users(status=Status.ACTIVE, limit=2), 403, "forbidden")
    invalid = sixty.register_user(data=RegisterUser(email="ada", password="short"))
    assert pointers(problem(invalid, 422, "invalid-field")) == ["/email", "/password"], invalid
    too_soon = sixty.register_user(data=RegisterUser(email=late, password=PASSWORD))
    throttled = problem(too_soon, 429, "too-many-codes")
    assert throttled.retry_after is not None and throttled.retry_after > 0, throttled
    login(ada, "not her password")
    problem(sixty.get_current_user(), 401, "unauthenticated")

    login(late)
    problem(sixty.resend_code(), 429, "too-many-codes")
    time.sleep(max(0.0, late_since + CODE_TTL + 1 - time.monotonic()))
    problem(sixty.activate_user(data=ActivateUser(code=late_code)), 410, "code-expired")

    login(ada)
    assert delete() == 204
    problem(sixty.get_current_user(), 401, "unauthenticated")


main()
