"""Registers and activates users through the API, without pause, and reports what failed: for failover drills.

    python3 deploy/probe.py --seconds 30            # meanwhile, stop something

Needs the mock mail provider, and CLIENT_LIMITS=false. Each user is registered once. An activation that is answered 503
is repeated for a minute. `--check` asks at the end, for each acknowledged user, whether the account is active.
"""

import argparse
import base64
import collections
import http.client
import json
import re
import secrets
import threading
import time
import urllib.parse

PASSWORD = "correct horse battery"


class Client:
    """One kept-alive connection."""

    def __init__(self, url):
        self.connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=12)

    def call(self, method, path, body=None, user=None):
        """Returns the status, or the name of the error, and the body."""
        headers = {"Content-Type": "application/json"}
        if user:
            headers["Authorization"] = "Basic " + base64.b64encode(f"{user}:{PASSWORD}".encode()).decode()
        try:
            self.connection.request(method, path, json.dumps(body) if body else None, headers)
            response = self.connection.getresponse()
            return response.status, response.read().decode()
        except (OSError, http.client.HTTPException) as error:
            self.connection.close()
            return type(error).__name__, ""


class Probe:
    def __init__(self, arguments):
        self.arguments = arguments
        self.run = secrets.token_hex(4)
        self.end = time.time() + arguments.seconds
        self.calls = []  # (step, begin, end, status)
        self.registered, self.activated, self.lost = [], [], []

    def timed(self, step, *call):
        begin = time.time()
        status, body = call[0](*call[1:])
        self.calls.append((step, begin, time.time(), status))
        return status, body

    def code(self, mail, user):
        deadline = time.time() + 60
        while time.time() < deadline:
            _, body = mail.call("GET", f"/api/v1/search?query=to:{user}")
            if found := re.search(r"code is (\d+)", body):
                return found[1]
            time.sleep(0.1)
        return None

    def work(self, worker):
        api, mail, number = Client(self.arguments.api), Client(self.arguments.mail), 0
        while time.time() < self.end:
            number += 1
            user = f"probe-{self.run}-{worker}-{number}@example.com"
            body = {"email": user, "password": PASSWORD}
            if self.timed("register", api.call, "POST", "/v1/users", body)[0] != 201:
                time.sleep(0.2)
                continue
            self.registered.append(user)
            begin = time.time()
            code = self.code(mail, user)
            self.calls.append(("mail", begin, time.time(), "arrived" if code else "missing"))
            deadline, status = time.time() + 60, None
            while code and status not in (200, 409, 410, 422) and time.time() < deadline:
                call = ("POST", "/v1/users/me/activation", {"code": code}, user)
                status, _ = self.timed("activate", api.call, *call)
                time.sleep(0.2)
            (self.activated if status in (200, 409) else self.lost).append(user)

    def report(self):
        for step in ("register", "mail", "activate"):
            calls = [call for call in self.calls if call[0] == step]
            counts = collections.Counter(call[3] for call in calls)
            good = sorted(call[1:3] for call in calls if call[3] in (200, 201, "arrived"))
            ends = sorted(end for _, end in good)
            gap = max((after - before for before, after in zip(ends, ends[1:])), default=0)
            slowest = max((end - begin for begin, end in good), default=0)
            print(f"{step:9} {dict(counts)}; longest gap between successes {gap:.1f} s; slowest success {slowest:.2f} s")
        print(f"codes that did not work: {len(self.lost)}")

    def check(self):
        api, wrong = Client(self.arguments.api), 0
        for user in self.activated:
            status, body = api.call("GET", "/v1/users/me", user=user)
            wrong += not (status == 200 and json.loads(body)["status"] == "active")
        print(f"acknowledged activations that are lost: {wrong} of {len(self.activated)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--api", default="http://localhost:8000")
    parser.add_argument("--mail", default="http://localhost:8025")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    probe = Probe(arguments)
    threads = [threading.Thread(target=probe.work, args=(worker,)) for worker in range(arguments.clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    probe.report()
    if arguments.check:
        probe.check()


if __name__ == "__main__":
    main()
