"""User registration with a mailed code that lives for sixty seconds: the job of Sixty, in FastAPI.

`cargo bench -- peers` compares this service with Sixty. README.md says what it leaves out. Settings are environment
variables, see `Settings`.
"""

import asyncio
import os
import secrets
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated
from uuid import UUID, uuid4

import asyncpg
import httpx
import uvicorn
from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import HTTPBasic, HTTPBasicCredentials
from pydantic import BaseModel, StringConstraints
from redis.asyncio import BlockingConnectionPool, Redis
from redis.commands.core import AsyncScript

CODE_TTL = 60
MAX_WRONG_GUESSES = 3
MAILS_AT_ONCE = 16
# A claimed mail that was not sent becomes due again after this time.
LEASE_SECONDS = 10
POLL_SECONDS = 0.5

SCHEMA = """
CREATE TABLE IF NOT EXISTS users (
    id uuid PRIMARY KEY,
    email text NOT NULL UNIQUE,
    password_hash text NOT NULL,
    status text NOT NULL DEFAULT 'pending',
    created_at timestamptz NOT NULL DEFAULT now(),
    activated_at timestamptz
);
CREATE TABLE IF NOT EXISTS outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id uuid NOT NULL,
    email text NOT NULL,
    due_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS outbox_due ON outbox (due_at);
"""

# One statement is one transaction. An account that is active stays as it is, and the answer does not tell.
REGISTER = """
WITH registered AS (
    INSERT INTO users (id, email, password_hash) VALUES ($1, $2, $3)
    ON CONFLICT (email) DO UPDATE SET id = EXCLUDED.id, password_hash = EXCLUDED.password_hash, created_at = now()
    WHERE users.status = 'pending'
    RETURNING id, email
)
INSERT INTO outbox (user_id, email) SELECT id, email FROM registered RETURNING now()
"""

CLAIM = f"""
WITH due AS MATERIALIZED (
    SELECT id FROM outbox WHERE due_at <= now() ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED
)
UPDATE outbox SET due_at = now() + interval '{LEASE_SECONDS} s' FROM due WHERE outbox.id = due.id
RETURNING outbox.id, user_id, email
"""

ACTIVATE = """
UPDATE users SET status = 'active', activated_at = now() WHERE id = $1 AND status = 'pending'
RETURNING id, email, status, created_at, activated_at
"""

# Compares a guess, and counts it if it is wrong. The last wrong guess deletes the code.
REDEEM = f"""
local code = redis.call('HGET', KEYS[1], 'code')
if not code then return 'expired' end
if code == ARGV[1] then return 'match' end
if redis.call('HINCRBY', KEYS[1], 'misses', 1) >= {MAX_WRONG_GUESSES} then redis.call('DEL', KEYS[1]) end
return 'wrong'
"""


@dataclass(frozen=True)
class Settings:
    port: int = int(os.environ.get("PORT", "8001"))
    database_url: str = os.environ.get("DATABASE_URL", "postgres://localhost/peer")
    redis_url: str = os.environ.get("REDIS_URL", "redis://localhost/0")
    mail_url: str = os.environ.get("MAIL_URL", "http://localhost:8025")
    argon2_memory_kib: int = int(os.environ.get("ARGON2_MEMORY_KIB", "19456"))
    argon2_passes: int = int(os.environ.get("ARGON2_PASSES", "2"))
    hash_threads: int = int(os.environ.get("HASH_THREADS", "1"))


class Passwords:
    """Hashes passwords in threads of their own. argon2 releases the interpreter's lock meanwhile."""

    def __init__(self, settings: Settings):
        self.hasher = PasswordHasher(
            time_cost=settings.argon2_passes, memory_cost=settings.argon2_memory_kib, parallelism=1
        )
        self.threads = ThreadPoolExecutor(settings.hash_threads, initializer=name_thread)
        # The password of an unknown user is compared with this hash, so that it takes as long as that of a known one.
        self.nobody = self.hasher.hash(secrets.token_hex())

    async def hash(self, password: str) -> str:
        return await asyncio.get_running_loop().run_in_executor(self.threads, self.hasher.hash, password)

    async def matches(self, password_hash: str | None, password: str) -> bool:
        def verify() -> bool:
            with suppress(VerifyMismatchError):
                return self.hasher.verify(password_hash or self.nobody, password) and password_hash is not None
            return False

        return await asyncio.get_running_loop().run_in_executor(self.threads, verify)


def name_thread() -> None:
    """Names a hashing thread for the benchmark, which tells its CPU time from the rest."""
    with suppress(OSError):
        Path("/proc/thread-self/comm").write_text("hasher")


settings = Settings()
passwords = Passwords(settings)
mail_queued = asyncio.Event()
# Set at startup.
pool: asyncpg.Pool
redis: Redis
redeem: AsyncScript


