"""How each client is started, told what to fetch, and seen to be done.

All get the same torrent file and hear of the seed from its tracker; all run with DHT, local
discovery, peer exchange, port mapping, uTP and encryption off, and otherwise with their own
defaults. Each runs in a fresh home directory.
"""

import base64
import dataclasses
import http.client
import json
import os
import pathlib
import re
import shutil
import subprocess
import time

from measure import Figures, Process
from network import CLIENT
from torrent import Payload

HERE = pathlib.Path(__file__).parent
GRACE = 20.0
"""Seconds that a client gets to end by itself."""


class RunFailed(Exception):
    """The client did not do what it was started for."""


@dataclasses.dataclass
class Job:
    """One download to do."""

    payload: Payload
    output: pathlib.Path
    home: pathlib.Path
    """An empty directory for configuration, state and logs."""
    port: int
    timeout: float


def _done_file(job: Job) -> pathlib.Path:
    """Appears when the client runs the script of `_done_script`."""
    return job.home / "done"


def _done_script(job: Job) -> pathlib.Path:
    """What a client that can run a script at completion is given to run."""
    script = job.home / "when-done"
    script.write_text(f"#!/bin/sh\n: >'{_done_file(job)}'\n")
    script.chmod(0o755)
    return script


def _start(command: list[str], job: Job) -> Process:
    """The client in an environment that no user's settings reach, its output in a log."""
    kept = {key: os.environ[key] for key in ("PATH", "LANG") if key in os.environ}
    with open(job.home / "log", "wb") as log:
        return Process.start(
            command, stdout=log, stderr=log, cwd=job.home, env={**kept, "HOME": str(job.home)}
        )


def _log_tail(home: pathlib.Path) -> str:
    lines = (home / "log").read_text(errors="replace").strip().splitlines()
    return " | ".join(lines[-3:])[-300:]


class Client:
    """A client that may be installed or not."""

    key: str
    title: str
    install: str
    wall_from = "process start"

    def missing(self) -> str | None:
        """How to install it, when it is not there."""
        raise NotImplementedError

    def version(self) -> str:
        raise NotImplementedError

    def run(self, job: Job) -> Figures:
        raise NotImplementedError


class Program(Client):
    """A client that is one executable file."""

    def __init__(self, program: str | None):
        found = program and shutil.which(program)
        # Clients run in folders of their own, where a path from here would lead elsewhere.
        self.program = found and os.path.abspath(found)

    def missing(self) -> str | None:
        return None if self.program else self.install

    def version(self) -> str:
        try:
            done = subprocess.run([self.program, "--version"], capture_output=True, text=True, timeout=20)
        except (OSError, subprocess.SubprocessError):
            return "?"
        found = re.search(r"\d+\.\d+[\w.+-]*", done.stdout + done.stderr)
        return found.group() if found else "?"

    def command(self, job: Job) -> list[str]:
        raise NotImplementedError


class OneShot(Program):
    """A program that downloads and ends when the torrent is complete."""

    def run(self, job: Job) -> Figures:
        done = _done_file(job)
        process = _start(self.command(job), job)
        deadline = process.started + job.timeout
        in_time = process.watch(deadline, done.exists)
        wall = time.monotonic() - process.started
        if in_time:
            in_time = process.watch(deadline)
        process.end(GRACE)
        if not in_time:
            raise RunFailed(f"not complete and ended after {job.timeout:.0f} s")
        if process.exit_code != 0:
            raise RunFailed(f"exit code {process.exit_code}: {_log_tail(job.home)}")
        process.figures.wall = wall
        process.figures.first = process.first_since(process.started)
        return process.figures


class Quelea(OneShot):
    key = "quelea"
    title = "Quelea"
    install = "`cargo build --release -p quelea-cli`"

    def command(self, job: Job) -> list[str]:
        return [
            self.program,
            str(job.payload.torrent),
            "--output-dir",
            str(job.output),
            "--bind",
            CLIENT,
            "--port",
            str(job.port),
            "--no-pex",
            "--no-lsd",
            "--no-port-map",
            "--quiet",
            "--no-dht",
        ]


class Aria2(OneShot):
    key = "aria2"
    title = "aria2"
    install = "`apt install aria2`"

    def command(self, job: Job) -> list[str]:
        return [
            self.program,
            "--no-conf",
            "--quiet",
            f"--dir={job.output}",
            f"--interface={CLIENT}",
            f"--listen-port={job.port}",
            "--seed-time=0",
            # The default writes the whole file once with zeros.
            "--file-allocation=none",
            "--enable-dht=false",
            "--enable-dht6=false",
            "--bt-enable-lpd=false",
            "--enable-peer-exchange=false",
            "--bt-require-crypto=false",
            "--bt-min-crypto-level=plain",
            f"--on-bt-download-complete={_done_script(job)}",
            str(job.payload.torrent),
        ]


class Rqbit(OneShot):
    key = "rqbit"
    title = "rqbit"
    install = (
        "`CARGO_PROFILE_RELEASE_LTO=thin CARGO_PROFILE_RELEASE_PANIC=abort cargo install rqbit"
        " --locked --no-default-features --features default-tls`"
    )

    def command(self, job: Job) -> list[str]:
        return [
            self.program,
            "-v",
            "error",
            "--disable-dht",
            "--disable-lsd",
            "--disable-upnp-port-forward",
            f"--listen-ip={CLIENT}",
            f"--listen-port={job.port}",
            "download",
            "--exit-on-finish",
            "--disable-http-api",
            f"--output-folder={job.output}",
            str(job.payload.torrent),
        ]


