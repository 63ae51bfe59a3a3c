"""What the processes use: CPU time, octets, commands and transactions."""

import glob
import re
import subprocess


def thread_times(pid):
    """Yields the name and the CPU seconds of each thread."""
    for task in glob.glob(f"/proc/{pid}/task/*"):
        try:
            with open(f"{task}/comm") as comm, open(f"{task}/schedstat") as schedstat:
                yield comm.read().strip(), int(schedstat.read().split()[0]) / 1e9
        except OSError:
            pass  # The thread has ended.


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(child) for child in file.read().split()]


def socket_bytes(pid, port):
    """Returns the octets that the process has sent and received over its open connections to a port."""
    output = subprocess.run(["ss", "-tinpHO", f"dport = :{port}"], capture_output=True, text=True).stdout
    sums = [0, 0]
    for line in output.splitlines():
        if f"pid={pid}," in line:
            for place, field in enumerate(("bytes_sent", "bytes_received")):
                match = re.search(rf"{field}:(\d+)", line)
                sums[place] += int(match[1]) if match else 0
    return sums


def counters(lab, service):
    """Returns cumulative counters. CPU is that of running processes: `psql` and autovacuum workers have ended."""
    figures = {"serve_hash_cpu": 0.0, "serve_other_cpu": 0.0}
    for name, seconds in thread_times(service.pid):
        figures["serve_hash_cpu" if name.startswith("hasher") else "serve_other_cpu"] += seconds
    postgres = [lab.postgres_process.pid, *children(lab.postgres_process.pid)]
    figures["postgres_cpu"] = sum(seconds for pid in postgres for _, seconds in thread_times(pid))
    figures["redis_cpu"] = sum(seconds for _, seconds in thread_times(lab.redis_process.pid))
    mail_port = int(lab.mail_url.rsplit(":", 1)[1])
    for name, port in (("postgres", lab.postgres_port), ("redis", lab.redis_port), ("mail", mail_port)):
        figures[f"{name}_out"], figures[f"{name}_in"] = socket_bytes(service.pid, port)
    figures["redis_commands"] = lab.redis_info("stats", "total_commands_processed")
    scripts = re.findall(r"cmdstat_eval(?:sha)?:calls=(\d+)", lab.redis("INFO", "commandstats"))
    figures["redis_scripts"] = sum(map(int, scripts))
    figures["transactions"] = float(lab.sql("SELECT txid_snapshot_xmax(txid_current_snapshot())"))
    return figures


def used(before, after, operations):
    return {name: (after[name] - before[name]) / operations for name in after}
