#!/usr/bin/env python3
"""Downloads one torrent from one seed with Quelea and with other clients, and compares what it costs.

Everything runs on the loopback interface of a network namespace made for the run. Needs
Linux, util-linux and iproute2, and either root or unprivileged user namespaces.
See README.md beside this file for the method.
"""

import argparse
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import clients
import measure
import network
import report
import torrent
from clients import Client, Job, RunFailed

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
WHEEL = "2.1.1"
"""The release of the Python package that stands for libtorrent 2.1."""
ALL = ("quelea", "aria2", "transmission", "rqbit", "libtorrent-2.0", "libtorrent-2.1")
FIRST_PORT = 7000


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    choose = parser.add_argument_group("what runs")
    choose.add_argument(
        "--clients", default=",".join(ALL), metavar="A,B,…", help="the clients to compare (default: %(default)s)"
    )
    choose.add_argument("--rounds", type=int, default=3, metavar="N", help="turns of each client (default: %(default)s)")
    choose.add_argument("--size", type=int, default=2048, metavar="MIB", help="payload in MiB (default: %(default)s)")
    choose.add_argument("--piece", type=int, default=1024, metavar="KIB", help="piece length in KiB (default: %(default)s)")
    choose.add_argument("--files", type=int, default=1, metavar="N", help="files in the torrent (default: %(default)s)")
    choose.add_argument("--timeout", type=float, default=150, metavar="S", help="seconds for one run (default: %(default)s)")
    choose.add_argument(
        "--seed",
        choices=("libtorrent-2.0", "libtorrent-2.1"),
        default="libtorrent-2.1",
        help="the libtorrent that seeds (default: %(default)s)",
    )
    where = parser.add_argument_group("where things are")
    where.add_argument(
        "--quelea", default=str(ROOT / "target/release/quelea"), metavar="PATH", help="Quelea's binary (default: %(default)s)"
    )
    where.add_argument("--rqbit", default="rqbit", metavar="PATH", help="rqbit's binary (default: from PATH)")
    where.add_argument(
        "--work",
        type=pathlib.Path,
        default=ROOT / "target/bench",
        metavar="DIR",
        help="for the payload, the downloads and the virtual environment; twice the payload must fit (default: %(default)s)",
    )
    where.add_argument("--keep", action="store_true", help="keep the payload for the next run")
    output = parser.add_argument_group("what comes out")
    output.add_argument("--markdown", type=pathlib.Path, metavar="FILE", help="write the table to FILE")
    output.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write every figure of every run to FILE")
    output.add_argument("--check", action="store_true", help="fail when Quelea misses a goal")
    output.add_argument(
        "--readme",
        type=pathlib.Path,
        nargs="?",
        const=HERE / "README.md",
        metavar="FILE",
        help="put the table into FILE between its marks (default FILE: README.md beside this program)",
    )
    chosen = parser.parse_args()
    chosen.clients = chosen.clients.split(",")
    if unknown := set(chosen.clients) - set(ALL):
        parser.error(f"no client is called {', '.join(sorted(unknown))}; there are {', '.join(ALL)}")
    if not 1 <= chosen.rounds <= 99:
        parser.error("--rounds must be 1 to 99")
    if chosen.size < 1 or chosen.piece < 16 or not 1 <= chosen.files <= chosen.size << 10 or chosen.timeout <= 0:
        parser.error("--size needs 1 MiB, --piece 16 KiB, --files 1 and at most one a KiB, --timeout more than 0")
    chosen.work = chosen.work.resolve()
    return chosen


def wheel_python(work: pathlib.Path) -> pathlib.Path | None:
    """The Python of a virtual environment that has libtorrent 2.1; made when absent. Needs the network."""
    home = work / f"libtorrent-{WHEEL}"
    python = home / "bin/python"
    ready = home / "ready"
    if not ready.exists():
        print(f"installing libtorrent {WHEEL} into {home}", flush=True)
        try:
            subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True, timeout=120)
            subprocess.run(
                [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"libtorrent=={WHEEL}"],
                check=True,
                timeout=300,
            )
        except (OSError, subprocess.SubprocessError) as error:
            print(f"no libtorrent {WHEEL}: {error}", file=sys.stderr)
            return None
        ready.touch()
    return python


