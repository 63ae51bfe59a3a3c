"""Computes the tables of docs/operations/scale.md from costs.json.

    python3 benches/scale/model.py           # prints the tables
    python3 benches/scale/model.py --write   # writes them into the page
    python3 benches/scale/model.py --check   # fails if the page has other tables
"""

import json
import math
import os
import re
import statistics
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
PAGE = os.path.join(HERE, "../../docs/operations/scale.md")
with open(os.path.join(HERE, "costs.json")) as file:
    COSTS = json.load(file)

RATES = [1, 10, 1000]
USERS = [10**6, 10**8, 10**9]
# Assumptions.
ACTIVATED = 0.9            # share of the registrations that are activated
UTILISATION = 0.7          # planned load of a core
CORES = 4                  # of a process, so also its HASH_THREADS
MAIL_LATENCY = 0.2         # seconds that the provider takes for a mail
# Defaults of Sixty and PostgreSQL.
CODE_TTL, TRIES_TTL, LINK_TTL, MAILBOX_TTL = 60, 3600, 86400, 86400
PENDING_TTL, FORGET = 7 * 86400, 365 * 86400
EVENTS_MAXLEN, CONNECTIONS, MAIL_CONCURRENCY = 100_000, 10, 32
SEARCH_BATCH = 1_000_000   # addresses that each process searches in an hour
CHECKPOINT = 300           # seconds
FREEZE_MAX_AGE = 200_000_000  # transactions
PAGE_BYTES = 8192

OPERATIONS, ROWS, ABANDONED, SEEDED = (COSTS[part] for part in ("operations", "rows", "abandoned", "seeded"))
# All tables. The names of their indexes begin with these.
RELATIONS = ("not_me_links", "mailboxes", "addresses", "disowned", "events", "outbox", "users", "password_resets",
             "address_changes", "address_links")
# Tables whose rows stay for each account. The rows of the others come and go.
PERMANENT = ("users", "addresses")
# Indexes in which a new key lies anywhere.
RANDOM = ("addresses_pkey", "addresses_mac", "users_one_account", "users_address", "users_status_address",
          "users_domain_address")


