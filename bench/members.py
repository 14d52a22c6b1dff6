"""How each client takes part in a swarm: started as the seed or as a leecher, with a limit for its uplink, and there
until everybody is done.

All hear of each other from one tracker; DHT, local discovery, peer exchange, port mapping, uTP and encryption are
off for everybody, and all else is the client's default.
"""

import base64
import dataclasses
import json
import os
import pathlib
import subprocess
import time

import clients
import measure
from clients import RunFailed
from torrent import Payload

HERE = pathlib.Path(__file__).parent
KIB = 1 << 10
START = 20.0
"""Seconds that a daemon gets until it answers."""


@dataclasses.dataclass
class Part:
    """One member's part."""

    payload: Payload
    address: str
    port: int
    output: pathlib.Path
    home: pathlib.Path
    """An empty directory for configuration, state and logs."""
    uplink: int
    """Bytes a second."""
    seeds: bool


class Member:
    """A client at work."""

    def __init__(self, part: Part):
        self.part = part
        self.done_file = part.home / "done"
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        """Starts the process. A daemon is given its torrent by `join`."""
        kept = {key: os.environ[key] for key in ("PATH", "LANG") if key in os.environ}
        with open(self.part.home / "log", "wb") as log:
            self.process = measure.spawn(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.part.home,
                env={**kept, "HOME": str(self.part.home), "QUELEA_STATE_DIR": str(self.part.home / "state")},
            )

    def join(self) -> None:
        """The instant from which the member counts as taking part."""
        self.start()

    def prepare(self) -> None:
        """What is done before the clock starts: starting a daemon."""

    def command(self) -> list[str]:
        raise NotImplementedError

    def is_done(self) -> bool:
        """Whether its download is complete."""
        if self.process and self.process.poll() is not None:
            log = (self.part.home / "log").read_text(errors="replace").strip().splitlines()
            raise RunFailed(f"{self.part.address} ended with {self.process.returncode}: {' | '.join(log[-3:])[-300:]}")
        return self.done_file.exists()

    def cpu(self) -> float:
        return measure.cpu_of(self.process.pid) if self.process else 0.0

    def end(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def _done_script(self) -> pathlib.Path:
        script = self.part.home / "when-done"
        script.write_text(f"#!/bin/sh\n: >'{self.done_file}'\n")
        script.chmod(0o755)
        return script


class Quelea(Member):
    program = ""

    def command(self) -> list[str]:
        part = self.part
        return [
            self.program,
            str(part.payload.torrent),
            "--output-dir",
            str(part.output),
            "--bind",
            part.address,
            "--port",
            str(part.port),
            "--no-dht",
            "--max-upload",
            str(part.uplink),
            "--seed",
            "--no-pex",
            "--no-lsd",
            "--json",
        ]

    def is_done(self) -> bool:
        return super().is_done() or b'"event":"completed"' in (self.part.home / "log").read_bytes()


class Aria2(Member):
    def command(self) -> list[str]:
        part = self.part
        # A seed looks at what it has and stays; a leecher stays as well, until everybody is done.
        seeding = ["--check-integrity=true"] if part.seeds else []
        return [
            "aria2c",
            "--no-conf",
            "--quiet",
            f"--dir={part.output}",
            f"--interface={part.address}",
            f"--listen-port={part.port}",
            "--seed-ratio=0.0",
            "--file-allocation=none",
            "--enable-dht=false",
            "--enable-dht6=false",
            "--bt-enable-lpd=false",
            "--enable-peer-exchange=false",
            "--bt-require-crypto=false",
            "--bt-min-crypto-level=plain",
            f"--max-overall-upload-limit={part.uplink}",
            f"--on-bt-download-complete={self._done_script()}",
            *seeding,
            str(part.payload.torrent),
        ]


class Transmission(Member):
    def command(self) -> list[str]:
        return ["transmission-daemon", "--foreground", "--config-dir", str(self.part.home)]

    def prepare(self) -> None:
        part = self.part
        settings = {
            "download-dir": str(part.output),
            "bind-address-ipv4": part.address,
            "peer-port": part.port,
            "dht-enabled": False,
            "lpd-enabled": False,
            "pex-enabled": False,
            "utp-enabled": False,
            "port-forwarding-enabled": False,
            "encryption": 0,
            "rpc-bind-address": part.address,
            "rpc-port": part.port + 1,
            "rpc-whitelist-enabled": False,
            "rpc-host-whitelist-enabled": False,
            # It counts in thousands of bytes.
            "speed-limit-up": round(part.uplink / 1000),
            "speed-limit-up-enabled": True,
            "script-torrent-done-enabled": True,
            "script-torrent-done-filename": str(self._done_script()),
        }
        (part.home / "settings.json").write_text(json.dumps(settings))
        self.start()
        deadline = time.monotonic() + START
        while True:
            try:
                clients.TransmissionRpc(part.address, part.port + 1).call("session-get", {})
                return
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise RunFailed("transmission-daemon does not answer its RPC port") from None
                time.sleep(0.05)

    def join(self) -> None:
        metainfo = base64.b64encode(self.part.payload.torrent.read_bytes()).decode()
        clients.TransmissionRpc(self.part.address, self.part.port + 1).call("torrent-add", {"metainfo": metainfo})


class Libtorrent(Member):
    python: pathlib.Path | None = None

    def command(self) -> list[str]:
        part = self.part
        return [
            str(self.python),
            str(HERE / "libtorrent_peer.py"),
            "member",
            str(part.payload.torrent),
            str(part.output),
            part.address,
            str(part.port),
            str(part.uplink),
            str(self.done_file),
        ]
