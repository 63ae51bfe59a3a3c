"""Measures what each operation costs, and writes costs.json. Takes about ten minutes, on Linux.

    SIXTY=target/release/sixty python3 benches/scale/measure.py          # all parts
    SIXTY=target/release/sixty python3 benches/scale/measure.py replicas # these parts; the others stay as they are

The counts (octets, rows, transactions, WAL) and CPU times do not depend on what else the machine does, or hardly.
The real times (`relay`, `mail`, `replicas`) do: run those parts on an idle machine.
"""

import datetime
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import time

from counters import children, counters, thread_times, used
from lab import CHEAP_HASH, POSTGRES, SIXTY, Lab, remove_group
from load import Load, activations, reads, registrations

COSTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "costs.json")
LONG_CODES = {"CODE_TTL": "10m", "CODE_WAIT": "10m"}


def idle(lab):
    """What one process uses in a second without a request."""
    lab.create_database("idle")
    service = lab.serve("idle")
    time.sleep(5)
    before, start = counters(lab, service), lab.sql("SELECT pg_current_wal_flush_lsn()")
    seconds = 30
    time.sleep(seconds)
    figures = used(before, counters(lab, service), seconds)
    lab.stop(service)
    return figures | {"wal": lab.wal(start).get("Total", {}).get("bytes", 0) / seconds}


def operations(lab, rounds=7, count=100):
    """CPU time and traffic of each operation, at the default hash cost. Medians of rounds."""
    lab.create_database("operations")
    service = lab.serve("operations")
    results = {"register": [], "activate": [], "read": []}

    def measure(name, requests, count):
        before, load = counters(lab, service), Load([service])
        load.run(requests)
        lab.settled("operations")
        figures = used(before, counters(lab, service), count)
        figures |= {"http_in": load.sent / count, "http_out": load.received / count}
        results[name].append(figures)

    for turn in range(rounds + 1):
        numbers = range(turn * count, turn * count + count)
        measure("register", registrations(numbers), count)
        measure("activate", activations(numbers, lab.codes()), count)
        measure("read", reads(numbers), count)
        lab.empty_inbox()
    lab.stop(service)
    # The first round opens connections and prepares statements.
    return {name: {field: statistics.median(figures[field] for figures in measured[1:]) for field in measured[0]}
            for name, measured in results.items()}


def rows(lab, count=5000, chunk=250):
    """Rows, transactions and WAL of registering and activating, and the size of the tables afterwards.

    Vacuums after each 5 % of the users, which is when autovacuum does so on a large table of users.
    """
    lab.create_database("rows")
    service = lab.serve("rows", CHEAP_HASH)
    wal, busy = {"register": [], "activate": [], "vacuum": []}, {"register": [], "activate": []}
    for start in range(0, count, chunk):
        numbers, codes = range(start, start + chunk), None
        for name in busy:
            requests = registrations(numbers) if name == "register" else activations(numbers, codes)
            before, position = counters(lab, service), lab.sql("SELECT pg_current_wal_flush_lsn()")
            Load([service]).run(requests)
            lab.settled("rows")
            busy[name].append(used(before, counters(lab, service), chunk))
            wal[name].append(lab.wal(position)["Total"])
            if name == "register":
                codes = lab.codes()
        position = lab.sql("SELECT pg_current_wal_flush_lsn()")
        lab.sql("VACUUM ANALYZE", "rows")
        wal["vacuum"].append(lab.wal(position)["Total"])
    lab.empty_inbox()
    time.sleep(12)  # PostgreSQL reports its statistics ten seconds late.
    tables = lab.sql(
        """SELECT json_object_agg(relname, json_build_object('inserted', n_tup_ins, 'updated', n_tup_upd,
               'hot_updated', n_tup_hot_upd, 'deleted', n_tup_del)) FROM pg_stat_user_tables WHERE relname !~ '^_sqlx'""",
        "rows")
    active = lab.sql("SELECT json_build_array(active_time) FROM pg_stat_database WHERE datname = 'rows'")[0] / 1000
    lab.stop(service)
    return {
        "users": count,
        "sizes": lab.sizes("rows"),
        # After the first chunk, which opens connections and prepares statements.
        "busy": {name: {field: statistics.median(figures[field] for figures in measured[1:]) for field in measured[0]}
                 for name, measured in busy.items()},
        "wal": {name: {field: sum(part[field] for part in parts) / count for field in parts[0]}
                for name, parts in wal.items()},
        "tables": {table: {field: value / count for field, value in fields.items()} for table, fields in tables.items()},
        "postgres_active_seconds": active / count,
    }


