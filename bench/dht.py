#!/usr/bin/env python3
"""Nodes of the DHT that are asked much: what an answer costs, and how many there are in a second.

    python3 bench/dht.py [--rounds 5] [--seconds 8] [--clients quelea,libtorrent,mainline] [--readme] [--check]

Each client runs one node (crates/engine/examples/dht_node.rs, libtorrent_dht.py, bench/nodes/src/bin/mainline.rs) in a
network of some hundred nodes, holds torrents that were announced to it, and is asked by thousands of hosts, which are one
process (bench/nodes/src/bin/load). Rust programs are built here. Whatever a client has to hold strangers off is lifted.

at 5,000/s     CPU of the client's process while it is asked so much, at moments that nobody knows
CPU us         user and system time of the client for an answer, when it is asked as much as it answers
answers/s      what that came to in a second; its asker has the other core, as far as the machine is free
"""

import argparse
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time

import measure
import network
import report
from clients import RunFailed

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
BEGIN, END = "<!-- dht: begin -->", "<!-- dht: end -->"
HOSTS = "198.18.0.0/15"
BOOTSTRAP = "198.18.0.1:7000"
TARGET, PORT = "203.0.113.1", 6881
RATE = 5000
GOAL = 10.0
"""Per cent of a core at that rate, at most."""
WINDOW = 64
"""Questions under way: fewer than the smallest buffer of a socket holds."""
PATIENCE = 90.0

TITLES = {"quelea": "Quelea", "libtorrent": "libtorrent (Debian)", "mainline": "mainline"}


