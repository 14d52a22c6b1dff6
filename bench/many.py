#!/usr/bin/env python3
"""Thousands of torrents in one session: the time to start, the memory of each, the CPU while nothing happens.

    python3 bench/many.py --quelea target/release/quelea [--torrents 5000] [--rounds 3] [--readme]

Each torrent is one small file that is there already, and announces itself to one tracker, which knows nobody. Quelea and
libtorrent are libraries, so a few lines drive each (crates/engine/examples/many.rs, built here, and
libtorrent_many.py); transmission-daemon runs as it is. All are active: nobody's queue holds any back.

start     from the start of the process with what an earlier one has left, until all seed
add       the same with torrent files alone, so that the data is hashed; transmission-daemon is left out, which hashes
          some ten small torrents a second
announced from the same start, until the tracker has heard of every torrent that was added
memory    resident memory above that of the same program without a torrent, once every torrent has been announced
idle      CPU time of the half minute after that
"""

import argparse
import hashlib
import http.server
import json
import os
import pathlib
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import measure
import network
import report
from clients import RunFailed, TransmissionRpc
from torrent import bencode

HERE = pathlib.Path(__file__).resolve().parent
BEGIN, END = "<!-- many: begin -->", "<!-- many: end -->"
LENGTH, PIECE = 32 << 10, 16 << 10
IDLE = 30.0
PATIENCE = 900.0
PORT = 7000


class Tracker:
    """Answers everybody that there is nobody else, and counts whom it has heard of."""

    def __init__(self):
        self.heard = set()
        tracker = self

        class Answer(http.server.BaseHTTPRequestHandler):
            answer = bencode({"complete": 1, "incomplete": 0, "interval": 1800, "peers": b""})

            def do_GET(self):
                found = re.search(r"info_hash=([^&]*)", self.path)
                if found:
                    tracker.heard.add(found[1])
                self.send_response(200)
                self.send_header("Content-Length", str(len(self.answer)))
                self.end_headers()
                self.wfile.write(self.answer)

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            request_queue_size = 1024
            daemon_threads = True

            def handle_error(self, *_):
                """Whoever asks may be gone before it is answered."""

        self.server = Server((network.TRACKER, network.TRACKER_PORT), Answer)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def make(folder: pathlib.Path, count: int) -> None:
    """The torrent files, and their data."""
    torrents, data = folder / "torrents", folder / "data"
    torrents.mkdir()
    data.mkdir()
    noise = random.Random(7)
    for number in range(count):
        name = f"torrent-{number:05}"
        content = noise.randbytes(LENGTH)
        pieces = b"".join(hashlib.sha1(content[at : at + PIECE]).digest() for at in range(0, LENGTH, PIECE))
        info = {"length": LENGTH, "name": name, "piece length": PIECE, "pieces": pieces}
        (data / name).write_bytes(content)
        (torrents / f"{name}.torrent").write_bytes(bencode({"announce": network.ANNOUNCE, "info": info}))


class Program:
    """A program with torrents. It is told what to do by a task: add, restore, or empty."""

    key = title = ""
    adds = True

    def __init__(self, folder: pathlib.Path, home: pathlib.Path):
        self.folder = folder
        self.home = home
        self.process: subprocess.Popen | None = None
        self.began = 0.0

    def command(self, task: str, torrents: pathlib.Path, state: pathlib.Path) -> list[str]:
        raise NotImplementedError

    def start(self, task: str) -> float:
        """Starts, and waits until all torrents seed; in how many seconds they did."""
        empty = self.home / "none"
        empty.mkdir(exist_ok=True)
        torrents = empty if task == "empty" else self.folder / "torrents"
        state = self.home / ("state-empty" if task == "empty" else "state")
        self.began = time.monotonic()
        self.process = measure.spawn(
            self.command("restore" if task == "empty" else task, torrents, state),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=open(self.home / "log", "ab"),
            env={"PATH": os.environ["PATH"], "HOME": str(self.home)},
        )
        self.wait_until_ready(0 if task == "empty" else len(os.listdir(torrents)))
        return time.monotonic() - self.began

    def wait_until_ready(self, _count: int) -> None:
        if self.process.stdout.readline() != b"ready\n":
            raise RunFailed(f"{self.key} ended: {(self.home / 'log').read_text(errors='replace')[-300:]}")

    def stop(self) -> None:
        self.process.stdin.close()
        self.process.wait(PATIENCE)

    def memory(self) -> int:
        """Resident bytes that are no other process's too."""
        text = pathlib.Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        return sum(int(size) << 10 for size in re.findall(r"^Private_\w+:\s+(\d+) kB", text, re.MULTILINE))

    def cpu(self) -> float:
        return measure.cpu_of(self.process.pid)