class Transmission(Program):
    """A daemon: told over RPC what to fetch, and seen to be done by the script that it runs then."""

    key = "transmission"
    title = "transmission-daemon"
    install = "`apt install transmission-daemon`"
    wall_from = "add"

    def command(self, job: Job) -> list[str]:
        return [self.program, "--foreground", "--config-dir", str(job.home)]

    def run(self, job: Job) -> Figures:
        done = _done_file(job)
        rpc_port = job.port + 1
        settings = self._settings(job, _done_script(job), rpc_port)
        (job.home / "settings.json").write_text(json.dumps(settings))
        process = _start(self.command(job), job)
        try:
            rpc = _answering(rpc_port, process)
            metainfo = base64.b64encode(job.payload.torrent.read_bytes()).decode()
            added = process.mark()
            rpc.call("torrent-add", {"metainfo": metainfo})
            in_time = process.watch(added + job.timeout, done.exists)
            wall = time.monotonic() - added
            first = process.first_since(added)
            if process.exit_code is not None:
                raise RunFailed(f"exit code {process.exit_code}: {_log_tail(job.home)}")
        finally:
            process.end(GRACE)
        if not in_time:
            raise RunFailed(f"not complete after {job.timeout:.0f} s")
        process.figures.wall = wall
        process.figures.first = first
        return process.figures

    @staticmethod
    def _settings(job: Job, script: pathlib.Path, rpc_port: int) -> dict:
        return {
            "download-dir": str(job.output),
            "bind-address-ipv4": CLIENT,
            "peer-port": job.port,
            "dht-enabled": False,
            "lpd-enabled": False,
            "pex-enabled": False,
            "utp-enabled": False,
            "port-forwarding-enabled": False,
            "encryption": 0,
            "rpc-bind-address": CLIENT,
            "rpc-port": rpc_port,
            "rpc-whitelist-enabled": False,
            "rpc-host-whitelist-enabled": False,
            "script-torrent-done-enabled": True,
            "script-torrent-done-filename": str(script),
        }


def _answering(port: int, process: Process) -> "TransmissionRpc":
    """The RPC of a daemon that was just started, once it answers."""
    rpc = TransmissionRpc(CLIENT, port)
    while True:
        try:
            rpc.call("session-get", {})
            return rpc
        except OSError:
            if process.watch(time.monotonic() + 0.05) or time.monotonic() > process.started + GRACE:
                raise RunFailed("transmission-daemon does not answer its RPC port") from None


class TransmissionRpc:
    """The two calls of Transmission's RPC that a download needs."""

    def __init__(self, address: str, port: int):
        self.address = address
        self.port = port
        self.session = ""

    def call(self, method: str, arguments: dict) -> dict:
        body = json.dumps({"method": method, "arguments": arguments})
        for _ in range(2):
            link = http.client.HTTPConnection(self.address, self.port, timeout=10)
            link.request("POST", "/transmission/rpc", body, {"X-Transmission-Session-Id": self.session})
            answer = link.getresponse()
            text = answer.read()
            link.close()
            if answer.status == 409:
                self.session = answer.getheader("X-Transmission-Session-Id", "")
                continue
            result = json.loads(text)
            if result["result"] != "success":
                raise RunFailed(f"{method}: {result['result']}")
            return result["arguments"]
        raise RunFailed(f"{method}: no session id")


class Libtorrent(Client):
    """The library, driven by a few lines of Python that sleep inside it."""

    wall_from = "add"

    def __init__(self, key: str, title: str, install: str, python: pathlib.Path | None):
        self.key = key
        self.title = title
        self.install = install
        self.python = python
        self._version: str | None = None
        if python and python.exists():
            asked = subprocess.run(
                [python, HERE / "libtorrent_peer.py", "version"], capture_output=True, text=True, timeout=60
            )
            self._version = asked.stdout.strip() if asked.returncode == 0 else None

    def missing(self) -> str | None:
        return None if self._version else self.install

    def version(self) -> str:
        return self._version or "?"

    def run(self, job: Job) -> Figures:
        arguments = ["leech", str(job.payload.torrent), str(job.output), CLIENT, str(job.port)]
        process = self._start(arguments, job)
        done = process.watch(process.started + job.timeout)
        process.end(GRACE)
        if not done:
            raise RunFailed(f"not complete after {job.timeout:.0f} s")
        if process.exit_code != 0:
            raise RunFailed(f"exit code {process.exit_code}: {_log_tail(job.home)}")
        added, _verified, written = map(float, (job.home / "log").read_text().split()[-3:])
        process.figures.wall = written - added
        process.figures.first = process.first_since(added)
        return process.figures

    def start_only(self, job: Job) -> Figures:
        """What Python and the import of libtorrent cost before anything is downloaded."""
        process = self._start(["start"], job)
        process.watch(process.started + GRACE)
        process.end(GRACE)
        process.figures.wall = process.figures.life
        return process.figures

    def _start(self, arguments: list[str], job: Job) -> Process:
        return _start([str(self.python), str(HERE / "libtorrent_peer.py"), *arguments], job)
