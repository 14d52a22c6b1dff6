#!/usr/bin/env python3
"""What it costs to choose a block, in torrents of 100 to 2,000,000 pieces.

Runs the picker alone, without network or disk: crates/swarm/examples/pick.rs says what is measured.
With --readme, the table goes to bench/README.md.
"""

import argparse
import pathlib
import subprocess

from report import machine, replace_section

HERE = pathlib.Path(__file__).resolve().parent


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quelea", help="not used: the picker is built from its crate")
    parser.add_argument("--peers", type=int, default=50, help="connected peers (50)")
    parser.add_argument("--readme", action="store_true", help="write the table to bench/README.md")
    options = parser.parse_args()
    command = ["cargo", "run", "--quiet", "--release", "-p", "quelea-swarm", "--example", "pick", "--"]
    command.append(str(options.peers))
    table = subprocess.run(command, cwd=HERE.parent, check=True, stdout=subprocess.PIPE, text=True).stdout
    print(table, end="")
    if options.readme:
        text = f"Machine: {machine()}\n\n{table}"
        replace_section(HERE / "README.md", text, "<!-- pick: begin -->", "<!-- pick: end -->")


if __name__ == "__main__":
    main()
