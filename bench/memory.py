#!/usr/bin/env python3
"""What a download of long pieces takes of memory: the peak resident size, beside the limit that Quelea was given.

    python3 bench/memory.py --quelea target/release/quelea [--size 100G] [--piece 16M] [--max-memory 64M] [--readme]

A torrent of zeros: all its pieces have one hash, so the torrent file is made at once, and the seed's file is a hole.
The leech receives, hashes and writes every byte of it, as of any other torrent. What it has written is punched out
of its file meanwhile, which leaves the file as it is (a hole reads as zeros) and the disk empty: 100 GiB need no
room. The seed is a Quelea with the same limit. Needs Linux, and a file system that has holes (ext4, XFS, btrfs, tmpfs).
"""

import argparse
import ctypes
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time

from torrent import bencode

HERE = pathlib.Path(__file__).resolve().parent
KEEP_SIZE, PUNCH_HOLE = 1, 2
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


def size(text):
    """Bytes of a number with the suffix K, M or G."""
    found = re.fullmatch(r"(\d+)([KMG])", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text} is no size such as 64M or 100G")
    return int(found[1]) << {"K": 10, "M": 20, "G": 30}[found[2]]


def make(folder, length, piece_length):
    """The torrent file of `length` zeros, and the hole that is its content."""
    pieces, rest = divmod(length, piece_length)
    hashes = hashlib.sha1(bytes(piece_length)).digest() * pieces
    if rest:
        hashes += hashlib.sha1(bytes(rest)).digest()
    info = {"length": length, "name": "zeros", "piece length": piece_length, "pieces": hashes}
    torrent = folder / "zeros.torrent"
    torrent.write_bytes(bencode({"info": info}))
    (folder / "seed").mkdir()
    with open(folder / "seed/zeros", "wb") as file:
        file.truncate(length)
    return torrent


def start(command, folder, **more):
    kept = {key: os.environ[key] for key in ("PATH", "LANG") if key in os.environ}
    return subprocess.Popen(command, cwd=folder, env={**kept, "HOME": str(folder)}, text=True, **more)


class Watch:
    """Follows the memory of a process from a thread of its own until it ends, and calls `meanwhile` now and then."""

    def __init__(self, process, meanwhile=lambda: None):
        self.status = pathlib.Path(f"/proc/{process.pid}/status")
        self.meanwhile = meanwhile
        self.peak = self.anonymous = 0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.over.wait(0.05):
            try:
                text = self.status.read_text()
            except OSError:
                return
            found = dict(re.findall(r"^(VmHWM|RssAnon):\s+(\d+) kB", text, re.MULTILINE))
            self.peak = max(self.peak, int(found.get("VmHWM", 0)) << 10)
            self.anonymous = max(self.anonymous, int(found.get("RssAnon", 0)) << 10)
            self.meanwhile()

    def stop(self):
        self.over.set()
        self.thread.join()


def punch(path, length):
    """Gives the space of the file back to the disk. It is all zeros, with or without."""
    try:
        file = os.open(path, os.O_WRONLY)
    except FileNotFoundError:
        return
    try:
        if LIBC.fallocate(file, KEEP_SIZE | PUNCH_HOLE, 0, length) != 0:
            raise OSError(ctypes.get_errno(), "no hole can be punched there", str(path))
    finally:
        os.close(file)


