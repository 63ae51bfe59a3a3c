// Runs a registration, a password reset and a change of address with openapi-fetch and the types that openapi-typescript generates.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { env } from "node:process";
import { setTimeout as sleep } from "node:timers/promises";

import createClient from "openapi-fetch";

import type { components, paths } from "./client.js";

type Problem = components["schemas"]["Problem"];
type Answer<T> = { data?: T; error?: Problem; response: Response };

const { API_URL, MAIL_URL, CODE_TTL_SECONDS } = env;
assert(API_URL && MAIL_URL && CODE_TTL_SECONDS);
const PASSWORD = "päss:wörd of Ada";
const NEW_PASSWORD = "näw:päss of Ada";
const address = (name: string) => `${name}-${randomUUID()}@example.com`;
const anonymous = createClient<paths>({ baseUrl: API_URL });

function credentials(email: string, password = PASSWORD) {
  const pair = Buffer.from(`${email}:${password}`).toString("base64");
  return createClient<paths>({ baseUrl: API_URL as string, headers: { Authorization: `Basic ${pair}` } });
}

/** Waits until the newest mail to the address at the mock provider has a code of so many digits, and returns the code. */
async function code(email: string, length = 4): Promise<string> {
  const search = `${MAIL_URL}/api/v1/search?query=${encodeURIComponent(`to:${email}`)}`;
  for (const deadline = Date.now() + 30_000; Date.now() < deadline; await sleep(100)) {
    const { messages } = (await (await fetch(search)).json()) as { messages: { ID: string }[] };
    if (!messages[0]) continue;
    const mail = await fetch(`${MAIL_URL}/api/v1/message/${messages[0].ID}`);
    const { Text } = (await mail.json()) as { Text: string };
    const digits = new RegExp(`\\b\\d{${length}}\\b`).exec(Text);
    if (digits) return digits[0];
  }
  assert.fail("no mail arrived within 30 seconds");
}

function problem<T>({ data, error, response }: Answer<T>, status: number, name: string): Problem {
  assert(error && !data);
  assert.deepEqual([response.status, error.status, error.type], [status, status, `/problems/${name}`]);
  return error;
}

const pointers = (problem: Problem) => problem.errors?.map((error) => error.pointer);

const [late, ada] = [address("late"), address("ada")];
const registered = await anonymous.POST("/v1/users", { body: { email: late, password: PASSWORD } });
assert.equal(registered.data?.status, "pending");
const lateCode = await code(late);
const lateSince = Date.now();

const answer = await anonymous.POST("/v1/users", { body: { email: ada, password: PASSWORD } });
assert.deepEqual([answer.response.status, answer.response.headers.get("Location")], [201, "/v1/users/me"]);
const right = await code(ada);
const wrong = right.replace(/./g, (digit) => (digit === "0" ? "1" : "0"));

const activate = (email: string, code: string) =>
  credentials(email).POST("/v1/users/me/activation", { body: { code } });
const incorrect = problem(await activate(ada, wrong), 422, "incorrect-code");
assert.deepEqual([incorrect.attempts_remaining, pointers(incorrect)], [2, ["/code"]]);
const { data: activated } = await activate(ada, right);
assert(activated?.status === "active" && activated.activated_at);
assert(Date.parse(activated.activated_at) >= Date.parse(activated.created_at));
problem(await activate(ada, right), 409, "already-active");

const wrongPassword = await credentials(ada, "not her password").GET("/v1/users/me");
problem(wrongPassword, 401, "unauthenticated");
assert.match(wrongPassword.response.headers.get("WWW-Authenticate") ?? "", /^xBasic /);
problem(await credentials(ada).GET("/v1/users", { params: { query: { limit: 2 } } }), 403, "forbidden");
const invalid = await anonymous.POST("/v1/users", { body: { email: "ada", password: "short" } });
assert.deepEqual(pointers(problem(invalid, 422, "invalid-field")), ["/email", "/password"]);
const tooSoon = await anonymous.POST("/v1/users", { body: { email: late, password: PASSWORD } });
const { retry_after } = problem(tooSoon, 429, "too-many-codes");
assert.equal(String(retry_after), tooSoon.response.headers.get("Retry-After"));
problem(await credentials(late).POST("/v1/users/me/verification-code"), 429, "too-many-codes");

const queued = await anonymous.POST("/v1/password-resets", { body: { email: ada } });
assert.deepEqual([queued.response.status, queued.data], [202, { retry_after: 600 }]);
const reset = { email: ada, code: await code(ada, 8), password: NEW_PASSWORD };
assert.equal((await anonymous.PUT("/v1/password-resets", { body: reset })).response.status, 204);
problem(await anonymous.PUT("/v1/password-resets", { body: reset }), 410, "code-expired");
problem(await credentials(ada).GET("/v1/users/me"), 401, "unauthenticated");

const [moved, owner] = [address("moved"), credentials(ada, NEW_PASSWORD)];
assert.equal((await owner.PUT("/v1/users/me/email", { body: { email: moved } })).response.status, 202);
const confirmed = await owner.POST("/v1/users/me/email/confirmation", { body: { code: await code(moved) } });
assert.equal(confirmed.data?.email, moved);
problem(await owner.GET("/v1/users/me"), 401, "unauthenticated");

await sleep(lateSince + (Number(CODE_TTL_SECONDS) + 1) * 1000 - Date.now());
problem(await activate(late, lateCode), 410, "code-expired");

assert.equal((await credentials(moved, NEW_PASSWORD).DELETE("/v1/users/me")).response.status, 204);
problem(await credentials(moved, NEW_PASSWORD).GET("/v1/users/me"), 401, "unauthenticated");
