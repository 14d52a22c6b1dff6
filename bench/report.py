"""The figures of all runs as a Markdown table and as JSON."""

import dataclasses
import datetime
import json
import os
import pathlib
import platform
import re
import shlex
import statistics
import sys
from collections.abc import Callable

from clients import Client
from measure import Figures
from torrent import Payload

BEGIN = "<!-- leech: begin -->"
END = "<!-- leech: end -->"
PEAK_MIB = 128
FIRST_BYTE_S = 0.1
BUSY = 0.05
"""Share of the cores that others may take before the report warns."""


@dataclasses.dataclass
class Run:
    """One client's turn in one round."""

    figures: Figures | None
    failure: str | None
    seeder_cpu: float = 0.0
    harness_cpu: float = 0.0
    others: float = 0.0
    """Share of all cores that went to processes outside this bench."""


@dataclasses.dataclass
class Row:
    """All runs of one client."""

    client: Client
    version: str
    missing: str | None
    runs: list[Run] = dataclasses.field(default_factory=list)

    @property
    def good(self) -> list[Run]:
        return [run for run in self.runs if run.figures]


@dataclasses.dataclass
class Goal:
    """What Quelea is to reach, and whether it did in this report."""

    text: str
    reached: bool


@dataclasses.dataclass
class Report:
    """Everything that a reader of the table has to know."""

    command: list[str]
    payload: Payload
    rounds: int
    seed: str
    ceiling: float | None
    """MB/s that the seed gave to a leech that throws everything away."""
    rows: list[Row]
    starts: dict[str, Figures]
    """What Python with libtorrent costs before anything is downloaded, by version."""
    date: datetime.date = dataclasses.field(default_factory=datetime.date.today)

    def markdown(self) -> str:
        payload = self.payload
        files = "one file" if len(payload.files) == 1 else f"{len(payload.files)} files"
        lines = [
            f"{payload.length / (1 << 20):,.0f} MiB in {files}, pieces of {payload.piece_length >> 10} KiB,"
            f" one seed (libtorrent {self.seed}). Median (least–most) of {self.rounds} interleaved"
            f" {'round' if self.rounds == 1 else 'rounds'}, {self.date}.",
            "",
            f"Machine: {machine()}.",
            "",
            f"Command: `{shlex.join(self.command)}`",
            "",
            "| client | version | wall s | first byte s | CPU s/GiB | peak MiB | anonymous MiB | seed CPU s | note |",
            "|---|---|---|---|---|---|---|---|---|",
            *map(self._line, self.rows),
            "",
        ]
        if self.ceiling:
            lines += [f"- The seed gives {self.ceiling:,.0f} MB/s to a leech that throws everything away."]
        for version, figures in self.starts.items():
            lines += [
                f"- Of libtorrent {version}'s CPU, {figures.cpu / payload.gib:.2f} s/GiB"
                f" ({figures.cpu:.2f} s) are the start of Python and the import."
            ]
        others = [run.others for row in self.rows for run in row.good]
        if others:
            lines += [
                f"- Processes outside the bench took {statistics.median(others):.0%} of the machine"
                f" (median of all runs; at most {max(others):.0%})."
            ]
            if statistics.median(others) > BUSY:
                lines += ["- **The machine was not idle: the wall times are not to be trusted.**"]
        if any(row.client.key == "quelea" and not row.missing for row in self.rows):
            lines += ["", "Quelea's goals:", ""]
            lines += [f"- {'reached' if goal.reached else '**missed**'}: {goal.text}" for goal in self.goals()]
        return "\n".join(lines) + "\n"

    def json(self) -> str:
        return json.dumps(
            {
                "date": str(self.date),
                "command": self.command,
                "machine": machine(),
                "info_hash": self.payload.info_hash,
                "length": self.payload.length,
                "piece_length": self.payload.piece_length,
                "files": len(self.payload.files),
                "seed": self.seed,
                "seed_ceiling_mb_s": self.ceiling,
                "python_start": {key: dataclasses.asdict(figures) for key, figures in self.starts.items()},
                "clients": {
                    row.client.key: {
                        "title": row.client.title,
                        "version": row.version,
                        "wall_from": row.client.wall_from,
                        "missing": row.missing,
                        "median": self._medians(row),
                        "runs": [dataclasses.asdict(run) for run in row.runs],
                    }
                    for row in self.rows
                },
            },
            indent=2,
        )

    def goals(self) -> list[Goal]:
        """Quelea's medians against the best of the others, and against fixed bounds."""
        medians = {row.client.key: self._medians(row) for row in self.rows if row.good}
        own = medians.pop("quelea", None)
        if own is None:
            return [Goal("Quelea ran", False)]
        goals = []
        for name, unit, beats in (
            ("cpu_s_per_gib", "CPU s/GiB below", float.__lt__),
            ("wall_s", "wall s not above", float.__le__),
        ):
            if medians:
                best = min(medians, key=lambda key: medians[key][name])
                bound = medians[best][name]
                goals.append(Goal(f"{own[name]:.2f} {unit} {bound:.2f} of {best}", beats(own[name], bound)))
        goals.append(Goal(f"peak {own['peak_mib']:.0f} MiB under {PEAK_MIB}", own["peak_mib"] < PEAK_MIB))
        first = own.get("first_byte_s", float("inf"))
        goals.append(Goal(f"first byte {first:.2f} s within {FIRST_BYTE_S} s", first <= FIRST_BYTE_S))
        return goals

    def _columns(self) -> dict[str, Callable[[Run], float | None]]:
        gib = self.payload.gib
        return {
            "wall_s": lambda run: run.figures.wall,
            "first_byte_s": lambda run: run.figures.first,
            "cpu_s_per_gib": lambda run: run.figures.cpu / gib,
            "peak_mib": lambda run: run.figures.peak / 1024,
            "anonymous_mib": lambda run: run.figures.anonymous / 1024,
            "seed_cpu_s": lambda run: run.seeder_cpu,
        }

    def _values(self, row: Row, of: Callable[[Run], float | None]) -> list[float]:
        return [value for run in row.good if (value := of(run)) is not None]

    def _medians(self, row: Row) -> dict[str, float]:
        return {
            name: round(statistics.median(values), 4)
            for name, of in self._columns().items()
            if (values := self._values(row, of))
        }

    def _line(self, row: Row) -> str:
        if row.missing:
            cells = ["-"] * 6 + [f"not installed: {row.missing}"]
        else:
            notes = [] if row.client.wall_from == "process start" else [f"from {row.client.wall_from}"]
            failed = [run for run in row.runs if run.failure]
            if failed:
                notes.append(f"{len(failed)} of {len(row.runs)} failed: {failed[0].failure}".replace("|", "/"))
            cells = [_cell(self._values(row, of)) for of in self._columns().values()] + ["; ".join(notes)]
        return f"| {row.client.title} | {row.version} | {' | '.join(cells)} |"