def abandoned(lab, count=3000):
    """Redis memory of registrations, and what is left of them after the purge. Nobody activates."""
    lab.create_database("abandoned")
    service = lab.serve("abandoned", CHEAP_HASH | LONG_CODES)
    Load([service]).run(registrations(range(count)))
    lab.settled("abandoned")
    memory = {}
    for name, pattern in (("code", "code"), ("tries", "tries"), ("network", "limit")):
        keys, octets = lab.redis_delete(f"abandoned:{pattern}:*")
        memory[name] = {"keys": keys / count, "bytes": octets / count}
    entries = int(lab.redis("XLEN", "abandoned:events"))
    memory["event"] = {"keys": 0, "bytes": lab.redis_delete("abandoned:events")[1] / entries}
    lab.stop(service)
    lab.empty_inbox()
    pending = lab.sizes("abandoned")

    lab.sql("UPDATE addresses SET granted_at = granted_at - interval '8 days'", "abandoned")
    start = lab.sql("SELECT pg_current_wal_flush_lsn()")
    # So long a stream does not limit the pace.
    service = lab.serve("abandoned", CHEAP_HASH | LONG_CODES | {"EVENTS_MAXLEN": "10000000"})
    query = "SELECT (SELECT count(*) FROM users) + (SELECT count(*) FROM addresses WHERE forget_at IS NULL)"
    while lab.sql(query, "abandoned") != "0":
        time.sleep(0.5)
    lab.settled("abandoned")
    wal = lab.wal(start)["Total"]
    lab.stop(service)
    lab.sql("VACUUM FULL addresses", "abandoned")
    return {"users": count, "redis": memory, "pending_sizes": pending,
            "purge_wal": {field: value / count for field, value in wal.items()},
            "forgotten_sizes": lab.sizes("abandoned")}