class Quelea(Program):
    key = title = "quelea"
    program = ""

    def command(self, task, torrents, state):
        return [self.program, task, str(torrents), str(self.folder / "data"), str(state), network.CLIENT, str(PORT)]


class Libtorrent(Program):
    key = "libtorrent"

    def command(self, task, torrents, state):
        script = str(HERE / "libtorrent_many.py")
        return ["/usr/bin/python3", script, task, str(torrents), str(self.folder / "data"), str(state), network.CLIENT, str(PORT)]


class Transmission(Program):
    key = "transmission"
    adds = False

    def command(self, task, torrents, state):
        self._prepare(state, torrents)
        return ["transmission-daemon", "--foreground", "--config-dir", str(state)]

    def _prepare(self, state: pathlib.Path, torrents: pathlib.Path) -> None:
        """The state as the daemon itself would have left it, had it been given time to hash."""
        if (state / "settings.json").exists():
            return
        settings = {
            "download-dir": str(self.folder / "data"),
            "bind-address-ipv4": network.CLIENT,
            "peer-port": PORT,
            "dht-enabled": False,
            "lpd-enabled": False,
            "pex-enabled": False,
            "utp-enabled": False,
            "port-forwarding-enabled": False,
            "encryption": 0,
            "rpc-bind-address": network.CLIENT,
            "rpc-port": PORT + 1,
            "rpc-whitelist-enabled": False,
            "rpc-host-whitelist-enabled": False,
        }
        for name in ("torrents", "resume"):
            (state / name).mkdir(parents=True)
        (state / "settings.json").write_text(json.dumps(settings))
        now = int(time.time())
        for file in torrents.iterdir():
            torrent = file.read_bytes()
            info = torrent[torrent.index(b"4:info") + 6 : -1]
            name = f"{file.stem}.{hashlib.sha1(info).hexdigest()[:16]}"
            (state / "torrents" / f"{name}.torrent").write_bytes(torrent)
            resume = {
                "added-date": now,
                "destination": str(self.folder / "data"),
                "done-date": now,
                "paused": 0,
                "progress": {"blocks": "all", "time-checked": [now + 10]},
            }
            (state / "resume" / f"{name}.resume").write_bytes(bencode(resume))

    def wait_until_ready(self, count: int) -> None:
        rpc = TransmissionRpc(network.CLIENT, PORT + 1)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                # Small answers, so that asking costs the daemon little.
                if rpc.call("session-stats", {})["activeTorrentCount"] >= count:
                    break
            except OSError:
                pass
            time.sleep(0.005)
        torrents = rpc.call("torrent-get", {"fields": ["status"]})["torrents"]
        if len(torrents) != count or any(torrent["status"] != 6 for torrent in torrents):
            raise RunFailed(f"transmission-daemon has not {count} seeds")

    def stop(self) -> None:
        self.process.stdin.close()
        self.process.send_signal(signal.SIGTERM)
        self.process.stdout.read()
        self.process.wait(PATIENCE)


PROGRAMS = {kind.key: kind for kind in (Quelea, Libtorrent, Transmission)}


def wait_until_announced(tracker: Tracker, count: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while len(tracker.heard) < count:
        if time.monotonic() > deadline:
            raise RunFailed(f"{len(tracker.heard)} of {count} torrents were announced")
        time.sleep(0.02)


def run(program: Program, tracker: Tracker, count: int) -> dict[str, float]:
    figures = {}
    try:
        program.start("empty")
        time.sleep(5)
        base = program.memory()
        program.stop()
        if program.adds:
            tracker.heard.clear()
            figures["add"] = program.start("add")
            wait_until_announced(tracker, count)
            figures["announced"] = time.monotonic() - program.began
            program.stop()
        else:
            program.start("restore")
            program.stop()
        tracker.heard.clear()
        figures["start"] = program.start("restore")
        wait_until_announced(tracker, count)
        time.sleep(5)
        figures["memory"] = (program.memory() - base) / count
        before = program.cpu()
        time.sleep(IDLE)
        figures["idle"] = (program.cpu() - before) / IDLE * 100
        program.stop()
    finally:
        if program.process and program.process.poll() is None:
            program.process.kill()
            program.process.wait()
    return figures


def version(key: str) -> str:
    asked = {
        "quelea": None,
        "libtorrent": ["/usr/bin/python3", "-c", "import libtorrent; print(libtorrent.__version__)"],
        "transmission": ["transmission-daemon", "--version"],
    }[key]
    if asked is None:
        return re.search(r'^version = "(.*)"', (HERE.parent / "Cargo.toml").read_text(), re.MULTILINE)[1]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=60)
    found = re.search(r"\d+\.\d+[\w.]*", done.stdout + done.stderr)
    return found.group() if found else "?"


