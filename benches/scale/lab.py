"""A private PostgreSQL, Redis and mock mail provider, and processes of `sixty serve`.

Needs Linux, Debian's packages postgresql and redis-server, `setpriv` and `ss`, and the program in the variable SIXTY.
"""

import base64
import glob
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request

SIXTY = os.environ.get("SIXTY", "target/release/sixty")
POSTGRES = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: int(path.split("/")[-2]))[-1]
# The smallest cost that Sixty accepts: the rest of the work then dominates.
CHEAP_HASH = {"ARGON2_MEMORY_KIB": "8", "ARGON2_PASSES": "1"}
# The clients' counters are on, as in production, and each user has an IPv4 address of its own.
SETTINGS = {
    "CODE_SECRET": base64.b64encode(bytes(range(32))).decode(),
    "TRUSTED_PROXIES": "127.0.0.0/8",
    "OPS_ADDR": "127.0.0.1:0",
    "LOG_FORMAT": "json",
    # The worst case: no password is remembered.
    "AUTH_CACHE_TTL": "0",
}
# No checkpoint falls into a measurement by itself. All else is PostgreSQL's default, above all durability.
POSTGRES_SETTINGS = ["checkpoint_timeout=1h", "max_wal_size=8GB", "shared_buffers=512MB"]


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def wait_for(what, condition, timeout=120):
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.1)


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.status == 200
    except OSError:
        return False