def line_up(chosen: argparse.Namespace) -> dict[str, Client]:
    """Every client that this bench knows, in the order of the table."""
    made: list[Client] = [
        clients.Quelea(chosen.quelea),
        clients.Aria2("aria2c"),
        clients.Transmission("transmission-daemon"),
        clients.Rqbit(chosen.rqbit),
        clients.Libtorrent(
            "libtorrent-2.0", "libtorrent (Debian)", "`apt install python3-libtorrent`", pathlib.Path("/usr/bin/python3")
        ),
        clients.Libtorrent(
            "libtorrent-2.1",
            "libtorrent (PyPI)",
            f"`pip install libtorrent=={WHEEL}`",
            chosen.work / f"libtorrent-{WHEEL}/bin/python",
        ),
    ]
    return {client.key: client for client in made}


class Seed:
    """The one seed of all runs."""

    def __init__(self, source: clients.Libtorrent, payload: torrent.Payload):
        self.process = measure.spawn(
            [
                str(source.python),
                str(HERE / "libtorrent_peer.py"),
                "seed",
                str(payload.torrent),
                str(payload.root),
                network.SEED,
                str(network.SEED_PORT),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if self.process.stdout.readline().strip() != "seeding":
            self.stop()
            sys.exit("the seed did not start")

    def cpu(self) -> float:
        if self.process.poll() is not None:
            sys.exit(f"the seed ended by itself with exit code {self.process.returncode}")
        return measure.cpu_of(self.process.pid)

    def stop(self) -> None:
        self.process.stdin.close()
        try:
            self.process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def drain(payload: torrent.Payload, timeout: float) -> float:
    """Warms the seed and the page cache; returns the MB/s that the seed can give."""
    done = subprocess.run(
        [
            sys.executable,
            str(HERE / "drain.py"),
            payload.info_hash,
            str(payload.length),
            str(payload.piece_length),
            network.SEED,
            str(network.SEED_PORT),
            network.CLIENT,
        ],
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    if done.returncode != 0:
        sys.exit(f"the seed serves nobody: {done.stderr.strip()}")
    return payload.length / 1e6 / float(done.stdout)


def turn(client: Client, payload: torrent.Payload, seed: Seed, work: pathlib.Path, port: int, timeout: float) -> report.Run:
    """One download by one client, compared with its source afterwards."""
    output = pathlib.Path(tempfile.mkdtemp(prefix="download-", dir=work))
    home = pathlib.Path(tempfile.mkdtemp(prefix="home-", dir=work))
    try:
        os.sync()
        began, machine, seeding, own = time.monotonic(), measure.cpu_of_machine(), seed.cpu(), time.process_time()
        try:
            figures = client.run(Job(payload, output, home, port, timeout))
        except RunFailed as error:
            return report.Run(None, str(error))
        seeder_cpu, harness_cpu = seed.cpu() - seeding, time.process_time() - own
        spent = measure.cpu_of_machine() - machine - figures.cpu - seeder_cpu - harness_cpu
        others = max(0.0, spent) / ((time.monotonic() - began) * os.cpu_count())
        if figures.crossed < payload.length:
            failure = f"only {figures.crossed} bytes crossed the interface"
        else:
            failure = torrent.difference(payload, output)
        return report.Run(None if failure else figures, failure, seeder_cpu, harness_cpu, others)
    finally:
        shutil.rmtree(output, ignore_errors=True)
        shutil.rmtree(home, ignore_errors=True)


def progress(client: Client, run: report.Run) -> None:
    if run.failure:
        print(f"  {client.key:15} FAILED: {run.failure}", flush=True)
        return
    figures = run.figures
    first = "-" if figures.first is None else f"{figures.first:.2f}"
    print(
        f"  {client.key:15} wall {figures.wall:6.2f} s  first {first:>5} s  cpu {figures.cpu:6.2f} s"
        f"  peak {figures.peak / 1024:6.0f} MiB  seed {run.seeder_cpu:5.2f} s  others {run.others:.0%}",
        flush=True,
    )


def compare(chosen: argparse.Namespace) -> report.Report:
    known = line_up(chosen)
    source = known[chosen.seed]
    if missing := source.missing():
        sys.exit(f"the seed is not installed: {missing}")
    rows = [
        report.Row(client, "" if (missing := client.missing()) else client.version(), missing)
        for client in (known[key] for key in ALL if key in chosen.clients)
    ]
    present = [row for row in rows if not row.missing]
    for row in rows:
        if row.missing:
            print(f"{row.client.title} is not installed: {row.missing}", flush=True)

    print(f"making {chosen.size} MiB in {chosen.files} file(s)", flush=True)
    payload = torrent.make(chosen.work, network.ANNOUNCE, chosen.size << 20, chosen.piece << 10, chosen.files)
    tracker = network.start_tracker()
    seed = Seed(source, payload)
    try:
        drain(payload, chosen.timeout)
        ceiling = drain(payload, chosen.timeout)
        print(f"the seed gives up to {ceiling:,.0f} MB/s", flush=True)
        starts = {row.client.version(): start_of(row.client, chosen) for row in present if isinstance(row.client, clients.Libtorrent)}
        port = FIRST_PORT
        # A virtual machine pays for memory when it is first touched: one download that nobody counts.
        if warm_up := turn(source, payload, seed, chosen.work, port, chosen.timeout).failure:
            sys.exit(f"the warm-up failed: {warm_up}")
        for number in range(chosen.rounds):
            print(f"round {number + 1} of {chosen.rounds}", flush=True)
            for row in measure.rotated(present, number):
                # Fresh ports: those of the run before may be in TIME_WAIT.
                port += 10
                run = turn(row.client, payload, seed, chosen.work, port, chosen.timeout)
                row.runs.append(run)
                progress(row.client, run)
    finally:
        seed.stop()
        tracker.shutdown()
        if not chosen.keep:
            shutil.rmtree(payload.root, ignore_errors=True)
            payload.torrent.unlink(missing_ok=True)
    command = ["python3", "bench/leech.py", *sys.argv[1:]]
    return report.Report(command, payload, chosen.rounds, source.version(), ceiling, rows, starts)


def start_of(client: clients.Libtorrent, chosen: argparse.Namespace) -> measure.Figures:
    """The median start of Python with libtorrent."""
    with tempfile.TemporaryDirectory(prefix="home-", dir=chosen.work) as home:
        job = Job(None, pathlib.Path(home), pathlib.Path(home), FIRST_PORT, chosen.timeout)
        return sorted((client.start_only(job) for _ in range(3)), key=lambda figures: figures.cpu)[1]


def main() -> None:
    chosen = arguments()
    chosen.work.mkdir(parents=True, exist_ok=True)
    if not network.inside():
        # The namespace has no way out: what comes from outside is fetched before it is entered.
        wheel_python(chosen.work)
    network.enter()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    result = compare(chosen)
    table = result.markdown()
    print(f"\n{table}", end="")
    if chosen.markdown:
        chosen.markdown.write_text(table)
    if chosen.json:
        chosen.json.write_text(result.json() + "\n")
    if chosen.readme:
        report.replace_section(chosen.readme, table)
    if any(run.failure for row in result.rows for run in row.runs):
        sys.exit("some runs failed")
    if chosen.check and not all(goal.reached for goal in result.goals()):
        sys.exit("not every goal was reached")


if __name__ == "__main__":
    main()