TITLES = {"quelea": "Quelea", "libtorrent": "libtorrent (Debian)", "transmission": "transmission-daemon"}
COLUMNS = {"start": (1, 2), "add": (1, 2), "announced": (1, 2), "memory": (1 / 1024, 2), "idle": (1, 2)}


def table(rows: dict[str, list[dict]], chosen: argparse.Namespace) -> str:
    lines = [
        f"{chosen.torrents:,} torrents. Median (least–most) of {chosen.rounds} interleaved rounds. Machine: {report.machine()}.",
        "",
        "| client | version | start s | add s | announced s | KiB a torrent | idle CPU % of a core |",
        "|---|---|---|---|---|---|---|",
    ]
    for key, runs in rows.items():
        cells = []
        for column, (factor, digits) in COLUMNS.items():
            values = [run[column] * factor for run in runs if column in run]
            if not values:
                cells.append("-")
                continue
            middle, least, most = statistics.median(values), min(values), max(values)
            cells.append(f"{middle:.{digits}f} ({least:.{digits}f}–{most:.{digits}f})")
        lines.append(f"| {TITLES[key]} | {version(key)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def is_lowest(rows: dict[str, list[dict]]) -> list[str]:
    """Where Quelea is not the lowest."""
    worse = []
    for column in COLUMNS:
        medians = {
            key: statistics.median(values)
            for key, runs in rows.items()
            if (values := [run[column] for run in runs if column in run])
        }
        own = medians.pop("quelea", None)
        worse += [f"{column}: {own:.2f} beside {other:.2f} of {key}" for key, other in medians.items() if own is None or own > other]
    return worse


def build() -> str:
    """The example that holds Quelea's torrents."""
    root = HERE.parent
    subprocess.run(["cargo", "build", "--release", "-p", "quelea", "--example", "many"], cwd=root, check=True)
    return str(root / "target/release/examples/many")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quelea", help="ignored: the example is built and run")
    parser.add_argument("--example", default=os.environ.get("QUELEA_MANY"), help="the example, where it is built already")
    parser.add_argument("--torrents", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", default=",".join(PROGRAMS))
    parser.add_argument("--readme", action="store_true", help="put the table into README.md")
    parser.add_argument("--check", action="store_true", help="fail where Quelea is not the lowest")
    chosen = parser.parse_args()
    if not network.inside():
        chosen.example = os.path.abspath(chosen.example or build())
        os.environ["QUELEA_MANY"] = chosen.example
    network.enter()
    Quelea.program = chosen.example
    rows: dict[str, list[dict]] = {key: [] for key in PROGRAMS if key in chosen.clients.split(",")}
    tracker = Tracker()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        make(folder, chosen.torrents)
        for number in range(chosen.rounds):
            print(f"round {number + 1} of {chosen.rounds}", flush=True)
            for key in measure.rotated(list(rows), number):
                home = folder / f"home-{key}"
                home.mkdir()
                figures = run(PROGRAMS[key](folder, home), tracker, chosen.torrents)
                rows[key].append(figures)
                print(f"  {key:13} {' '.join(f'{name} {value:.3f}' for name, value in figures.items())}", flush=True)
                shutil.rmtree(home)
    text = table(rows, chosen)
    print(f"\n{text}", end="")
    worse = is_lowest(rows) if "quelea" in rows else []
    for line in worse:
        print(f"not the lowest: {line}")
    if chosen.readme:
        report.replace_section(HERE / "README.md", text, BEGIN, END)
    if chosen.check and worse:
        sys.exit(1)


if __name__ == "__main__":
    main()
