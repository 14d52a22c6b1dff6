"""libtorrent as one peer of one torrent, with nothing on but the tracker and TCP, and the DHT where nodes are named.

    peer.py seed|leech|share --torrent FILE|MAGNET --dir DIR --listen ADDRESS:PORT [--sign FILE] [--pex] [--lsd]
            [--max-download KIB] [--peer ADDRESS:PORT]... [--node ADDRESS:PORT]...

A seed checks what is in DIR and serves it until it is killed. A leech ends with status 0 when it has every
piece. One that shares goes on when it has, and makes FILE. All print what libtorrent reports.
"""

import argparse
import signal
import sys

import libtorrent as lt


def address_and_port(text):
    address, port = text.rsplit(":", 1)
    return address.strip("[]"), int(port)


def main():
    # A shell starts what it puts into the background deaf to it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["seed", "leech", "share"])
    parser.add_argument("--torrent", required=True)
    parser.add_argument("--dir", required=True)
    parser.add_argument("--listen", required=True)
    parser.add_argument("--sign")
    parser.add_argument("--pex", action="store_true")
    parser.add_argument("--lsd", action="store_true")
    parser.add_argument("--max-download", type=int, default=0)
    parser.add_argument("--peer", action="append", default=[], type=address_and_port)
    parser.add_argument("--node", action="append", default=[])
    arguments = parser.parse_args()

    session = lt.session({
        "listen_interfaces": arguments.listen,
        "outgoing_interfaces": address_and_port(arguments.listen)[0],
        "enable_dht": bool(arguments.node),
        "dht_bootstrap_nodes": ",".join(arguments.node),
        "dht_restrict_routing_ips": False,
        "dht_restrict_search_ips": False,
        "enable_lsd": arguments.lsd,
        "enable_upnp": False,
        "enable_natpmp": False,
        "enable_incoming_utp": False,
        "enable_outgoing_utp": False,
        "out_enc_policy": int(lt.enc_policy.pe_disabled),
        "in_enc_policy": int(lt.enc_policy.pe_enabled),
        "prefer_rc4": False,
        "allow_multiple_connections_per_ip": True,
        "min_reconnect_time": 5,
        "user_agent": "libtorrent/" + lt.__version__,
        "alert_mask": lt.alert.category_t.error_notification
        | lt.alert.category_t.status_notification
        | lt.alert.category_t.tracker_notification
        | lt.alert.category_t.peer_notification
        | lt.alert.category_t.connect_notification,
    })
    while arguments.node and session.status().dht_nodes == 0:
        # Announced too early it would wait for the next time, in a quarter of an hour.
        session.wait_for_alert(100)
        session.pop_alerts()
    if arguments.torrent.startswith("magnet:"):
        parameters = lt.parse_magnet_uri(arguments.torrent)
    else:
        parameters = lt.add_torrent_params()
        parameters.ti = lt.torrent_info(arguments.torrent)
    parameters.save_path = arguments.dir
    # Not the managed state of a queue: it starts at once.
    parameters.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
    if not arguments.pex:
        parameters.flags |= lt.torrent_flags.disable_pex
    torrent = session.add_torrent(parameters)
    # That of the session does not concern peers in local networks.
    torrent.set_download_limit(arguments.max_download * 1024)
    for peer in arguments.peer:
        torrent.connect_peer(peer)

    while True:
        session.wait_for_alert(500)
        for alert in session.pop_alerts():
            print(type(alert).__name__, alert.message(), flush=True)
            if isinstance(alert, lt.torrent_error_alert):
                sys.exit(1)
        status = torrent.status()
        if arguments.role == "share" and status.is_seeding:
            open(arguments.sign, "w").close()
        if arguments.role == "leech" and status.is_seeding:
            # What is still in its cache reaches the files before the process ends.
            torrent.flush_cache()
            while not any(isinstance(alert, lt.cache_flushed_alert) for alert in session.pop_alerts()):
                session.wait_for_alert(500)
            return


main()
