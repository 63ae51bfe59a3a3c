"""Checks one gateway that asks Sixty's `GET /v1/auth`. tests/gateways/run starts everything and calls it:

    checks.py ports NUMBER               prints free ports
    checks.py running GATEWAY            all checks while Sixty runs
    checks.py stopped GATEWAY            the check after Sixty was stopped

The environment has API_URL, MAIL_URL and DATABASE_URL of Sixty, SIXTY (its program), and the ports GATEWAY_PORT,
SIXTY_PORT and APPLICATION_PORT. This program is the application: it answers with what it was sent. It also stands
between the gateway and Sixty, on SIXTY_PORT, and notes what the gateway sends to Sixty.

Clients have addresses of their own in 127.0.0.0/8, which Linux lets any program use.
"""

import base64
import contextlib
import http.client
import http.server
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.parse

GATEWAYS = ["nginx", "caddy", "traefik", "envoy"]
IDENTITY = ["x-user-id", "x-user-email", "x-user-role"]
PASSWORD = "correct horse battery"
FORGED = "forged-by-the-client"
BODY_MARK = b"a-body-that-only-the-application-may-see"
# A spelling for each way in which servers and frameworks treat letter case and underscores.
FORGED_NAMES = [
    "X-User-Id", "X-User-Email", "X-User-Role",
    "x-user-id", "X-USER-EMAIL", "x-UsEr-RoLe",
    "X_User_Id", "X_User_Email", "X_User_Role",
    "x_user-id", "X-USER_EMAIL", "x-user_role",
]  # fmt: skip


class Failed(Exception):
    """A check failed."""


def expect(holds, what):
    if not holds:
        raise Failed(what)


# --- the application, and the observer between the gateway and Sixty --------------------------------------------------


class Application(http.server.BaseHTTPRequestHandler):
    """Answers every request with its method, path, headers and body, and counts the requests."""

    protocol_version = "HTTP/1.1"
    requests = 0

    def answer(self):
        Application.requests += 1
        body = self.read_body()
        seen = {
            "method": self.command,
            "path": self.path,
            "headers": self.headers.items(),
            "body": base64.b64encode(body).decode(),
        }
        content = json.dumps(seen).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def read_body(self):
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def log_message(self, *_):
        pass

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer


def serve_application(port):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Application)
    threading.Thread(target=server.serve_forever, daemon=True).start()


class Observer:
    """Passes connections on to Sixty and notes what the gateway sends. Or answers 503 itself, as Sixty does."""

    UNAVAILABLE = json.dumps({"type": "/problems/unavailable", "title": "Unavailable", "status": 503, "retry_after": 7})

    def __init__(self, port, sixty):
        self.sixty, self.sent, self.unavailable = sixty, b"", False
        self.lock = threading.Lock()
        self.connections = []
        listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self.accept, args=[listener], daemon=True).start()

    def accept(self, listener):
        while True:
            connection = listener.accept()[0]
            with self.lock:
                self.connections.append(connection)
            threading.Thread(target=self.serve, args=[connection], daemon=True).start()

    def serve(self, connection):
        with contextlib.suppress(OSError), connection:
            if self.unavailable:
                self.note(connection.recv(65536))
                head = (
                    "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 7\r\n"
                    f"connection: close\r\ncontent-length: {len(self.UNAVAILABLE)}\r\n\r\n"
                )
                connection.sendall((head + self.UNAVAILABLE).encode())
                connection.shutdown(socket.SHUT_WR)
                return
            with socket.create_connection(self.sixty) as sixty:
                threading.Thread(target=self.copy, args=[sixty, connection, lambda _: None], daemon=True).start()
                self.copy(connection, sixty, self.note)

    def copy(self, source, target, note):
        with contextlib.suppress(OSError):
            while octets := source.recv(65536):
                note(octets)
                target.sendall(octets)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def note(self, octets):
        with self.lock:
            self.sent += octets

    def take(self):
        """Returns the requests since the last call: the request line, the headers, and what follows them."""
        with self.lock:
            text, self.sent = self.sent.decode("latin-1"), b""
        requests = []
        for head in filter(None, text.split("\r\n\r\n")):
            line, *fields = head.split("\r\n")
            pairs = [field.partition(":") for field in fields]
            requests.append((line, [(name.lower(), value.strip()) for name, _, value in pairs]))
        return requests

    def set_unavailable(self, unavailable):
        """Also closes the connections that the gateway keeps, so that it opens others."""
        self.unavailable = unavailable
        with self.lock:
            connections, self.connections = self.connections, []
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