def short(value, digits=2):
    """Returns a number with so many significant digits and separators of thousands."""
    if value == 0:
        return "0"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    rounded = round(value, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{rounded:,.{places}f}"


def octets(value):
    for unit in ("B", "kB", "MB", "GB", "TB", "PB"):
        if value < 999.5 or unit == "PB":
            return f"{short(value)} {unit}" if value >= 0.5 else "0"
        value /= 1000


def span(seconds):
    for unit, length in (("s", 60), ("min", 60), ("h", 48), ("days", 365 * 2)):
        if seconds < length:
            return f"{short(seconds)} {unit}"
        seconds /= {"s": 60, "min": 60, "h": 24, "days": 365}[unit]
    return f"{short(seconds)} years"


def table(head, *rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def per_user(field, source=OPERATIONS):
    """Returns the cost of a registration of which a share is activated."""
    return source["register"][field] + ACTIVATED * source["activate"][field]


def table_of(relation):
    return next(name for name in RELATIONS if relation.startswith(name))


def bytes_per_row(sizes, name, rows, kind=None):
    """Returns the octets of a table and of its indexes, or of one kind of them, for each of so many rows."""
    return sum(relation["bytes"] for relation_name, relation in sizes.items()
               if table_of(relation_name) == name and kind in (None, relation["kind"])) / rows


def account_bytes(kind=None):
    return sum(bytes_per_row(ROWS["sizes"], name, ROWS["users"], kind) for name in PERMANENT)


def random_index_pages(users):
    return users * sum(ROWS["sizes"][name]["bytes"] for name in RANDOM) / ROWS["users"] / len(RANDOM) / PAGE_BYTES


def wal(rate, users, compression="off", checkpoint=CHECKPOINT):
    """Returns the octets of WAL a second.

    After a checkpoint, the first change of a page logs the whole page. `most` is what a registration logs if each of its
    pages is changed for the first time. Of so many random pages, n registrations change 1 − e^(−n/pages).
    """
    records = sum(share * (ROWS["wal"][name]["bytes"] - ROWS["wal"][name]["fpi"])
                  for name, share in (("register", 1), ("activate", ACTIVATED), ("vacuum", 1)))
    most = per_user("fpi", SEEDED["page_images"][compression])
    pages, changed = random_index_pages(users), rate * checkpoint
    images = most * pages * -math.expm1(-changed / pages) / changed
    return rate * (records + images)


def processes(rate):
    cores = rate * (per_user("serve_hash_cpu") + per_user("serve_other_cpu"))
    return max(2, math.ceil(cores / CORES / UTILISATION))


def engines(rate):
    """Returns the costs that hold for the stores at a rate: they are cheaper under load, since work comes in batches."""
    return ROWS["busy"] if rate >= 100 else OPERATIONS


def costs_table():
    names = ("register", "activate", "read")
    def line(what, field, unit=1000, source=OPERATIONS):
        return [what, *(short(source[name][field] * unit) if name in source else "" for name in names)]
    logged = ROWS["wal"]
    return table(
        ["of one", "registration", "activation", "`GET /v1/users/me`"],
        line("`serve`: the hash, ms of CPU", "serve_hash_cpu"),
        line("`serve`: all else, ms of CPU", "serve_other_cpu"),
        line("PostgreSQL, ms of CPU, few requests at once", "postgres_cpu"),
        line("PostgreSQL, ms of CPU, under load", "postgres_cpu", source=ROWS["busy"]),
        line("Redis, ms of CPU, few requests at once", "redis_cpu"),
        line("Redis, ms of CPU, under load", "redis_cpu", source=ROWS["busy"]),
        line("Redis: scripts", "redis_scripts", 1),
        line("Redis: commands, those in scripts included", "redis_commands", 1),
        line("PostgreSQL: transactions that write", "transactions", 1),
        ["WAL without page images", *(octets(logged[name]["bytes"] - logged[name]["fpi"]) for name in names[:2]), "0"],
        ["page images, if each page is the first after a checkpoint",
         *(octets(SEEDED["page_images"]["off"][name]["fpi"]) for name in names[:2]), "0"],
        ["the same with `wal_compression=lz4`",
         *(octets(SEEDED["page_images"]["lz4"][name]["fpi"]) for name in names[:2]), "0"],
        *([what, *(octets(OPERATIONS[name][f"{peer}_out"] + OPERATIONS[name][f"{peer}_in"]) for name in names)]
          for what, peer in (("network: client", "http"), ("network: PostgreSQL", "postgres"),
                             ("network: Redis", "redis"), ("network: mail provider", "mail"))),
    )


def rates_table():
    def line(what, source, figure):
        return [what, *(figure(rate) for rate in RATES), source]
    def events(rate):
        return rate * 2  # user.registered, then user.activated or user.deleted
    def mails(rate):
        return rate * (1 + ACTIVATED)
    def traffic(peer):
        each = per_user(f"{peer}_in") + per_user(f"{peer}_out")
        return lambda rate: octets(rate * each)
    redis = ABANDONED["redis"]
    changes = sum(fields["inserted"] + fields["updated"] + fields["deleted"] for fields in ROWS["tables"].values())
    return table(
        ["registrations a second", *(f"{rate:,}" for rate in RATES), "source"],
        line("**`serve`**: cores for hashes", "costs", lambda rate: short(rate * per_user("serve_hash_cpu"))),
        line("cores for all else", "costs", lambda rate: short(rate * per_user("serve_other_cpu"))),
        line(f"processes of {CORES} cores at {UTILISATION:.0%} load", "cores ÷ 2.8, at least 2",
             lambda rate: f"{processes(rate):,}"),
        line("**PostgreSQL**: cores", "costs", lambda rate: short(rate * per_user("postgres_cpu", engines(rate)))),
        line("commits a second", "costs", lambda rate: short(rate * per_user("transactions", engines(rate)))),
        line("rows inserted, updated or deleted a second", "rows", lambda rate: short(rate * changes)),
        line("WAL a second, 10^6 users", "WAL", lambda rate: octets(wal(rate, 10**6))),
        line("WAL a second, 10^9 users", "WAL", lambda rate: octets(wal(rate, 10**9))),
        line("WAL a day, 10^9 users", "WAL", lambda rate: octets(86400 * wal(rate, 10**9))),
        line("a forced vacuum every", "`autovacuum_freeze_max_age` ÷ commits",
             lambda rate: span(FREEZE_MAX_AGE / rate / per_user("transactions", engines(rate)))),
        line("connections, at most", "processes × (`DATABASE_MAX_CONNECTIONS` + 1)",
             lambda rate: f"{processes(rate) * (CONNECTIONS + 1):,}"),
        line("of them busy, on average", "`pg_stat_database.active_time`",
             lambda rate: short(rate * ROWS["postgres_active_seconds"])),
        line("**Redis**: cores, of one", "costs", lambda rate: short(rate * per_user("redis_cpu", engines(rate)))),
        line("scripts a second", "costs", lambda rate: short(rate * per_user("redis_scripts"))),
        line("commands a second", "costs", lambda rate: short(rate * per_user("redis_commands"))),
        line("memory: codes", f"60 s × {redis['code']['bytes']:.0f} B",
             lambda rate: octets(rate * CODE_TTL * redis["code"]["bytes"])),
        line("memory: wrong guesses", f"1 h × {redis['tries']['bytes']:.0f} B",
             lambda rate: octets(rate * TRIES_TTL * redis["tries"]["bytes"])),
        line("memory: client networks, at most", f"1 h × {redis['network']['bytes']:.0f} B",
             lambda rate: octets(rate * TRIES_TTL * redis["network"]["bytes"])),
        line("memory: events", f"`EVENTS_MAXLEN` × {redis['event']['bytes']:.0f} B",
             lambda rate: octets(EVENTS_MAXLEN * redis["event"]["bytes"])),
        line("**Events** a second", "2 for each registration", lambda rate: f"{events(rate):,}"),
        line("time until the stream drops an event", "`EVENTS_MAXLEN` ÷ events",
             lambda rate: span(EVENTS_MAXLEN / events(rate))),
        line("**Mails** a second", f"1 + {ACTIVATED} for each registration", lambda rate: short(mails(rate))),
        line("mails in progress", f"mails × {MAIL_LATENCY * 1000:.0f} ms", lambda rate: short(mails(rate) * MAIL_LATENCY)),
        line("`MAIL_CONCURRENCY` of each process", f"mails in progress ÷ processes ÷ {UTILISATION}; default {MAIL_CONCURRENCY}",
             lambda rate: max(MAIL_CONCURRENCY, math.ceil(mails(rate) * MAIL_LATENCY / processes(rate) / UTILISATION))),
        line("**Network** a second: clients", "costs", traffic("http")),
        line("PostgreSQL", "costs", traffic("postgres")),
        line("Redis", "costs", traffic("redis")),
        line("mail provider", "costs", traffic("mail")),
    )


def users_table():
    tables, indexes = account_bytes("r"), account_bytes("i")
    random = sum(ROWS["sizes"][name]["bytes"] for name in RANDOM) / ROWS["users"]
    cpu = SEEDED["search"]["postgres_cpu"] / SEEDED["search"]["addresses"]
    def line(what, source, figure, each=""):
        return [what, each, *(figure(users) for users in USERS), source]
    def size(what, source, each):
        return line(what, source, lambda users: octets(users * each), octets(each))
    return table(
        ["accounts", "each", "10^6", "10^8", "10^9", "source"],
        size("tables `users` and `addresses`", "relations", tables),
        size("their indexes", "relations", indexes),
        size("together", "relations", tables + indexes),
        size("of them, indexes with keys in random order", "relations", random),
        line("10 registrations a second reach it after", f"{ACTIVATED:.0%} activate",
             lambda users: span(users / ACTIVATED / 10)),
        line("1,000 reach it after", f"{ACTIVATED:.0%} activate", lambda users: span(users / ACTIVATED / 1000)),
        line("the search for addresses without a user sees each once in", "a million an hour, each process",
             lambda users: f"{math.ceil(users / SEARCH_BATCH):,} h"),
        line("its CPU time in PostgreSQL an hour, each process", f"{short(1e6 * cpu)} s for a million",
             lambda users: f"{short(min(users, SEARCH_BATCH) * cpu)} s"),
    )


def fixtures_table():
    small, large = (SEEDED["sizes"][str(users)] for users in (100_000, 1_000_000))
    def of(sizes, users, kind):
        return sum(bytes_per_row(sizes, name, users, kind) for name in PERMANENT)
    def line(what, sizes, users):
        return [what, *(octets(of(sizes, users, kind)) for kind in ("r", "i", None))]
    return table(
        ["octets for each account", "tables", "indexes", "together"],
        line("`sixty users seed --count 100000`", small, 100_000),
        line("`sixty users seed --count 1000000`", large, 1_000_000),
        line(f"{ROWS['users']:,} people who registered and activated", ROWS["sizes"], ROWS["users"]),
    )


def relations_table():
    sizes = ROWS["sizes"]
    permanent = [name for name in sizes if table_of(name) in PERMANENT and sizes[name]["rows"] > 0]
    rows = sorted(((sizes[name]["bytes"] / ROWS["users"], name) for name in permanent), reverse=True)
    million = SEEDED["sizes"]["1000000"]
    return table(["relation", "registered", "seeded, 10^6"],
                 *([f"`{name}`", octets(value), octets(million[name]["bytes"] / 10**6)] for value, name in rows))


def transient_table():
    share = 1 - ACTIVATED
    pending = sum(bytes_per_row(ABANDONED["pending_sizes"], name, ABANDONED["users"]) for name in PERMANENT)
    forgotten = bytes_per_row(ABANDONED["forgotten_sizes"], "addresses", ABANDONED["users"])
    def line(what, lifetime, share, octets_each):
        return [what, f"{lifetime // 86400} d", octets(octets_each),
                *(octets(rate * share * lifetime * octets_each) for rate in RATES)]
    return table(
        ["rows that come and go", "lifetime", "each", *(f"{rate:,} a second" for rate in RATES)],
        line("`not_me_links`", LINK_TTL, 1, bytes_per_row(ROWS["sizes"], "not_me_links", ROWS["users"])),
        line("`mailboxes`", MAILBOX_TTL, 1, bytes_per_row(ROWS["sizes"], "mailboxes", ROWS["users"])),
        line(f"`users` and `addresses`, the {share:.0%} who do not activate (`PENDING_TTL`)", PENDING_TTL, share, pending),
        line(f"`addresses` of these {share:.0%} after the purge", FORGET, share, forgotten),
    )


def wal_table():
    def line(what, users, **settings):
        return [what, f"10^{round(math.log10(users))}",
                *(octets(wal(rate, users, **settings) / rate) for rate in RATES)]
    return table(
        ["WAL for each registration", "users", *(f"{rate:,} a second" for rate in RATES)],
        *(line("default: `checkpoint_timeout=5min`", users) for users in USERS),
        *(line("`checkpoint_timeout=30min`", users, checkpoint=1800) for users in USERS),
        *(line("`checkpoint_timeout=30min`, `wal_compression=lz4`", users, checkpoint=1800, compression="lz4")
          for users in USERS))


def variants_table():
    return table(
        ["registrations from 8 clients", "flushes of the WAL for each", "ms in PostgreSQL for each",
         "HOT share of the updates of `addresses`"],
        *([f"`{name}`" if "=" in name else name, short(variant["flushes"]), short(variant["active_ms"]),
           f"{variant['hot_updates']:.0%}"] for name, variant in COSTS["variants"].items()))


def long_transaction_table():
    figures = COSTS["long_transaction"]
    return table(
        ["PostgreSQL, ms of CPU for a registration",
         *(f"{place * figures['count']:,}" for place in range(1, len(figures["none"]) + 1))],
        *([what, *(short(1000 * value) for value in figures[name])]
          for what, name in (("no long transaction", "none"), ("one transaction stays open", "open"))))


def rows_table():
    rows = sorted(ROWS["tables"].items())
    return table(["table", "inserted", "updated", "of them HOT", "deleted"],
                 *([f"`{name}`", *(short(fields[field], 3) for field in ("inserted", "updated", "hot_updated", "deleted"))]
                   for name, fields in rows if sum(fields.values()) > 0))


def limits_table():
    """Where each part ends, in registrations a second with their activations."""
    relay, share, mails = SEEDED["relay"], 1 - ACTIVATED, 1 + ACTIVATED
    core = 1 / (per_user("serve_hash_cpu") + per_user("serve_other_cpu"))
    deletions, fitting = EVENTS_MAXLEN / 3600, 97 // (CONNECTIONS + 1)
    limits = [
        ("one core of `serve`", core, "CPU time of the hash and of all else"),
        (f"mails of one process, {MAIL_LATENCY * 1000:.0f} ms each", MAIL_CONCURRENCY / MAIL_LATENCY / mails,
         f"`MAIL_CONCURRENCY` {MAIL_CONCURRENCY} ÷ latency = {MAIL_CONCURRENCY / MAIL_LATENCY:.0f} mails a second; "
         f"measured: {short(COSTS['mail']['mails_per_second'])}"),
        ("purge at the default `EVENTS_MAXLEN`", deletions / share,
         f"{short(deletions)} deletions a second, and {share:.0%} who do not activate"),
        ("the default `max_connections` of PostgreSQL, 100", fitting * CORES * UTILISATION * core,
         f"{fitting} processes of {CORES} cores at {UTILISATION:.0%} load"),
        ("one core of Redis", 1 / per_user("redis_cpu", ROWS["busy"]), "CPU time under load"),
        ("event relay, one for all", relay["events_per_second"] / 2,
         f"{short(relay['events_per_second'])} events a second measured, 2 for each registration"),
    ]
    return table(["part", "ends at registrations a second", "source"],
                 *([part, short(rate), source] for part, rate, source in sorted(limits, key=lambda limit: limit[1])))


def idle_table():
    idle = COSTS["idle"]
    return table(["one process without requests, each second", "`serve`", "PostgreSQL", "Redis"],
                 ["ms of CPU", *(short(1000 * idle[f"{name}_cpu"]) for name in ("serve_other", "postgres", "redis"))],
                 ["network", "", *(octets(idle[f"{name}_in"] + idle[f"{name}_out"]) for name in ("postgres", "redis"))])


def replicas_table():
    runs = COSTS["replicas"]["runs"]
    def middle(size, field):
        return statistics.median(run[field] for run in runs[size])
    def line(size):
        rate = middle(size, "registrations_per_second")
        return [size, short(rate, 3), f"{rate / middle('1', 'registrations_per_second'):.2f}",
                f"{middle(size, 'share_used'):.3f}", short(1000 * middle(size, "serve_cpu")),
                short(1000 * middle(size, "postgres_cpu"))]
    return table(
        ["processes", "registrations a second", "ratio", "cores used, each", "`serve`, ms of CPU for each",
         "PostgreSQL, ms of CPU for each"],
        *(line(size) for size in runs))


def hardware():
    versions, machine = COSTS["versions"], COSTS["hardware"]
    return (f"Measured on {COSTS['date']}: Sixty {versions['sixty']}, PostgreSQL {versions['postgresql']}, Redis "
            f"{versions['redis']}, Linux {versions['linux']}, {machine['cores']} cores ({machine['cpu']}).")


TABLES = {
    "hardware": hardware, "costs": costs_table, "idle": idle_table, "rows": rows_table, "rates": rates_table,
    "users": users_table, "fixtures": fixtures_table, "relations": relations_table, "transient": transient_table,
    "wal": wal_table, "variants": variants_table, "long-transaction": long_transaction_table, "limits": limits_table,
    "replicas": replicas_table,
}


def page_with_tables(page):
    for name, make in TABLES.items():
        block = re.compile(rf"(<!-- model: {name} -->\n).*?(<!-- /model -->)", re.S)
        if not block.search(page):
            sys.exit(f"docs/operations/scale.md has no block {name}")
        page = block.sub(lambda match: f"{match[1]}\n{make()}\n\n{match[2]}", page)
    return page


def main():
    if sys.argv[1:] not in ([], ["--write"], ["--check"]):
        sys.exit(__doc__)
    if not sys.argv[1:]:
        for name, make in TABLES.items():
            print(f"{name}\n\n{make()}\n")
        return
    with open(PAGE, encoding="utf-8") as file:
        page = file.read()
    current = page_with_tables(page)
    if sys.argv[1] == "--write":
        with open(PAGE, "w", encoding="utf-8") as file:
            file.write(current)
    elif page != current:
        sys.exit("docs/operations/scale.md is not up to date: run python3 benches/scale/model.py --write")


if __name__ == "__main__":
    main()
