// Runs the whole registration flow with the client that @hey-api/openapi-ts generates.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { env } from "node:process";
import { setTimeout as sleep } from "node:timers/promises";

import { createClient } from "./client/client/index.js";
import * as sixty from "./client/index.js";

const { API_URL, MAIL_URL, CODE_TTL_SECONDS } = env;
assert(API_URL && MAIL_URL && CODE_TTL_SECONDS);
const PASSWORD = "päss:wörd of Ada";
const address = (name: string) => `${name}-${randomUUID()}@example.com`;
const anonymous = createClient({ baseUrl: API_URL });

/** A client with credentials, which the generated client encodes by btoa, in Latin-1. */
const latin1 = (email: string, password = PASSWORD) => createClient({ baseUrl: API_URL, auth: `${email}:${password}` });

/** A client with credentials in UTF-8. */
function credentials(email: string, password = PASSWORD) {
  const pair = Buffer.from(`${email}:${password}`).toString("base64");
  return createClient({ baseUrl: API_URL as string, headers: { Authorization: `Basic ${pair}` } });
}

/** Waits for a mail to the address at the mock provider, and returns the code in the newest. */
async function code(email: string): Promise<string> {
  const search = `${MAIL_URL}/api/v1/search?query=${encodeURIComponent(`to:${email}`)}`;
  for (const deadline = Date.now() + 30_000; Date.now() < deadline; await sleep(100)) {
    const { messages } = (await (await fetch(search)).json()) as { messages: { ID: string }[] };
    if (!messages[0]) continue;
    const mail = await fetch(`${MAIL_URL}/api/v1/message/${messages[0].ID}`);
    const { Text } = (await mail.json()) as { Text: string };
    const digits = /\b\d{4}\b/.exec(Text);
    assert(digits, Text);
    return digits[0];
  }
  assert.fail("no mail arrived within 30 seconds");
}

type Answer<T> = { data: T; error: undefined } | { data: undefined; error: sixty.Problem };

function problem<T>(answer: Answer<T> & { response?: Response }, status: number, name: string): sixty.Problem {
  const { error, response } = answer;
  assert(error);
  assert.deepEqual([response?.status, error.status, error.type], [status, status, `/problems/${name}`]);
  return error;
}

const pointers = (problem: sixty.Problem) => problem.errors?.map((error) => error.pointer);
const register = (email: string, password = PASSWORD) =>
  sixty.registerUser({ client: anonymous, body: { email, password } });
const activate = (email: string, code: string) =>
  sixty.activateUser({ client: credentials(email), body: { code } });

const [late, ada] = [address("late"), address("ada")];
const registered = await register(late);
assert(registered.data?.status === "pending" && registered.data.activated_at === null);
const lateCode = await code(late);
const lateSince = Date.now();

const answer = await register(ada);
assert.deepEqual([answer.response?.status, answer.response?.headers.get("Location")], [201, "/v1/users/me"]);
const right = await code(ada);
const wrong = right.replace(/./g, (digit) => (digit === "0" ? "1" : "0"));

const incorrect = problem(await activate(ada, wrong), 422, "incorrect-code");
assert.deepEqual([incorrect.attempts_remaining, pointers(incorrect)], [2, ["/code"]]);
const { data: activated } = await activate(ada, right);
assert(activated?.status === "active" && activated.activated_at);
assert(Date.parse(activated.activated_at) >= Date.parse(activated.created_at));
problem(await activate(ada, right), 409, "already-active");
const { data: current } = await sixty.getCurrentUser({ client: latin1(ada) });
assert.equal(current?.id, activated.id);

const wrongPassword = await sixty.getCurrentUser({ client: credentials(ada, "not her password") });
problem(wrongPassword, 401, "unauthenticated");
problem(await sixty.listUsers({ client: credentials(ada), query: { status: "active", limit: 2 } }), 403, "forbidden");
const invalid = problem(await register("ada", "short"), 422, "invalid-field");
assert.deepEqual(pointers(invalid), ["/email", "/password"]);
const tooSoon = await register(late);
const { retry_after } = problem(tooSoon, 429, "too-many-codes");
assert.equal(String(retry_after), tooSoon.response?.headers.get("Retry-After"));
problem(await sixty.resendCode({ client: credentials(late) }), 429, "too-many-codes");

await sleep(lateSince + (Number(CODE_TTL_SECONDS) + 1) * 1000 - Date.now());
problem(await activate(late, lateCode), 410, "code-expired");

const deleted = await sixty.deleteCurrentUser({ client: credentials(ada) });
assert.equal(deleted.response?.status, 204);
problem(await sixty.getCurrentUser({ client: credentials(ada) }), 401, "unauthenticated");