def seeded(lab):
    """Table sizes of fixtures, and then on a table of a million: the hourly search, page images, and the event relay."""
    lab.create_database("seeded")
    env = {**os.environ, "DATABASE_URL": lab.database_url("seeded")}
    subprocess.run([SIXTY, "migrate", "up"], check=True, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    sizes, seeded = {}, 0
    for users in (100_000, 1_000_000):
        seed = [SIXTY, "users", "seed", "--count", str(users - seeded)]
        subprocess.run(seed, check=True, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seeded = users
        sizes[str(users)] = lab.sizes("seeded")
    # Fixtures have no MACs, mailboxes and links. In production these lie in random order.
    lab.sql("UPDATE addresses SET mac = sha256(address::bytea)", "seeded")
    lab.sql("INSERT INTO mailboxes SELECT sha256(n::text::bytea), ARRAY[now()], now() FROM generate_series(1, 300000) n",
            "seeded")
    lab.sql("""INSERT INTO not_me_links SELECT sha256(id::text::bytea), id, now() + interval '1 day' FROM users
               LIMIT 300000""", "seeded")
    lab.sql("VACUUM ANALYZE", "seeded")

    before = set(children(lab.postgres_process.pid))
    service = lab.serve("seeded", CHEAP_HASH | LONG_CODES)
    search = postgres_cpu_until_idle(lab, before)

    images = {}
    for turn, compression in enumerate(("off", "lz4")):
        lab.configure("wal_compression", compression)
        numbers, images[compression] = range(turn * 400, turn * 400 + 400), {}
        for name in ("register", "activate"):
            lab.sql("CHECKPOINT")
            start = lab.sql("SELECT pg_current_wal_flush_lsn()")
            Load([service]).run(registrations(numbers, among_fixtures) if name == "register"
                                else activations(numbers, codes, among_fixtures))
            lab.settled("seeded")
            images[compression][name] = {field: value / 400 for field, value in lab.wal(start)["Total"].items()}
            codes = lab.codes()

    events = 30_000
    before, started = counters(lab, service), time.monotonic()
    lab.sql(f"""INSERT INTO events (type, user_id, email, status, role)
                SELECT 'user.registered', gen_random_uuid(), 'somebody.' || n || '@example.com', 'pending', 'user'
                FROM generate_series(1, {events}) n""", "seeded")
    lab.settled("seeded")
    seconds = time.monotonic() - started
    relay = used(before, counters(lab, service), events) | {"events_per_second": events / seconds}
    lab.stop(service)
    return {"sizes": sizes, "search": search, "page_images": images, "relay": relay}


def among_fixtures(number):
    """Returns an address that lies between fixtures, `user123@seed.example`, in every index. 7919 is a prime."""
    return f"user{number * 7919 % 900_000 + 100_000}.{number}@seed.example"


def postgres_cpu_until_idle(lab, before):
    """Returns the CPU seconds of the sessions opened since, when they use almost none any more: the search has ended."""
    def cpu():
        sessions = set(children(lab.postgres_process.pid)) - before
        return sum(seconds for pid in sessions for _, seconds in thread_times(pid))

    last = cpu()
    while True:
        time.sleep(3)
        now = cpu()
        if now - last < 0.1:
            return {"addresses": 1_000_000, "postgres_cpu": now}
        last = now


def variants(lab, count=1500):
    """Flushes of the WAL, time in PostgreSQL and HOT updates of registrations, by default and with other settings."""
    results = {}
    for name, setting, statement in (
        ("default", "on", "SELECT"),
        ("synchronous_commit=off", "off", "SELECT"),
        ("fillfactor=90", "on", "ALTER TABLE addresses SET (fillfactor = 90)"),
    ):
        lab.configure("synchronous_commit", setting)
        database = f"variant_{len(results)}"
        lab.create_database(database)
        service = lab.serve(database, CHEAP_HASH)
        lab.sql(statement, database)
        lab.sql("SELECT pg_stat_reset_shared('wal')")
        Load([service]).run(registrations(range(count)))
        lab.settled(database)
        time.sleep(12)  # PostgreSQL reports its statistics ten seconds late.
        flushes = lab.sql("SELECT json_build_array(wal_sync) FROM pg_stat_wal")[0]
        active, hot = lab.sql(
            """SELECT json_build_array(active_time, (SELECT n_tup_hot_upd::float / n_tup_upd FROM pg_stat_user_tables
                   WHERE relname = 'addresses')) FROM pg_stat_database WHERE datname = current_database()""", database)
        results[name] = {"flushes": flushes / count, "active_ms": active / count, "hot_updates": hot}
        lab.stop(service)
        lab.empty_inbox()
    lab.configure("synchronous_commit", "on")
    return results


def long_transaction(lab, count=1000, chunks=6):
    """CPU time of PostgreSQL for a registration, while no transaction is open, and then while one stays open."""
    lab.create_database("vacuumed")
    service, results = lab.serve("vacuumed", CHEAP_HASH), {"none": [], "open": []}
    number = 0
    for name in results:
        session = None
        if name == "open":
            session = subprocess.Popen([f"{POSTGRES}/psql", "-Xq", lab.database_url("vacuumed")], stdin=subprocess.PIPE,
                                       stdout=subprocess.DEVNULL)
            session.stdin.write(b"BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM outbox;\n")
            session.stdin.flush()
        for _ in range(chunks):
            before = counters(lab, service)
            Load([service]).run(registrations(range(number, number + count)))
            lab.settled("vacuumed")
            results[name].append(used(before, counters(lab, service), count)["postgres_cpu"])
            number += count
            lab.sql("VACUUM", "vacuumed")
        if session:
            session.communicate()
    lab.stop(service)
    lab.empty_inbox()
    return {"count": count} | results


def mail(lab, latency=0.2, count=300):
    """Mails a second of one process, if the provider takes `latency` seconds for each."""
    lab.create_database("mail")
    service = lab.serve("mail", CHEAP_HASH)
    lab.set_mail_latency(int(latency * 1000))
    Load([service], clients=16).run(registrations(range(count)))
    first, started = lab.mails(), time.monotonic()
    while lab.mails() < count - 16:
        time.sleep(0.05)
    rate = (lab.mails() - first) / (time.monotonic() - started)
    lab.set_mail_latency(0)
    lab.settled("mail")
    lab.stop(service)
    lab.empty_inbox()
    return {"latency": latency, "concurrency": 32, "mails_per_second": rate}


def replicas(lab, share=0.08, count=500, rounds=6):
    """Registrations a second, mails included, of one to three processes that get a small share of a core each."""
    results, number = {1: [], 2: [], 3: []}, 0
    for turn in range(rounds):
        # Each size comes first in some rounds, and last in others.
        for size in [1, 2, 3][turn % 3:] + [1, 2, 3][:turn % 3]:
            database = f"replicas_{turn}_{size}"
            lab.create_database(database)
            services = [lab.serve(database, CHEAP_HASH, f"sixty-scale-{place}", share) for place in range(size)]
            Load(services).run(registrations(range(number, number + 150 * size)))
            lab.settled(database)
            lab.empty_inbox()
            number += 150 * size
            before, started = [counters(lab, service) for service in services], time.monotonic()
            Load(services, clients=16).run(registrations(range(number, number + count * size)))
            wait_for_mails(lab, count * size)
            seconds = time.monotonic() - started
            after = [counters(lab, service) for service in services]
            cpu = [after[place]["serve_other_cpu"] - before[place]["serve_other_cpu"] for place in range(size)]
            postgres = after[0]["postgres_cpu"] - before[0]["postgres_cpu"]
            results[size].append({
                "registrations_per_second": count * size / seconds,
                "serve_cpu": sum(cpu) / (count * size),
                "share_used": sum(cpu) / seconds / size,
                "postgres_cpu": postgres / (count * size),
            })
            number += count * size
            for place, service in enumerate(services):
                lab.stop(service)
                remove_group(f"sixty-scale-{place}")
            lab.empty_inbox()
    return {"share": share, "runs": {str(size): runs for size, runs in results.items()}}


def wait_for_mails(lab, count):
    while lab.mails() < count:
        time.sleep(0.02)


PARTS = [idle, operations, rows, variants, long_transaction, abandoned, seeded, mail, replicas]


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def rounded(value):
    if isinstance(value, dict):
        return {name: rounded(part) for name, part in value.items()}
    if isinstance(value, list):
        return [rounded(part) for part in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # leaves the contexts, which end the servers
    chosen = sys.argv[1:] or [part.__name__ for part in PARTS]
    costs = {}
    if sys.argv[1:] and os.path.exists(COSTS):
        with open(COSTS) as file:
            costs = json.load(file)
    with open("/proc/cpuinfo") as file:
        cpu = next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    costs["date"] = datetime.date.today().isoformat()
    costs["versions"] = {"sixty": output(SIXTY, "--version").split()[1],
                         "postgresql": output(f"{POSTGRES}/postgres", "--version").split()[2],
                         "redis": output("redis-server", "--version").split("v=")[1].split()[0],
                         "linux": platform.release().split("-")[0]}
    costs["hardware"] = {"cpu": cpu, "cores": os.cpu_count()}
    for part in PARTS:
        if part.__name__ in chosen:
            started = time.monotonic()
            with Lab() as lab:
                costs[part.__name__] = rounded(part(lab))
            print(f"{part.__name__}: {time.monotonic() - started:.0f} s", flush=True)
            with open(COSTS, "w") as file:
                json.dump(costs, file, indent=1)
                file.write("\n")


if __name__ == "__main__":
    main()