# --- clients ----------------------------------------------------------------------------------------------------------


class Answer:
    def __init__(self, response):
        self.status, self.body = response.status, response.read()
        self.headers = [(name.lower(), value) for name, value in response.getheaders()]

    def all(self, name):
        return [value for key, value in self.headers if key == name]

    def problem(self):
        types = self.all("content-type")
        expect(types and types[0].startswith("application/problem+json"), f"Content-Type is {types}")
        return json.loads(self.body)

    def seen(self):
        """What the application was sent."""
        return json.loads(self.body)

    def seen_values(self, name):
        """The values of a header and of those that a framework takes for it."""
        return [value for key, value in self.seen()["headers"] if key.lower().replace("_", "-") == name]


def call(
    port,
    method="GET",
    path="/some/path?with=query",
    user=None,
    password=PASSWORD,
    headers=(),
    body=None,
    client="127.0.0.1",
):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30, source_address=(client, 0))
    connection.putrequest(method, path)
    if user:
        credentials = base64.b64encode(f"{user}:{password}".encode()).decode()
        connection.putheader("Authorization", f"Basic {credentials}")
    for name, value in headers:
        connection.putheader(name, value)
    if body is not None:
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body)
    answer = Answer(connection.getresponse())
    connection.close()
    return answer


def within(seconds, what, attempt):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if result := attempt():
                return result
        time.sleep(0.05)
    raise Failed(f"{what}: not within {seconds} s")


# --- Sixty's accounts -------------------------------------------------------------------------------------------------


class Sixty:
    def __init__(self):
        self.api = urllib.parse.urlsplit(os.environ["API_URL"])
        self.mail = urllib.parse.urlsplit(os.environ["MAIL_URL"])

    def send(self, user, path, body):
        headers = [("Content-Type", "application/json")]
        return call(self.api.port, "POST", path, user, headers=headers, body=json.dumps(body).encode())

    def register(self, email):
        """Returns the id of the pending registration."""
        answer = self.send(None, "/v1/users", {"email": email, "password": PASSWORD})
        expect(answer.status == 201, f"registering {email} was answered {answer.status}: {answer.body}")
        return json.loads(answer.body)["id"]

    def activate(self, email):
        path = "/api/v1/search?query=" + urllib.parse.quote(f"to:{email}")

        def code():
            return re.search(rb"code is (\d+)", call(self.mail.port, path=path).body)

        code = within(30, f"a mail to {email}", code)[1].decode()
        answer = self.send(email, "/v1/users/me/activation", {"code": code})
        expect(answer.status == 200, f"activating {email} was answered {answer.status}: {answer.body}")

    def run(self, *arguments):
        subprocess.run([os.environ["SIXTY"], "users", *arguments], check=True, stdout=subprocess.DEVNULL)


# --- the checks -------------------------------------------------------------------------------------------------------


