"""libtorrent in a process of its own, as the seed or as a leech.

Run by the Python whose libtorrent is meant: Debian's, or that of a virtual environment.

    libtorrent_peer.py seed  TORRENT DIRECTORY ADDRESS PORT
    libtorrent_peer.py leech TORRENT DIRECTORY ADDRESS PORT
    libtorrent_peer.py member TORRENT DIRECTORY ADDRESS PORT UPLINK DONE
    libtorrent_peer.py start                                  import libtorrent and end
    libtorrent_peer.py version

A seed prints a line when it has checked its data, and ends when its standard input does.
A leech prints the instants of the add, of the last piece's verification and of the last write,
in seconds of CLOCK_MONOTONIC.
A member of a swarm sends at most UPLINK bytes a second, makes the file DONE when it has everything, and
stays until it is ended.
"""

import sys
import time

import libtorrent

STEP_MS = 60_000
"""How long to sleep in libtorrent: an alert ends it at once, so that Python costs nothing meanwhile."""


def session(address: str, port: str, changes: dict) -> libtorrent.session:
    """A session that speaks TCP in plain text and hears of peers from trackers alone."""
    return libtorrent.session(
        {
            "listen_interfaces": f"{address}:{port}",
            "outgoing_interfaces": address,
            "enable_dht": False,
            "enable_lsd": False,
            "enable_upnp": False,
            "enable_natpmp": False,
            "enable_incoming_utp": False,
            "enable_outgoing_utp": False,
            "alert_mask": libtorrent.alert.category_t.error_notification
            | libtorrent.alert.category_t.status_notification
            | libtorrent.alert.category_t.storage_notification,
            **changes,
        }
    )


def add(owner: libtorrent.session, torrent: str, directory: str, trackers: bool) -> libtorrent.torrent_handle:
    params = libtorrent.add_torrent_params()
    params.ti = libtorrent.torrent_info(torrent)
    params.save_path = directory
    # A managed torrent waits for the queue's next pulse before it starts.
    params.flags &= ~(libtorrent.torrent_flags.auto_managed | libtorrent.torrent_flags.paused)
    params.flags |= libtorrent.torrent_flags.disable_pex
    if not trackers:
        params.flags |= libtorrent.torrent_flags.override_trackers
    return owner.add_torrent(params)


def wait_for(owner: libtorrent.session, kind: type) -> None:
    while True:
        owner.wait_for_alert(STEP_MS)
        for alert in owner.pop_alerts():
            if isinstance(alert, kind):
                return
            if isinstance(alert, (libtorrent.torrent_error_alert, libtorrent.file_error_alert)):
                sys.exit(str(alert))


def seed(torrent: str, directory: str, address: str, port: str) -> None:
    changes = {
        "allow_multiple_connections_per_ip": True,
        "unchoke_slots_limit": -1,
        "max_allowed_in_request_queue": 2000,
        "send_buffer_low_watermark": 1 << 20,
        "send_buffer_watermark": 3 << 20,
        "send_buffer_watermark_factor": 150,
        # A client that tries the encrypted handshake first is met at once, and gets plain text after it.
        "in_enc_policy": int(libtorrent.enc_policy.enabled),
        "out_enc_policy": int(libtorrent.enc_policy.disabled),
        "allowed_enc_level": int(libtorrent.enc_level.plaintext),
    }
    owner = session(address, port, changes)
    handle = add(owner, torrent, directory, trackers=False)
    wait_for(owner, libtorrent.torrent_checked_alert)
    if not handle.status().is_seeding:
        sys.exit("the source is not the whole torrent")
    print("seeding", flush=True)
    sys.stdin.read()


def leech(torrent: str, directory: str, address: str, port: str) -> None:
    changes = {
        "in_enc_policy": int(libtorrent.enc_policy.disabled),
        "out_enc_policy": int(libtorrent.enc_policy.disabled),
    }
    owner = session(address, port, changes)
    added = time.monotonic()
    handle = add(owner, torrent, directory, trackers=True)
    wait_for(owner, libtorrent.torrent_finished_alert)
    finished = time.monotonic()
    # Finished means verified: blocks may still be in the queue to the disk.
    handle.flush_cache()
    wait_for(owner, libtorrent.cache_flushed_alert)
    print(added, finished, time.monotonic(), flush=True)
    del handle, owner


def member(torrent: str, directory: str, address: str, port: str, uplink: str, done: str) -> None:
    changes = {
        "in_enc_policy": int(libtorrent.enc_policy.disabled),
        "out_enc_policy": int(libtorrent.enc_policy.disabled),
        "upload_rate_limit": int(uplink),
    }
    owner = session(address, port, changes)
    # Peers on private networks are in a class of their own that no limit concerns; here everybody is in the first.
    everybody = libtorrent.ip_filter()
    everybody.add_rule("0.0.0.0", "255.255.255.255", 1)
    owner.set_peer_class_filter(everybody)
    handle = add(owner, torrent, directory, trackers=True)
    wait_for(owner, libtorrent.torrent_finished_alert)
    open(done, "w").close()
    while handle.is_valid():
        owner.wait_for_alert(STEP_MS)
        owner.pop_alerts()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["seed", torrent, directory, address, port]:
            seed(torrent, directory, address, port)
        case ["leech", torrent, directory, address, port]:
            leech(torrent, directory, address, port)
        case ["member", torrent, directory, address, port, uplink, done]:
            member(torrent, directory, address, port, uplink, done)
        case ["start"]:
            pass
        case ["version"]:
            print(libtorrent.__version__.removesuffix(".0"))
        case _:
            sys.exit(__doc__)