def measure(args, folder):
    """Downloads once. The leech's JSON at the end, its usage, its watch and the seed's."""
    torrent = make(folder, args.size, args.piece)
    limit = ["--max-memory", f"{args.max_memory >> 20}M", "--bind", "127.0.0.1", "--port", "0", "--no-dht", "--no-lsd"]
    seed = start(
        [args.quelea, torrent, "-o", "seed", "--seed", "-v", "--no-port-map", "--state-dir", "seed-state", *limit],
        folder,
        stderr=subprocess.PIPE,
    )
    seed_watch = Watch(seed)
    try:
        told, port = "", None
        while port is None or "complete" not in told:
            line = seed.stderr.readline()
            if not line:
                sys.exit(f"the seed ended: {told}")
            told += line
            port = port or (found := re.search(r"listening port=(\d+)", line)) and found[1]
        threading.Thread(target=seed.stderr.read, daemon=True).start()
        began = time.monotonic()
        leech = start(
            [args.quelea, torrent, "-o", "out", "--peer", f"127.0.0.1:{port}", "--json", "--quiet", "--no-port-map"]
            + ["--state-dir", "state", *limit],
            folder,
            stdout=subprocess.PIPE,
        )
        output = folder / "out/zeros"
        watch = Watch(leech, lambda: punch(output, args.size))
        completed = None
        shown = began
        for line in leech.stdout:
            event = json.loads(line)
            if event["event"] == "completed":
                completed = event
            if event["event"] == "progress" and time.monotonic() - shown > 5:
                shown = time.monotonic()
                print(f"{event['wanted_have'] >> 30} GiB, peak {watch.peak / 2**20:.1f} MiB", file=sys.stderr, flush=True)
            if event["event"] in ("failed", "paused", "warning"):
                print(line, file=sys.stderr, end="")
            if time.monotonic() - began > args.timeout:
                leech.kill()
                sys.exit(f"not complete after {args.timeout:.0f} s")
        _, status, usage = os.wait4(leech.pid, 0)
        leech.returncode = os.waitstatus_to_exitcode(status)
        wall = time.monotonic() - began
        watch.stop()
    finally:
        seed_watch.stop()
        seed.kill()
        seed.wait()
    if leech.returncode != 0 or completed is None or completed["downloaded"] < args.size:
        sys.exit(f"the download failed ({leech.returncode}): {completed}")
    if output.stat().st_size != args.size:
        sys.exit(f"the file has {output.stat().st_size} bytes")
    return wall, usage, watch, seed_watch


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quelea", required=True, type=os.path.abspath)
    parser.add_argument("--size", type=size, default="100G", help="of the torrent (default: %(default)s)")
    parser.add_argument("--piece", type=size, default="16M")
    parser.add_argument("--max-memory", type=size, default="64M")
    parser.add_argument("--timeout", type=float, default=1500, metavar="S", help="seconds for the download")
    parser.add_argument("--folder", help="where the files stand for the time of the run")
    parser.add_argument("--readme", action="store_true", help="put the table into bench/README.md")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="quelea-bench-", dir=args.folder) as name:
        wall, usage, watch, seed = measure(args, pathlib.Path(name))
    # The system's own count, taken when the process has ended, cannot have missed a moment between two samples.
    peak = max(watch.peak, usage.ru_maxrss << 10)
    cpu = (usage.ru_utime + usage.ru_stime) / (args.size / 2**30)
    mib = lambda count: f"{count / 2**20:.1f}"
    text = "\n".join(
        [
            "| torrent GiB | piece MiB | limit MiB | peak MiB | anonymous MiB | MiB/s | CPU s/GiB | seed's peak MiB |",
            "|---|---|---|---|---|---|---|---|",
            f"| {args.size / 2**30:g} | {args.piece / 2**20:g} | {mib(args.max_memory)} | {mib(peak)} "
            f"| {mib(watch.anonymous)} | {args.size / 2**20 / wall:.0f} | {cpu:.2f} | {mib(seed.peak)} |",
        ]
    )
    print(text)
    if args.readme:
        readme = HERE / "README.md"
        begin, end = "<!-- memory: begin -->", "<!-- memory: end -->"
        before, rest = readme.read_text().split(begin)
        readme.write_text(f"{before}{begin}\n{text}\n{end}{rest.split(end)[1]}")
    if peak > args.max_memory:
        sys.exit(f"the peak of {mib(peak)} MiB is above the limit of {mib(args.max_memory)} MiB")


main()