@asynccontextmanager
async def lifespan(_: FastAPI):
    global pool, redis, redeem
    connections = BlockingConnectionPool.from_url(settings.redis_url, max_connections=16, decode_responses=True)
    async with (
        asyncpg.create_pool(settings.database_url, min_size=10, max_size=10, reset=keep_session) as pool,
        Redis.from_pool(connections) as redis,
        httpx.AsyncClient(base_url=settings.mail_url, timeout=5, trust_env=False) as http,
    ):
        redeem = redis.register_script(REDEEM)
        await pool.execute(SCHEMA)
        worker = asyncio.create_task(send_mails(http))
        yield
        worker.cancel()


async def keep_session(_: asyncpg.Connection) -> None:
    """Saves asyncpg's query that resets a connection after each use: no query here changes the session."""


app = FastAPI(lifespan=lifespan)


def code_key(user_id: UUID) -> str:
    return f"peer:code:{user_id}"


async def send_mails(http: httpx.AsyncClient) -> None:
    """Claims mails from the outbox and sends up to `MAILS_AT_ONCE` of them at a time."""
    sending: set[asyncio.Task] = set()
    while True:
        mail_queued.clear()
        free = MAILS_AT_ONCE - len(sending)
        claimed = []
        with suppress(OSError, asyncpg.PostgresError):
            claimed = await pool.fetch(CLAIM, free)
        for mail in claimed:
            task = asyncio.create_task(send_mail(http, mail))
            sending.add(task)
            task.add_done_callback(sending.discard)
        # With room for several mails, one query claims several.
        while len(sending) > MAILS_AT_ONCE // 2:
            await asyncio.wait(sending, return_when=asyncio.FIRST_COMPLETED)
        # Otherwise there may be more mails to claim.
        if len(claimed) < free:
            with suppress(TimeoutError):
                await asyncio.wait_for(mail_queued.wait(), POLL_SECONDS)


async def send_mail(http: httpx.AsyncClient, mail: asyncpg.Record) -> None:
    code = f"{secrets.randbelow(10_000):04}"
    key = code_key(mail["user_id"])
    async with redis.pipeline(transaction=True) as pipeline:
        pipeline.delete(key).hset(key, "code", code).expire(key, CODE_TTL)
        await pipeline.execute()
    content = {
        "From": {"Email": "no-reply@sixty.example", "Name": "Peer"},
        "To": [{"Email": mail["email"], "Name": ""}],
        "Subject": "Your code",
        "Text": f"Your code is {code}\n\nEnter it within {CODE_TTL} seconds to activate your account.\n",
        "HTML": f"<h1>Your code is {code}</h1><p>Enter it within {CODE_TTL} seconds to activate your account.</p>",
    }
    (await http.post("/api/v1/send", json=content)).raise_for_status()
    await pool.execute("DELETE FROM outbox WHERE id = $1", mail["id"])


class NewUser(BaseModel):
    email: Annotated[str, StringConstraints(pattern=r"^[^@\s]+@[^@\s]+$", max_length=254, to_lower=True)]
    password: Annotated[str, StringConstraints(min_length=8, max_length=128)]


class Guess(BaseModel):
    code: Annotated[str, StringConstraints(pattern=r"^\d{4}$")]


class User(BaseModel):
    id: UUID
    email: str
    status: str
    created_at: datetime
    activated_at: datetime | None


async def authenticate(credentials: Annotated[HTTPBasicCredentials, Depends(HTTPBasic())]) -> asyncpg.Record:
    """Returns the user of the credentials. A wrong user costs one hash, as a wrong password does."""
    user = await pool.fetchrow("SELECT * FROM users WHERE email = $1", credentials.username.lower())
    if not await passwords.matches(user and user["password_hash"], credentials.password):
        raise HTTPException(401, "The address or the password is wrong.", {"WWW-Authenticate": "Basic"})
    return user


Authenticated = Annotated[asyncpg.Record, Depends(authenticate)]


@app.post("/v1/users", status_code=201)
async def register(new: NewUser) -> User:
    user_id, password_hash = uuid4(), await passwords.hash(new.password)
    created_at = await pool.fetchval(REGISTER, user_id, new.email, password_hash)
    mail_queued.set()
    created_at = created_at or datetime.now().astimezone()
    return User(id=user_id, email=new.email, status="pending", created_at=created_at, activated_at=None)


@app.post("/v1/users/me/activation")
async def activate(guess: Guess, user: Authenticated) -> User:
    if user["status"] != "pending":
        raise HTTPException(409, "The account is active already.")
    match await redeem(keys=[code_key(user["id"])], args=[guess.code]):
        case "wrong":
            raise HTTPException(422, "The code is wrong.")
        case "expired":
            raise HTTPException(410, "There is no code. Register again.")
    active = await pool.fetchrow(ACTIVATE, user["id"])
    if active is None:
        raise HTTPException(409, "The account is active already.")
    return User(**active)


@app.get("/v1/users/me")
async def show(user: Authenticated) -> User:
    return User(**user)


@app.get("/livez")
async def livez() -> dict[str, str]:
    return {"status": "ok"}


if __name__ == "__main__":
    uvicorn.run(
        app,
        port=settings.port,
        loop="uvloop",
        http="httptools",
        proxy_headers=False,
        log_level="warning",
        access_log=False,
        timeout_keep_alive=75,
    )
