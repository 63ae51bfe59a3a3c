"""Clients that register, activate and read."""

import base64
import http.client
import json
import threading
import time

PASSWORD = "correct horse battery"


class CountingConnection(http.client.HTTPConnection):
    octets = 0

    def send(self, data):
        self.octets += len(data)
        super().send(data)


class Load:
    """Clients that send requests over kept connections, each after its last one was answered."""

    def __init__(self, services, clients=8):
        self.ports, self.clients = [service.port for service in services], clients
        self.sent = self.received = 0  # octets of HTTP

    def run(self, requests, seconds=None):
        """Sends the requests until there are none or the time is over. Returns the times of the answers, in order."""
        requests, lock, times, faults = iter(requests), threading.Lock(), [], []
        end = time.monotonic() + (seconds or 3600)

        def client(port):
            connection = CountingConnection("127.0.0.1", port)
            while time.monotonic() < end:
                with lock:
                    request = next(requests, None)
                if request is None:
                    return
                method, path, body, headers, expected = request
                connection.octets = 0
                connection.request(method, path, body, headers)
                response = connection.getresponse()
                answer = response.read()
                head = sum(len(f"{name}: {value}\r\n") for name, value in response.getheaders())
                with lock:
                    self.sent += connection.octets
                    self.received += len(f"HTTP/1.1 {response.status} {response.reason}\r\n\r\n") + head + len(answer)
                    if response.status == expected:
                        times.append(time.monotonic())
                    else:
                        faults.append((response.status, answer))
            connection.close()

        threads = [threading.Thread(target=client, args=(self.ports[place % len(self.ports)],))
                   for place in range(self.clients * len(self.ports))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if faults:
            raise RuntimeError(f"{len(faults)} unexpected answers, such as {faults[0]}")
        return sorted(times)


def address(number):
    # Hashed, so that addresses come in any order, as those of people.
    return f"{number * 2654435761 % 2**32:08x}.person@example.com"


def network(number):
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def headers(number, user=None):
    fields = {"Content-Type": "application/json", "X-Forwarded-For": network(number)}
    if user:
        fields["Authorization"] = "Basic " + base64.b64encode(f"{user}:{PASSWORD}".encode()).decode()
    return fields


def registrations(numbers, address=address):
    for number in numbers:
        body = json.dumps({"email": address(number), "password": PASSWORD})
        yield "POST", "/v1/users", body, headers(number), 201


def activations(numbers, codes, address=address):
    for number in numbers:
        body = json.dumps({"code": codes[address(number)]})
        yield "POST", "/v1/users/me/activation", body, headers(number, address(number)), 200


def reads(numbers, address=address):
    for number in numbers:
        yield "GET", "/v1/users/me", None, headers(number, address(number)), 200