def _cell(values: list[float]) -> str:
    if not values:
        return "-"
    digits = 2 if max(values) < 100 else 0
    middle = f"{statistics.median(values):.{digits}f}"
    least, most = f"{min(values):.{digits}f}", f"{max(values):.{digits}f}"
    return middle if least == most else f"{middle} ({least}–{most})"


def machine() -> str:
    """Processor, cores, memory and kernel, in a line."""
    cpu = pathlib.Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*: (.*)$", cpu, re.MULTILINE)
    flags = re.search(r"^flags\s*: (.*)$", cpu, re.MULTILINE)
    known = flags.group(1).split() if flags else []
    extras = [name for flag, name in (("sha_ni", "SHA-NI"), ("avx512f", "AVX-512"), ("avx2", "AVX2")) if flag in known]
    memory = int(re.search(r"MemTotal:\s*(\d+)", pathlib.Path("/proc/meminfo").read_text()).group(1)) / (1 << 20)
    return ", ".join(
        [
            model.group(1) if model else platform.machine(),
            f"{os.cpu_count()} cores",
            *([" and ".join(extras)] if extras else []),
            f"{memory:.0f} GiB of memory",
            f"Linux {platform.release()}",
        ]
    )


def replace_section(readme: pathlib.Path, markdown: str, begin: str = BEGIN, end: str = END) -> None:
    """Puts the table between the two marks in a README."""
    text = readme.read_text()
    if text.count(begin) != 1 or text.count(end) != 1:
        sys.exit(f"{readme} must have the lines {begin} and {end} once each")
    before, rest = text.split(begin)
    _, after = rest.split(end)
    readme.write_text(f"{before}{begin}\n{markdown}{end}{after}")
