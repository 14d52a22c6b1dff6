#!/usr/bin/env python3
"""How long a swarm of one client takes until the last of its members has everything, beside other clients' swarms.

One seed and N leechers of the same client, each with the same limit for its uplink, set by the client's own option.
No distribution can end before the fluid limit: max(F/u_s, N*F/(u_s + N*u)) for a file of F bytes, a seed that sends
u_s bytes a second and N leechers that send u each.

Everything runs on the loopback interface of a network namespace made for the run, an address for each member. Needs
Linux, util-linux and iproute2, and either root or unprivileged user namespaces.
"""

import argparse
import http.server
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

import leech
import measure
import members
import network
import report
import torrent
from clients import RunFailed

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
ALL = ("quelea", "aria2", "transmission", "libtorrent-2.0", "libtorrent-2.1")
TITLES = {
    "quelea": "Quelea",
    "aria2": "aria2",
    "transmission": "transmission-daemon",
    "libtorrent-2.0": "libtorrent (Debian)",
    "libtorrent-2.1": "libtorrent (PyPI)",
}
BEGIN = "<!-- swarm: begin -->"
END = "<!-- swarm: end -->"
GOAL = 1.25
"""The last completion of Quelea's swarm, as a multiple of the fluid limit."""
POLL = 0.005


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", default=",".join(ALL), metavar="A,B,…", help="whose swarms (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="swarms of each client (default: %(default)s)")
    parser.add_argument("--leechers", type=int, default=8, metavar="N", help="leechers in a swarm (default: %(default)s)")
    parser.add_argument("--size", type=int, default=64, metavar="MIB", help="payload in MiB (default: %(default)s)")
    parser.add_argument("--piece", type=int, default=256, metavar="KIB", help="piece length in KiB (default: %(default)s)")
    parser.add_argument("--uplink", type=int, default=8, metavar="MIB", help="MiB a second of each (default: %(default)s)")
    parser.add_argument("--timeout", type=float, default=120, metavar="S", help="seconds for one swarm (default: %(default)s)")
    parser.add_argument(
        "--quelea", default=str(ROOT / "target/release/quelea"), metavar="PATH", help="Quelea's binary (default: %(default)s)"
    )
    parser.add_argument(
        "--work",
        type=pathlib.Path,
        default=ROOT / "target/bench",
        metavar="DIR",
        help="for payload and downloads (default: %(default)s)",
    )
    parser.add_argument("--keep-logs", action="store_true", help="keep the members' homes and say where they are")
    parser.add_argument("--check", action="store_true", help="fail when Quelea misses its goal")
    parser.add_argument("--readme", action="store_true", help="put the table into README.md beside this program")
    chosen = parser.parse_args()
    chosen.clients = chosen.clients.split(",")
    if unknown := set(chosen.clients) - set(ALL):
        parser.error(f"no client is called {', '.join(sorted(unknown))}; there are {', '.join(ALL)}")
    if not (1 <= chosen.rounds <= 99 and 1 <= chosen.leechers <= 100 and chosen.size >= 1 and chosen.uplink >= 1):
        parser.error("--rounds must be 1 to 99, --leechers 1 to 100, --size and --uplink at least 1")
    chosen.work = chosen.work.resolve()
    return chosen


def fluid_limit(size: int, uplink: int, leechers: int) -> float:
    """Seconds below which no scheme can bring `size` bytes to everybody when all send `uplink` bytes a second."""
    return max(size / uplink, leechers * size / (uplink + leechers * uplink))


