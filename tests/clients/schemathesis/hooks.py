"""Authenticates each request: as an admin, an active user or a pending user, by the operation's tag.

The tests change passwords, and close, demote and delete accounts. So this file replaces an account whose credentials no
longer work with a new one, which `sixty users create` or a registration makes.
"""

import os
import subprocess
import uuid

import requests
import schemathesis

API, SIXTY = os.environ["API_URL"], os.environ["SIXTY"]
PASSWORD = "correct horse battery"
ROLES = {"Registration": "pending", "Account": "user", "Gateways": "user", "Administration": "admin"}


def new_account(role: str) -> tuple[str, str]:
    email = f"{role}-{uuid.uuid4().hex}@example.com"
    if role == "pending":
        body = {"email": email, "password": PASSWORD}
        requests.post(f"{API}/v1/users", json=body, timeout=30).raise_for_status()
    else:
        command = [SIXTY, "users", "create", "--argon2-memory-kib=8", "--argon2-passes=1", f"--role={role}", email]
        subprocess.run(command, input=PASSWORD, text=True, check=True, capture_output=True)
    return email, PASSWORD


accounts = {role: new_account(role) for role in ROLES.values()}


def role(operation: schemathesis.APIOperation) -> str:
    return next(ROLES[tag] for tag in operation.tags if tag in ROLES)


@schemathesis.auth(refresh_interval=None).apply_to(lambda ctx: ctx.operation.definition.raw.get("security"))
class Credentials:
    def get(self, case, context):
        return accounts[role(context.operation)]

    def set(self, case, data, context):
        case.headers["Authorization"] = requests.auth._basic_auth_str(*data)


@schemathesis.hook
def after_call(context, case, response):
    """Replaces an account after its password has changed or its credentials have been refused."""
    for name, (email, password) in accounts.items():
        sent = response.request.headers.get("Authorization") == requests.auth._basic_auth_str(email, password)
        changed = case.operation.label == "PUT /v1/users/me/password" and response.status_code == 204
        if sent and (response.status_code in (401, 403) or changed):
            accounts[name] = new_account(name)