class Checks:
    def __init__(self, gateway):
        self.gateway = gateway
        self.port = int(os.environ["GATEWAY_PORT"])
        # The letter beyond ASCII shows that X-User-Email arrives in UTF-8.
        self.user = f"jörg.{gateway}@example.com"
        # nginx cannot pass the body of a refusal on.
        self.passes_problems = gateway != "nginx"

    def client(self, number):
        """A client's address. Each gateway has others, so that failures at one do not count at the next."""
        return f"127.0.{GATEWAYS.index(self.gateway) + 1}.{number}"

    def call(self, *arguments, number=1, **named):
        return call(self.port, *arguments, client=self.client(number), **named)

    def check(self, what, test):
        before = Application.requests
        try:
            refused = test()
            expect(not refused or Application.requests == before, "the request reached the application")
        except Failed as failed:
            print(f"FAILED {self.gateway}: {what}: {failed}", flush=True)
            sys.exit(1)
        print(f"ok     {self.gateway}: {what}", flush=True)

    def expect_identity(self, answer):
        expect(answer.status == 200, f"the status is {answer.status}: {answer.body}")
        values = [answer.seen_values(name) for name in IDENTITY]
        expected = [[self.id], [self.user.encode().decode("latin-1")], ["user"]]
        expect(values == expected, f"the application saw {values}")

    def expect_refusal(self, answer, status, problem, passed=None):
        expect(answer.status == status, f"the status is {answer.status}: {answer.body}")
        found = answer.problem()
        expect(found["status"] == status, f"the problem is {found}")
        if self.passes_problems or not passed:
            expect(found["type"] == f"/problems/{problem}", f"the problem is {found}")

    def running(self):
        api = urllib.parse.urlsplit(os.environ["API_URL"])
        self.observer = Observer(int(os.environ["SIXTY_PORT"]), (api.hostname, api.port))
        self.sixty = Sixty()
        serve_application(int(os.environ["APPLICATION_PORT"]))
        within(30, "the gateway's answer", lambda: self.call().status == 401)
        self.observer.take()

        self.check("no credentials: 401 with one challenge and a problem", self.no_credentials)
        self.check("a script without credentials: a challenge without a login box", self.script)
        self.check("OPTIONS without credentials: 401", self.options)
        self.id = self.sixty.register(self.user)
        self.check("a pending registration: 403 not-active", self.pending)
        self.sixty.activate(self.user)
        self.check("an active account: 200, and the application sees id, address in UTF-8 and role", self.active)
        self.check("the application sees no password", self.no_password)
        self.check("HEAD with credentials: 200", self.head)
        self.check("forged X-User-… in all spellings do not reach the application", self.forged)
        self.check("`Connection` cannot remove X-User-… on the way to the application", self.connection)
        self.check("a wrong password: 401", self.wrong_password)
        self.check("a POST's body reaches the application and not Sixty", self.post)
        self.check("the application sees the client's real address only", self.real_address)
        self.check("after failures of one client: 429 with Retry-After, whatever its X-Forwarded-For", self.throttled)
        self.check("another client still gets in", self.neighbour)
        self.check("an address in a forged X-Forwarded-For is not blamed", self.blamed)
        self.check("a forged X-Forwarded-For with a throttled address changes nothing", self.blame_taken)
        self.check("Sixty's 503 with its Retry-After reaches the client", self.unavailable)
        self.sixty.run("disable", self.user)
        self.check("a disabled account: 403 account-disabled", self.disabled)
        self.check("Sixty was sent nothing but GET /v1/auth with the client's address", self.sent_to_sixty)

    def stopped(self):
        serve_application(int(os.environ["APPLICATION_PORT"]))
        self.check("Sixty is stopped: nobody gets in", self.closed)

    def no_credentials(self):
        answer = self.call()
        self.expect_refusal(answer, 401, "unauthenticated")
        challenges = answer.all("www-authenticate")
        expect(challenges == ['Basic realm="sixty", charset="UTF-8"'], f"the challenges are {challenges}")
        return True

    def script(self):
        answer = self.call(headers=[("Sec-Fetch-Mode", "cors"), ("Sec-Fetch-Dest", "empty")])
        challenges = answer.all("www-authenticate")
        expect(answer.status == 401 and len(challenges) == 1, f"the answer is {answer.status} {challenges}")
        expect(challenges[0].startswith("xBasic "), f"the challenge is {challenges}")
        return True

    def options(self):
        headers = [("Origin", "https://page.example"), ("Access-Control-Request-Method", "PUT")]
        for extra in [[], headers]:
            answer = self.call("OPTIONS", headers=extra)
            expect(answer.status == 401, f"the status is {answer.status}")
        return True

    def pending(self):
        self.expect_refusal(self.call(user=self.user), 403, "not-active", passed=True)
        return True

    def active(self):
        answer = self.call(user=self.user)
        self.expect_identity(answer)
        expect(answer.seen()["path"] == "/some/path?with=query", f"the application saw {answer.seen()}")

    def no_password(self):
        values = self.call(user=self.user).seen_values("authorization")
        expect(not values, f"the application saw {values}")

    def head(self):
        answer = self.call("HEAD", user=self.user)
        expect(answer.status == 200, f"the status is {answer.status}")

    def forged(self):
        self.expect_identity(self.call(user=self.user, headers=[(name, FORGED) for name in FORGED_NAMES]))
        for name in FORGED_NAMES:
            answer = self.call(user=self.user, headers=[(name, FORGED), (name, FORGED)])
            self.expect_identity(answer)
            expect(FORGED not in answer.body.decode(), f"the application saw {answer.body}")

    def connection(self):
        for value in ["close, X-User-Id, X-User-Email, X-User-Role", "X-Forwarded-For, x-user-role"]:
            before = Application.requests
            answer = self.call(user=self.user, headers=[("Connection", value)])
            if answer.status == 400:
                expect(Application.requests == before, "the refused request reached the application")
            else:
                self.expect_identity(answer)

    def wrong_password(self):
        self.expect_refusal(self.call(user=self.user, password="wrong horse battery"), 401, "unauthenticated")
        return True

    def post(self):
        for body in [BODY_MARK, BODY_MARK + bytes(range(256)) * 4000]:
            answer = self.call("POST", user=self.user, body=body, headers=[("Content-Type", "text/plain")])
            self.expect_identity(answer)
            seen = answer.seen()
            expect((seen["method"], base64.b64decode(seen["body"])) == ("POST", body), "the body was changed")
        expect(BODY_MARK not in self.observer.sent, "Sixty was sent the body")

    def real_address(self):
        headers = [("X-Forwarded-For", "198.51.100.7"), ("Forwarded", "for=198.51.100.7")]
        answer = self.call(user=self.user, headers=headers)
        values = answer.seen_values("x-forwarded-for")
        expect(values == [self.client(1)], f"X-Forwarded-For is {values}")
        expect(not answer.seen_values("forwarded"), "the application saw the client's Forwarded")

    def throttled(self):
        # Each attempt names another address. If one of them counted, none would have failed too often.
        for attempt in range(15):
            answer = self.fail(2, forged=f"198.51.100.{attempt}")
            if answer.status == 429:
                self.expect_refusal(answer, 429, "too-many-requests")
                waits = answer.all("retry-after")
                expect(len(waits) == 1 and 1 <= int(waits[0]) <= 3600, f"Retry-After is {waits}")
                expect(answer.problem()["retry_after"] == int(waits[0]), f"the problem is {answer.body}")
                return True
            expect(answer.status == 401, f"the status is {answer.status}")
        raise Failed("15 failures were all answered 401")

    def fail(self, number, forged=None):
        """Sends a wrong password, and perhaps a forged address."""
        headers = [("X-Forwarded-For", forged), ("Forwarded", f"for={forged}")] if forged else []
        return self.call(user=self.user, password="wrong horse battery", headers=headers, number=number)

    def neighbour(self):
        answer = self.fail(3)
        expect(answer.status == 401, f"its first wrong password is answered {answer.status}")
        self.expect_identity(self.call(user=self.user, number=3))

    def blamed(self):
        for _ in range(8):
            self.fail(4, forged=self.client(5))
        for forged in [None, self.client(5)]:
            answer = self.fail(5, forged)
            expect(answer.status == 401, f"its wrong password is answered {answer.status}")
        return True

    def blame_taken(self):
        answer = self.fail(6, forged=self.client(2))
        expect(answer.status == 401, f"its first wrong password is answered {answer.status}")
        return True

    def unavailable(self):
        self.noted = self.observer.take()
        self.observer.set_unavailable(True)
        answer = self.call(user=self.user)
        self.observer.set_unavailable(False)
        self.expect_refusal(answer, 503, "unavailable")
        expect(answer.all("retry-after") == ["7"], f"Retry-After is {answer.all('retry-after')}")
        return True

    def disabled(self):
        answer = self.call(user=self.user)
        self.expect_refusal(answer, 403, "account-disabled", passed=True)
        return True

    def sent_to_sixty(self):
        expect(len(self.noted) > 20, f"{len(self.noted)} requests were noted")
        for line, headers in self.noted:
            expect(line == "GET /v1/auth HTTP/1.1", f"it was sent {line}")
            fields = dict(headers)
            addresses = [value for name, value in headers if name == "x-forwarded-for"]
            known = [self.client(number) for number in range(1, 7)]
            expect(len(addresses) == 1 and addresses[0] in known, f"X-Forwarded-For is {addresses}")
            expect("forwarded" not in fields, "it was sent Forwarded")
            expect("transfer-encoding" not in fields, "it was sent a chunked body")
            expect(fields.get("content-length", "0") == "0", "it was sent the length of a body")

    def closed(self):
        status = {"nginx": 503, "caddy": 502, "traefik": 500, "envoy": 503}[self.gateway]
        for user in [None, self.user]:
            for method in ["GET", "OPTIONS", "POST"]:
                answer = self.call(method, user=user)
                expect(answer.status == status, f"the status is {answer.status}")
                if status == 503:
                    self.expect_refusal(answer, 503, "unavailable")
                    expect(answer.all("retry-after") == ["5"], f"Retry-After is {answer.all('retry-after')}")
        return True


def free_ports(number):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    return [listener.getsockname()[1] for listener in sockets]


def main():
    command, argument = sys.argv[1:]
    if command == "ports":
        print(*free_ports(int(argument)))
    elif command == "running":
        Checks(argument).running()
    else:
        Checks(argument).stopped()


main()