class Tracker:
    """An HTTP tracker that names every member to every member, and knows who says that it seeds."""

    def __init__(self):
        self.lock = threading.Lock()
        self.known: dict[tuple[str, int], bool] = {}
        tracker = self

        class Announce(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                asked = urllib.parse.urlsplit(self.path)
                if asked.path != "/announce":
                    self.send_error(404)
                    return
                query = urllib.parse.parse_qs(asked.query)
                me = (self.client_address[0], int(query["port"][0]))
                answer = tracker.answer(me, query.get("left", ["1"])[0] == "0", query.get("event", [""])[0])
                self.send_response(200)
                self.send_header("Content-Type", "text/plain")
                self.send_header("Content-Length", str(len(answer)))
                self.send_header("Connection", "close")
                self.end_headers()
                try:
                    self.wfile.write(answer)
                except ConnectionError:
                    pass

            def log_message(self, format, *arguments):
                pass

        self.server = http.server.ThreadingHTTPServer((network.TRACKER, network.TRACKER_PORT), Announce)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, name="tracker", daemon=True).start()

    def answer(self, me: tuple[str, int], is_seed: bool, event: str) -> bytes:
        with self.lock:
            if event == "stopped":
                self.known.pop(me, None)
            else:
                self.known[me] = is_seed
            others = [other for other in self.known if other != me]
            seeds = sum(self.known.values())
            count = len(self.known)
        peers = b"".join(socket.inet_aton(address) + port.to_bytes(2, "big") for address, port in others)
        return torrent.bencode({"complete": seeds, "incomplete": count - seeds, "interval": 1800, "peers": peers})

    def has_seed(self) -> bool:
        with self.lock:
            return any(self.known.values())

    def forget(self) -> None:
        with self.lock:
            self.known.clear()

    def stop(self) -> None:
        self.server.shutdown()


def member(key: str, part: members.Part) -> members.Member:
    if key.startswith("libtorrent"):
        return members.Libtorrent(part)
    return {"quelea": members.Quelea, "aria2": members.Aria2, "transmission": members.Transmission}[key](part)


class Swarm:
    """What one swarm did: seconds until each leecher had everything, and CPU seconds of all members."""

    def __init__(self, times: list[float], cpu: float, failure: str | None):
        self.times = times
        self.cpu = cpu
        self.failure = failure


def run(key: str, payload: torrent.Payload, tracker: Tracker, chosen: argparse.Namespace, port: int) -> Swarm:
    """One swarm of one client."""
    work = pathlib.Path(tempfile.mkdtemp(prefix=f"swarm-{key}-", dir=chosen.work))
    tracker.forget()
    crowd: list[members.Member] = []
    try:
        for number in range(chosen.leechers + 1):
            home, output = work / f"home-{number}", work / f"output-{number}"
            home.mkdir()
            seeds = number == 0
            if seeds:
                shutil.copytree(payload.root, output)
            else:
                output.mkdir()
            part = members.Part(payload, network.member(number), port, output, home, chosen.uplink << 20, seeds)
            crowd.append(member(key, part))
        seed, leechers = crowd[0], crowd[1:]
        seed.prepare()
        seed.join()
        deadline = time.monotonic() + chosen.timeout
        while not tracker.has_seed():
            seed.is_done()
            if time.monotonic() > deadline:
                return Swarm([], 0.0, "the seed did not announce itself")
            time.sleep(0.05)
        for one in leechers:
            one.prepare()
        os.sync()
        cpu = sum(one.cpu() for one in crowd)
        began = time.monotonic()
        for one in leechers:
            one.join()
        times: dict[int, float] = {}
        while len(times) < len(leechers):
            for number, one in enumerate(leechers):
                if number not in times and one.is_done():
                    times[number] = time.monotonic() - began
            if time.monotonic() - began > chosen.timeout:
                return Swarm(sorted(times.values()), 0.0, f"only {len(times)} of {len(leechers)} were complete in time")
            time.sleep(POLL)
        cpu = sum(one.cpu() for one in crowd) - cpu
    except RunFailed as error:
        return Swarm([], 0.0, str(error))
    finally:
        for one in crowd:
            one.end()
        if chosen.keep_logs:
            print(f"  logs are in {work}", flush=True)
        failure = None
    for one in leechers:
        failure = failure or wrong(payload, one.part.output)
    if not chosen.keep_logs:
        shutil.rmtree(work, ignore_errors=True)
    return Swarm(sorted(times.values()), cpu, failure)


