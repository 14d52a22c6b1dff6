"""One child process, watched from its start to its end."""

import ctypes
import dataclasses
import os
import pathlib
import select
import signal
import subprocess
import time
from collections.abc import Callable

import network

FIRST_BYTES = 1 << 20
"""The first byte counts as arrived when this much has crossed: announce and handshake stay far below it."""

TICK = os.sysconf("SC_CLK_TCK")
_libc = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def spawn(command: list[str], **options) -> subprocess.Popen:
    """A child in a session of its own that does not outlive this program."""
    return subprocess.Popen(command, start_new_session=True, preexec_fn=_die_with_parent, **options)


@dataclasses.dataclass
class Figures:
    """What one run cost. Times in seconds, memory in KiB."""

    wall: float | None = None
    """From the process's start (one-shot clients) or the add (daemons, libraries) to completion."""
    life: float = 0.0
    """From the process's start to its end."""
    first: float | None = None
    """From the same start as `wall` until 1 MiB has crossed the loopback interface."""
    cpu: float = 0.0
    """User and system time of the process and its children, over its whole life."""
    system: float = 0.0
    """The part of `cpu` that the kernel spent on its behalf."""
    peak: int = 0
    """VmHWM: file pages that the client maps are in it."""
    anonymous: int = 0
    """The greatest RssAnon seen: without file pages."""
    crossed: int = 0
    """Bytes over the loopback interface."""


@dataclasses.dataclass
class Process:
    """A child that is watched: its memory sampled, its end and its cost taken with wait4."""

    popen: subprocess.Popen
    started: float
    figures: Figures = dataclasses.field(default_factory=Figures)
    exit_code: int | None = None
    _baseline: int = 0
    _first_at: float | None = None
    _pidfd: int = -1

    @classmethod
    def start(cls, command: list[str], **options) -> "Process":
        baseline = network.bytes_crossed()
        started = time.monotonic()
        popen = spawn(command, stdin=subprocess.DEVNULL, **options)
        process = cls(popen, started, _baseline=baseline)
        process._pidfd = os.pidfd_open(popen.pid)
        return process

    def mark(self) -> float:
        """Starts the count of crossed bytes again; returns this instant."""
        self._baseline = network.bytes_crossed()
        self._first_at = None
        return time.monotonic()

    def watch(self, deadline: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Samples until the process ends or `until` holds; False when `deadline` came first."""
        while self.exit_code is None:
            self._sample()
            # Finely until the first bytes are there, then rarely: the watcher shares the cores.
            ended = select.select([self._pidfd], [], [], 0.002 if self._first_at is None else 0.02)[0]
            if ended:
                self._reap()
            elif until():
                return True
            elif time.monotonic() > deadline:
                return False
        return True

    def end(self, grace: float) -> None:
        """Asks the process to stop, then makes it."""
        if self.exit_code is None:
            os.kill(self.popen.pid, signal.SIGTERM)
            if not self.watch(time.monotonic() + grace):
                os.killpg(self.popen.pid, signal.SIGKILL)
                self.watch(time.monotonic() + 10)

    def first_since(self, start: float) -> float | None:
        return None if self._first_at is None else self._first_at - start

    def _sample(self) -> None:
        self._sample_network()
        try:
            status = pathlib.Path(f"/proc/{self.popen.pid}/status").read_text()
        except OSError:
            return
        for line in status.splitlines():
            if line.startswith("VmHWM:"):
                self.figures.peak = max(self.figures.peak, int(line.split()[1]))
            elif line.startswith("RssAnon:"):
                self.figures.anonymous = max(self.figures.anonymous, int(line.split()[1]))
                break

    def _sample_network(self) -> None:
        self.figures.crossed = network.bytes_crossed() - self._baseline
        if self._first_at is None and self.figures.crossed >= FIRST_BYTES:
            self._first_at = time.monotonic()

    def _reap(self) -> None:
        self._sample_network()
        # Children that it left: the group's number is safe from reuse until its leader is waited for.
        os.killpg(self.popen.pid, signal.SIGKILL)
        _, status, usage = os.wait4(self.popen.pid, 0)
        self.figures.life = time.monotonic() - self.started
        self.figures.cpu = usage.ru_utime + usage.ru_stime
        self.figures.system = usage.ru_stime
        self.exit_code = os.waitstatus_to_exitcode(status)
        self.popen.returncode = self.exit_code
        os.close(self._pidfd)


def rotated(all_of_them: list, number: int) -> list:
    """Whose turn it is in a round, in order: nobody always follows the same neighbour."""
    shift = number % len(all_of_them) if all_of_them else 0
    return all_of_them[shift:] + all_of_them[:shift]


def cpu_of(pid: int) -> float:
    """CPU seconds that a living process has used, in steps of a clock tick."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def cpu_of_machine() -> float:
    """CPU seconds that this machine has spent working, stolen time included."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(
        int, pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    )
    return (user + nice + system + irq + softirq + steal) / TICK