class Child:
    """A program that says a line when it is ready, and ends with its standard input."""

    def __init__(self, command: list[str]):
        self.name = pathlib.Path(command[0]).name
        self.process = measure.spawn(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def line(self) -> str:
        line = self.process.stdout.readline().strip()
        if not line:
            raise RunFailed(f"{self.name} ended with {self.process.wait()}")
        return line

    def ask(self, task: str) -> str:
        self.process.stdin.write(f"{task}\n")
        self.process.stdin.flush()
        return self.line()

    def end(self) -> None:
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def commands(chosen: argparse.Namespace) -> dict[str, list[str]]:
    return {
        "quelea": [chosen.node],
        "libtorrent": ["/usr/bin/python3", "-W", "ignore", str(HERE / "libtorrent_dht.py")],
        "mainline": [str(pathlib.Path(chosen.nodes) / "mainline")],
    }


def measured(load: Child, client: Child, task: str) -> dict[str, float]:
    """Has questions asked; the figures of who asked, with the CPU seconds of who answered and of all others."""
    pid = client.process.pid
    before, machine, others = measure.cpu_of(pid), measure.cpu_of_machine(), measure.cpu_of(load.process.pid)
    began = time.monotonic()
    answer = load.ask(task)
    took = time.monotonic() - began
    figures = {name: float(value) for name, value in (pair.split("=") for pair in answer.split())}
    figures["cpu"] = measure.cpu_of(pid) - before
    rest = measure.cpu_of_machine() - machine - figures["cpu"] - (measure.cpu_of(load.process.pid) - others)
    figures["busy"] = max(0.0, rest) / took / os.cpu_count() * 100
    if not figures["answered"]:
        raise RunFailed("no question was answered")
    return figures


def run(key: str, chosen: argparse.Namespace) -> dict[str, float]:
    load = Child([str(pathlib.Path(chosen.nodes) / "load"), f"{TARGET}:{PORT}", str(chosen.members)])
    children = [load]
    try:
        client = Child([*commands(chosen)[key], TARGET, str(PORT), BOOTSTRAP])
        children.insert(0, client)
        if client.line() != "ready" or load.ask("fill") != "filled":
            raise RunFailed(f"{key} is not ready")
        load.ask(f"rate {RATE} 2")
        paced = measured(load, client, f"rate {RATE} {chosen.seconds}")
        full = measured(load, client, f"all {WINDOW} {chosen.seconds}")
    finally:
        for child in children:
            child.end()
    asked = [paced, full]
    return {
        "cpu_percent": paced["cpu"] / paced["seconds"] * 100,
        "answered_percent": paced["answered"] / paced["sent"] * 100,
        "us_at_rate": paced["cpu"] / paced["answered"] * 1e6,
        "us": full["cpu"] / full["answered"] * 1e6,
        "rate": full["answered"] / full["seconds"],
        "bytes": full["bytes"],
        "nodes": full["nodes"],
        "peers": full["peers"],
        "wrong": sum(figures["wrong"] for figures in asked),
        "busy": max(figures["busy"] for figures in asked),
    }


COLUMNS = {
    "cpu_percent": ("CPU % at 5,000/s", 1),
    "answered_percent": ("answered % of them", 2),
    "us": ("CPU us an answer", 1),
    "rate": ("answers/s", 0),
    "bytes": ("bytes an answer", 0),
    "nodes": ("nodes", 1),
    "peers": ("peers", 1),
}


def median(runs: list[dict], name: str) -> float:
    return statistics.median(run[name] for run in runs)


def version(key: str) -> str:
    if key == "libtorrent":
        asked = ["/usr/bin/python3", "-c", "import libtorrent; print(libtorrent.__version__)"]
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    manifest, pattern = {
        "quelea": (ROOT / "Cargo.toml", r'^version = "(.*)"'),
        "mainline": (HERE / "nodes/Cargo.lock", r'name = "mainline"\nversion = "(.*)"'),
    }[key]
    return re.search(pattern, manifest.read_text(), re.MULTILINE)[1]


def table(rows: dict[str, list[dict]], chosen: argparse.Namespace) -> str:
    busy = [run["busy"] for runs in rows.values() for run in runs]
    lines = [
        f"Median (least–most) of {chosen.rounds} interleaved rounds of {chosen.seconds} s. Machine: {report.machine()}.",
        f"Others used {statistics.median(busy):.0f} % of it (at most {max(busy):.0f} %).",
        "",
        f"| client | version | {' | '.join(title for title, _ in COLUMNS.values())} |",
        "|---|---|" + "---|" * len(COLUMNS),
    ]
    for key, runs in rows.items():
        cells = []
        for name, (_, digits) in COLUMNS.items():
            values = [run[name] for run in runs]
            middle, least, most = (f"{of(values):,.{digits}f}" for of in (statistics.median, min, max))
            cells.append(middle if least == most else f"{middle} ({least}–{most})")
        lines.append(f"| {TITLES[key]} | {version(key)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def missed(rows: dict[str, list[dict]]) -> list[str]:
    """The goals that are missed."""
    failures = [f"{key} gave {int(wrong)} wrong answers" for key, runs in rows.items() if (wrong := sum(run["wrong"] for run in runs))]
    if "quelea" not in rows:
        return failures
    own = rows["quelea"]
    if (percent := median(own, "cpu_percent")) >= GOAL:
        failures.append(f"{percent:.1f} % of a core at {RATE}/s, not under {GOAL:.0f}")
    if (answered := median(own, "answered_percent")) < 99.9:
        failures.append(f"{answered:.2f} % of {RATE}/s were answered")
    for key, runs in rows.items():
        if key == "quelea":
            continue
        if median(own, "us") >= median(runs, "us"):
            failures.append(f"an answer takes {median(own, 'us'):.1f} us, {median(runs, 'us'):.1f} of {key}")
        if median(own, "rate") <= median(runs, "rate"):
            failures.append(f"{median(own, 'rate'):.0f} answers a second, {median(runs, 'rate'):.0f} of {key}")
    return failures


def build() -> tuple[str, str]:
    """Quelea's node, and the folder of the other programs."""
    target = ROOT / "target/bench/nodes"
    node = ["cargo", "build", "--release", "-p", "quelea", "--example", "dht_node"]
    nodes = ["cargo", "build", "--release", "--locked", "--manifest-path", "bench/nodes/Cargo.toml", "--target-dir", str(target)]
    for command in (node, nodes):
        subprocess.run(command, cwd=ROOT, check=True)
    return str(ROOT / "target/release/examples/dht_node"), str(target / "release")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quelea", help="ignored: the example is built and run")
    parser.add_argument("--node", default=os.environ.get("QUELEA_DHT_NODE"), help="Quelea's node, where it is built already")
    parser.add_argument("--nodes", default=os.environ.get("QUELEA_DHT_NODES"), help="the folder of mainline and load, likewise")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=8, help="of each measurement")
    parser.add_argument("--members", type=int, default=400, help="nodes of the network, 512 at most")
    parser.add_argument("--clients", default=",".join(TITLES))
    parser.add_argument("--readme", action="store_true", help="put the table into README.md")
    parser.add_argument("--check", action="store_true", help="fail when a goal is missed")
    chosen = parser.parse_args()
    if not network.inside() and not (chosen.node and chosen.nodes):
        chosen.node, chosen.nodes = build()
        os.environ["QUELEA_DHT_NODE"], os.environ["QUELEA_DHT_NODES"] = chosen.node, chosen.nodes
    network.enter()
    # Every address of the hosts is this namespace's.
    for command in (["route", "add", "local", HOSTS], ["address", "add", f"{TARGET}/32"]):
        subprocess.run(["ip", *command, "dev", "lo"], check=True)
    rows: dict[str, list[dict]] = {key: [] for key in TITLES if key in chosen.clients.split(",")}
    for number in range(chosen.rounds):
        print(f"round {number + 1} of {chosen.rounds}", flush=True)
        for key in measure.rotated(list(rows), number):
            figures = run(key, chosen)
            rows[key].append(figures)
            print(f"  {key:11} {' '.join(f'{name} {value:.2f}' for name, value in figures.items())}", flush=True)
    text = table(rows, chosen)
    print(f"\n{text}", end="")
    failures = missed(rows)
    for failure in failures:
        print(f"missed: {failure}")
    if chosen.readme:
        report.replace_section(HERE / "README.md", text, BEGIN, END)
    if chosen.check and failures:
        sys.exit(1)


if __name__ == "__main__":
    main()