class Lab:
    """Starts the stores and the provider. Leaving the context ends every process and removes the data."""

    def __enter__(self):
        self.processes = []
        self.folder = tempfile.mkdtemp(prefix="sixty-scale-")
        os.chmod(self.folder, 0o755)
        try:
            self.start_postgres()
            self.redis_port, mail_port = free_port(), free_port()
            self.redis_process = self.start("redis", ["redis-server", "--port", str(self.redis_port), "--save", "",
                                                      "--dir", self.folder])
            mock = [SIXTY, "mail-mock", "--mail-mock-addr", f"127.0.0.1:{mail_port}"]
            self.mock_process, self.mail_url = self.start("mail-mock", mock), f"http://127.0.0.1:{mail_port}"
            wait_for("redis", lambda: self.redis("PING") == "PONG")
            wait_for("mail-mock", lambda: answers(f"{self.mail_url}/api/v1/messages"))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.send_signal(signal.SIGINT)  # PostgreSQL: a fast shutdown
            process.wait()
        shutil.rmtree(self.folder)

    def start(self, name, command, env=None):
        log = open(f"{self.folder}/{name}.log", "ab")
        command = ["setpriv", "--pdeathsig", "KILL", "--", *command]
        environment = {"PATH": os.environ["PATH"], **(env or {})}
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def start_postgres(self):
        self.data, self.postgres_port = f"{self.folder}/postgres", free_port()
        os.mkdir(self.data)
        user = []
        if os.geteuid() == 0:  # PostgreSQL refuses root.
            shutil.chown(self.data, "postgres", "postgres")
            user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]
        initdb = [*user, f"{POSTGRES}/initdb", "-D", self.data, "-U", "sixty", "-A", "trust", "-E", "UTF8",
                  "--locale=C.UTF-8"]
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, cwd="/")
        command = [*user, f"{POSTGRES}/postgres", "-D", self.data, "-p", str(self.postgres_port), "-k", ""]
        for setting in POSTGRES_SETTINGS:
            command += ["-c", setting]
        self.postgres_process = self.start("postgres", command)
        ready = [f"{POSTGRES}/pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.postgres_port)]
        wait_for("postgres", lambda: subprocess.run(ready).returncode == 0)

    def database_url(self, name):
        return f"postgres://sixty@127.0.0.1:{self.postgres_port}/{name}"

    def sql(self, query, database="postgres"):
        """Returns the first column of the first row, decoded from JSON if it is JSON."""
        command = [f"{POSTGRES}/psql", "-XAtqc", query, self.database_url(database)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
        return json.loads(output) if output[:1] in "[{" and output else output

    def redis(self, *command):
        command = ["redis-cli", "-p", str(self.redis_port), *command]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()

    def redis_info(self, section, field):
        return float(re.search(rf"^{field}:([\d.]+)", self.redis("INFO", section), re.M)[1])

    def redis_delete(self, pattern):
        """Deletes the keys of a pattern. Returns how many keys it deleted, and the octets that this freed."""
        before = self.redis_info("memory", "used_memory")
        keys = self.redis("--scan", "--pattern", pattern).split()
        for start in range(0, len(keys), 500):
            self.redis("DEL", *keys[start:start + 500])
        return len(keys), before - self.redis_info("memory", "used_memory")

    def codes(self):
        """Returns the latest code of each address in the mock's inbox, and empties the inbox."""
        with urllib.request.urlopen(f"{self.mail_url}/api/v1/messages?limit=10000") as response:
            messages = json.load(response)["messages"]
        self.empty_inbox()
        found = {}
        for message in messages:  # the newest first
            code = re.search(r"\b\d{4}\b", f"{message['Subject']} {message['Snippet']}")
            if code:
                found.setdefault(message["To"][0]["Address"], code[0])
        return found

    def mails(self):
        with urllib.request.urlopen(f"{self.mail_url}/api/v1/messages?limit=1") as response:
            return json.load(response)["total"]

    def empty_inbox(self):
        urllib.request.urlopen(urllib.request.Request(f"{self.mail_url}/api/v1/messages", method="DELETE")).close()

    def set_mail_latency(self, milliseconds):
        body = json.dumps({"latency_ms": milliseconds}).encode()
        headers = {"Content-Type": "application/json"}
        urllib.request.urlopen(urllib.request.Request(f"{self.mail_url}/api/faults", body, headers, method="PUT")).close()

    def configure(self, setting, value):
        """Changes a setting of PostgreSQL for all sessions."""
        self.sql(f"ALTER SYSTEM SET {setting} = '{value}'")
        self.sql("SELECT pg_reload_conf()")
        time.sleep(1)

    def create_database(self, name):
        self.sql(f"CREATE DATABASE {name}")

    def serve(self, database, settings=None, group=None, share=None):
        """Starts a `sixty serve` on the database, with the database's name as its prefix in Redis.

        With `group`, the process runs in a control group of this name, which gets `share` of a core.
        """
        port = free_port()
        env = {**SETTINGS, "DATABASE_URL": self.database_url(database), "MAIL_URL": self.mail_url,
               "REDIS_URL": f"redis://127.0.0.1:{self.redis_port}", "REDIS_PREFIX": database,
               "API_ADDR": f"127.0.0.1:{port}", **(settings or {})}
        command = [SIXTY, "serve"]
        if group:
            command = ["sh", "-c", f'echo $$ > {limited_group(group, share)}/cgroup.procs; exec "$0" "$@"', *command]
        process = self.start(f"serve-{database}", command, env)
        process.port, process.database = port, database
        wait_for("serve", lambda: answers(f"http://127.0.0.1:{port}/readyz"))
        return process

    def stop(self, process):
        process.send_signal(signal.SIGTERM)
        process.wait()
        self.processes.remove(process)

    def settled(self, database):
        """Waits until no mail and no event waits in PostgreSQL."""
        query = "SELECT (SELECT count(*) FROM outbox) + (SELECT count(*) FROM events)"
        wait_for("the outbox and the events", lambda: self.sql(query, database) == "0")

    def sizes(self, database):
        """Returns the octets and the rows of each table, and the octets of each index."""
        self.sql("VACUUM ANALYZE", database)
        return self.sql(
            """SELECT json_object_agg(relname, json_build_object('bytes', pg_relation_size(oid), 'rows', reltuples::bigint,
                   'kind', relkind::text)) FROM pg_class
               WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'i') AND relname !~ '^_sqlx'""", database)

    def wal(self, start):
        """Returns the records, octets and octets of full-page images since the position, from pg_waldump."""
        end = self.sql("SELECT pg_current_wal_flush_lsn()")
        command = [f"{POSTGRES}/pg_waldump", "--stats=record", "-p", f"{self.data}/pg_wal", "-s", start, "-e", end]
        lines = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
        figures = {}
        for line in lines:
            parts = re.sub(r"\([^)]*\)|\[[^]]*\]", " ", line).split()
            if len(parts) == 5 and parts[1].isdigit():
                figures[parts[0]] = {"records": int(parts[1]), "fpi": int(parts[3]), "bytes": int(parts[4])}
            elif parts[:1] == ["Total"]:
                figures["Total"] = {"records": int(parts[1]), "fpi": int(parts[3]), "bytes": int(parts[4])}
        return figures


def limited_group(name, share):
    """Creates a control group, of version 1 or 2, that gets `share` of one core. Returns its folder."""
    period = 20_000
    v1 = "/sys/fs/cgroup/cpu"
    folder = f"{v1 if os.path.isdir(v1) else '/sys/fs/cgroup'}/{name}"
    os.makedirs(folder, exist_ok=True)
    if os.path.isdir(v1):
        limits = {"cpu.cfs_period_us": period, "cpu.cfs_quota_us": int(period * share)}
    else:
        limits = {"cpu.max": f"{int(period * share)} {period}"}
    for file, value in limits.items():
        with open(f"{folder}/{file}", "w") as limit:
            limit.write(str(value))
    return folder


def remove_group(name):
    for folder in glob.glob(f"/sys/fs/cgroup/cpu/{name}") or glob.glob(f"/sys/fs/cgroup/{name}"):
        os.rmdir(folder)
