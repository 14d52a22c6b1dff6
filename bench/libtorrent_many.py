"""libtorrent with all torrents of a folder, for many.py.

    libtorrent_many.py add     TORRENTS DATA STATE ADDRESS PORT    adds them, and writes resume data at its end
    libtorrent_many.py restore TORRENTS DATA STATE ADDRESS PORT    adds them with their resume data

It says `ready` when all of them seed, and ends when its standard input does.
"""

import os
import pathlib
import sys

import libtorrent
from libtorrent_peer import session

UNLIMITED = {
    name: -1
    for name in ("active_downloads", "active_seeds", "active_limit", "active_tracker_limit", "active_checking")
}
"""Everybody has all torrents active."""


def parameters(folder: pathlib.Path, data: str, state: pathlib.Path, restores: bool):
    for torrent in sorted(folder.iterdir()):
        if restores:
            params = libtorrent.read_resume_data((state / torrent.name).read_bytes())
        else:
            params = libtorrent.add_torrent_params()
            params.ti = libtorrent.torrent_info(str(torrent))
        params.save_path = data
        params.flags &= ~(libtorrent.torrent_flags.auto_managed | libtorrent.torrent_flags.paused)
        yield params


def save(owner: libtorrent.session, state: pathlib.Path) -> None:
    """Resume data with the info dictionary, as clients keep it."""
    flags = libtorrent.save_resume_flags_t.save_info_dict
    handles = owner.get_torrents()
    for handle in handles:
        handle.save_resume_data(flags)
    left = len(handles)
    while left:
        owner.wait_for_alert(10_000)
        for alert in owner.pop_alerts():
            if isinstance(alert, libtorrent.save_resume_data_alert):
                left -= 1
                data = libtorrent.write_resume_data_buf(alert.params)
                (state / f"{alert.params.name}.torrent").write_bytes(data)
            elif isinstance(alert, libtorrent.save_resume_data_failed_alert):
                sys.exit(f"no resume data: {alert.message()}")


def main() -> None:
    task, torrents, data, state, address, port = sys.argv[1:]
    state = pathlib.Path(state)
    state.mkdir(parents=True, exist_ok=True)
    folder = pathlib.Path(torrents)
    # Alerts of 5,000 torrents must not be dropped.
    owner = session(address, port, {**UNLIMITED, "alert_queue_size": 100_000})
    count = 0
    for params in parameters(folder, data, state, task == "restore"):
        owner.async_add_torrent(params)
        count += 1
    seeding = 0
    while seeding < count:
        owner.wait_for_alert(60_000)
        seeding += sum(isinstance(alert, libtorrent.torrent_finished_alert) for alert in owner.pop_alerts())
        if len(owner.get_torrents()) == count and seeding < count:
            seeding = sum(status.is_seeding for status in owner.get_torrent_status(lambda _: True))
    print("ready", flush=True)
    while os.read(0, 4096):
        pass
    if task == "add":
        save(owner, state)


if __name__ == "__main__":
    main()
