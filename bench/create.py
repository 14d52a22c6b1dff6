"""What making and verifying a torrent costs, Quelea beside other programs.

    python3 bench/create.py --quelea target/release/quelea [--size MIB] [--rounds N] [--readme]

One file of random bytes is hashed from the page cache by each program in turn, in rotated order. A cell is the
median of the rounds, with the least and the most in brackets. Programs that are not there are left out, and said.
The start of Python is in the figures of libtorrent.
"""

import argparse
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import measure

HERE = pathlib.Path(__file__).resolve().parent
PYTHON = "/usr/bin/python3"
PIECE_KIB = 1024

LIBTORRENT_CREATE = """
import os, sys
import libtorrent as lt
source, out, piece = sys.argv[1:]
storage = lt.file_storage()
lt.add_files(storage, source)
creator = lt.create_torrent(storage, int(piece), lt.create_torrent.v1_only)
lt.set_piece_hashes(creator, os.path.dirname(source))
open(out, "wb").write(lt.bencode(creator.generate()))
"""

LIBTORRENT_VERIFY = """
import sys, time
import libtorrent as lt
torrent, folder = sys.argv[1:]
session = lt.session({"listen_interfaces": "", "enable_dht": False, "enable_lsd": False, "enable_upnp": False,
                      "enable_natpmp": False, "alert_mask": lt.alert.category_t.status_notification,
                      "hashing_threads": len(__import__("os").sched_getaffinity(0))})
handle = session.add_torrent({"ti": lt.torrent_info(torrent), "save_path": folder})
while not handle.status().is_seeding:
    session.wait_for_alert(1000)
    session.pop_alerts()
"""


def commands(quelea, source, folder):
    """What is measured: (task, program, command) of those that are installed."""
    torrent = folder / "made.torrent"
    piece = str(PIECE_KIB << 10)
    out = lambda program: str(folder / f"{program}.torrent")
    found = [
        ("create", "quelea", [quelea, "create", str(source), "-qfo", out("quelea"), "--piece-length", piece]),
        ("verify", "quelea", [quelea, "verify", str(torrent), "-qo", str(source.parent)]),
    ]
    if shutil.which("transmission-create"):
        command = ["transmission-create", "-s", str(PIECE_KIB), "-o", out("transmission"), str(source)]
        found.append(("create", "transmission-create", command))
    if shutil.which("mktorrent"):
        exponent = str((PIECE_KIB << 10).bit_length() - 1)
        found.append(("create", "mktorrent", ["mktorrent", "-l", exponent, "-o", out("mktorrent"), str(source)]))
    if subprocess.run([PYTHON, "-c", "import libtorrent"], capture_output=True).returncode == 0:
        found.append(("create", "libtorrent", [PYTHON, "-c", LIBTORRENT_CREATE, str(source), out("libtorrent"), piece]))
        found.append(("verify", "libtorrent", [PYTHON, "-c", LIBTORRENT_VERIFY, str(torrent), str(source.parent)]))
    return found


def run(command, folder):
    """Wall and CPU seconds of a command that must succeed."""
    for old in folder.glob("*.torrent"):
        if old.name != "made.torrent":
            old.unlink()
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"failed ({process.returncode}): {command}")
    return wall, usage.ru_utime + usage.ru_stime


def cell(values, digits):
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


def table(results, gib):
    lines = ["| task | program | wall s | CPU s per GiB |", "|---|---|---|---|"]
    for (task, program), runs in results.items():
        walls, cpus = zip(*runs)
        per_gib = [cpu / gib for cpu in cpus]
        lines.append(f"| {task} | {program} | {cell(walls, 2)} | {cell(per_gib, 2)} |")
    return "\n".join(lines)


def into_readme(text):
    readme = HERE / "README.md"
    begin, end = "<!-- create: begin -->", "<!-- create: end -->"
    before, rest = readme.read_text().split(begin)
    readme.write_text(f"{before}{begin}\n{text}\n{end}{rest.split(end)[1]}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quelea", required=True, type=os.path.abspath)
    parser.add_argument("--size", type=int, default=2048, help="MiB")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", help="where the bytes are written for the time of the run")
    parser.add_argument("--readme", action="store_true", help="put the table into bench/README.md")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="quelea-bench-", dir=args.folder) as name:
        folder = pathlib.Path(name)
        source = folder / "payload" / "random.bin"
        source.parent.mkdir()
        with open(source, "wb") as file:
            for _ in range(args.size):
                file.write(os.urandom(1 << 20))
        first = ["create", str(source), "-qfo", str(folder / "made.torrent"), "--piece-length", str(PIECE_KIB << 10)]
        subprocess.run([args.quelea, *first], check=True, stdout=subprocess.DEVNULL)
        tasks = commands(args.quelea, source, folder)
        results = {(task, program): [] for task, program, _ in sorted(tasks)}
        for number in range(args.rounds):
            for task, program, command in measure.rotated(tasks, number):
                results[task, program].append(run(command, folder))
        text = table(results, args.size / 1024)
        there = {program for _, program, _ in tasks}
        absent = [program for program in ("transmission-create", "mktorrent", "libtorrent") if program not in there]
        if absent:
            text += f"\n\nNot installed: {', '.join(absent)}."
        print(text)
        if args.readme:
            into_readme(text)


main()