def wrong(payload: torrent.Payload, output: pathlib.Path) -> str | None:
    """What a member's copy has wrong; files that a client keeps beside it are its own affair."""
    difference = torrent.difference(payload, output)
    return None if difference and difference.endswith("was left behind") else difference


def table(rows: dict[str, list[Swarm]], chosen: argparse.Namespace, limit: float) -> str:
    lines = [
        f"One seed and {chosen.leechers} leechers of one client, {chosen.size} MiB in pieces of {chosen.piece} KiB, each"
        f" sends at most {chosen.uplink} MiB/s. The fluid limit is {limit:.1f} s. Median (least–most) of"
        f" {chosen.rounds} rounds.",
        "",
        f"Machine: {report.machine()}.",
        "",
        "| swarm of | last complete s | of the limit | first complete s | mean s | CPU s, all members | note |",
        "|---|---|---|---|---|---|---|",
    ]
    for key, swarms in rows.items():
        good = [swarm for swarm in swarms if not swarm.failure]
        failures = sorted({swarm.failure for swarm in swarms if swarm.failure})
        note = f"{len(failures)} failed: {'; '.join(failures)}" if failures else ""
        if not good:
            lines.append(f"| {TITLES[key]} | | | | | | {note} |")
            continue
        last = [swarm.times[-1] for swarm in good]
        lines.append(
            f"| {TITLES[key]} | {spread(last)} | {statistics.median(last) / limit:.2f}"
            f" | {spread([swarm.times[0] for swarm in good])} | {spread([statistics.mean(swarm.times) for swarm in good])}"
            f" | {spread([swarm.cpu for swarm in good])} | {note} |"
        )
    return "\n".join(lines) + "\n"


def spread(values: list[float]) -> str:
    middle = f"{statistics.median(values):.2f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.2f}–{max(values):.2f})"


def main() -> None:
    chosen = arguments()
    chosen.work.mkdir(parents=True, exist_ok=True)
    if not network.inside() and "libtorrent-2.1" in chosen.clients:
        # The namespace has no way out: what comes from outside is fetched before it is entered.
        leech.wheel_python(chosen.work)
    network.enter()
    network.add_members(chosen.leechers + 1)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    members.Quelea.program = os.path.abspath(chosen.quelea)
    pythons = {"libtorrent-2.0": pathlib.Path("/usr/bin/python3"), "libtorrent-2.1": chosen.work / f"libtorrent-{leech.WHEEL}/bin/python"}
    payload = torrent.make(chosen.work, network.ANNOUNCE, chosen.size << 20, chosen.piece << 10, 1)
    tracker = Tracker()
    limit = fluid_limit(chosen.size, chosen.uplink, chosen.leechers)
    rows: dict[str, list[Swarm]] = {key: [] for key in ALL if key in chosen.clients}
    port = 7000
    try:
        for number in range(chosen.rounds):
            print(f"round {number + 1} of {chosen.rounds}", flush=True)
            for key in rows:
                port += 10
                members.Libtorrent.python = pythons.get(key)
                swarm = run(key, payload, tracker, chosen, port)
                rows[key].append(swarm)
                said = f"FAILED: {swarm.failure}" if swarm.failure else " ".join(f"{at:.2f}" for at in swarm.times)
                print(f"  {key:15} {said}", flush=True)
    finally:
        tracker.stop()
        shutil.rmtree(payload.root, ignore_errors=True)
        payload.torrent.unlink(missing_ok=True)
    text = table(rows, chosen, limit)
    print(f"\n{text}", end="")
    if chosen.readme:
        report.replace_section(HERE / "README.md", text, BEGIN, END)
    if any(swarm.failure for swarms in rows.values() for swarm in swarms):
        sys.exit("some swarms failed")
    ours = [swarm.times[-1] for swarm in rows.get("quelea", [])]
    if chosen.check and ours and statistics.median(ours) > GOAL * limit:
        sys.exit(f"Quelea's swarm took more than {GOAL} times the fluid limit")


if __name__ == "__main__":
    main()
