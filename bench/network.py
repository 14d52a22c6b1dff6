"""A network namespace of our own, and the tracker that lives in it.

Seed, tracker and client have an address each on the loopback interface of an unnamed
namespace. Nothing can leave it, nothing else is counted on its interface, and the kernel
removes it with the last process in it, however that process ends. The addresses are not in
127/8 because transmission 3.00 drops those when a tracker names them.
"""

import http.server
import os
import socket
import subprocess
import sys
import threading

from torrent import bencode

SEED = "10.99.0.1"
CLIENT = "10.99.0.2"
TRACKER = "10.99.0.3"
TRACKER_PORT = 6969
SEED_PORT = 6881
ANNOUNCE = f"http://{TRACKER}:{TRACKER_PORT}/announce"

INSIDE = "QUELEA_BENCH_NAMESPACE"


def member(number: int) -> str:
    """The address of a swarm's member: the first one is the seed."""
    return f"10.99.{1 + number // 200}.{1 + number % 200}"


def add_members(count: int) -> None:
    """Gives the namespace the addresses of `count` members."""
    for number in range(count):
        subprocess.run(["ip", "address", "add", f"{member(number)}/16", "dev", "lo"], check=True)


def inside() -> bool:
    """Whether this process runs in the namespace that `enter` made."""
    return os.environ.get(INSIDE) == str(os.getpid())


def enter() -> None:
    """Starts this program again inside a new network namespace; returns once inside."""
    if inside():
        for command in (
            ["ip", "link", "set", "lo", "up"],
            *(["ip", "address", "add", f"{address}/24", "dev", "lo"] for address in (SEED, CLIENT, TRACKER)),
        ):
            subprocess.run(command, check=True)
        return
    # `unshare` without --fork keeps the process id: the variable can't be inherited by accident.
    os.environ[INSIDE] = str(os.getpid())
    as_root = [] if os.geteuid() == 0 else ["--map-root-user"]
    command = ["unshare", "--net", *as_root, "--", sys.executable, *sys.argv]
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit(f"cannot start unshare ({error}): install util-linux")


class _Announce(http.server.BaseHTTPRequestHandler):
    """Every announce gets the seed's address in the compact form (BEP 23)."""

    protocol_version = "HTTP/1.1"
    answer = bencode(
        {
            "complete": 1,
            "incomplete": 0,
            "interval": 1800,
            "peers": socket.inet_aton(SEED) + SEED_PORT.to_bytes(2, "big"),
        }
    )

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(self.answer)))
        self.send_header("Connection", "close")
        self.end_headers()
        try:
            self.wfile.write(self.answer)
        except ConnectionError:
            # A client that says "stopped" need not wait for the answer.
            pass

    def log_message(self, format, *arguments):
        pass


def start_tracker() -> http.server.ThreadingHTTPServer:
    """The HTTP tracker, in a thread of this process."""
    server = http.server.ThreadingHTTPServer((TRACKER, TRACKER_PORT), _Announce)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="tracker", daemon=True).start()
    return server


def bytes_crossed() -> int:
    """Bytes that the namespace's loopback interface has received since it exists."""
    with open("/proc/net/dev") as table:
        for line in table:
            interface, _, counters = line.partition(":")
            if interface.strip() == "lo":
                return int(counters.split()[0])
    raise OSError("/proc/net/dev names no lo")
