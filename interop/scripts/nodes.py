"""Nodes of the DHT by libtorrent, many in one process, until it is killed.

    nodes.py ENTRANCE:PORT ADDRESS:PORT...

Each listens at one of the addresses and joins by the entrance. When each knows some nodes, READY is printed.
"""

import sys
import time

import libtorrent as lt


def main(entrance, *addresses):
    sessions = [
        lt.session({
            "listen_interfaces": address,
            "outgoing_interfaces": address.rsplit(":", 1)[0],
            "enable_dht": True,
            "dht_bootstrap_nodes": entrance,
            "dht_restrict_routing_ips": False,
            "dht_restrict_search_ips": False,
            "enable_lsd": False,
            "enable_upnp": False,
            "enable_natpmp": False,
            "enable_incoming_utp": False,
            "enable_outgoing_utp": False,
            "alert_mask": 0,
        })
        for address in addresses
    ]
    while any(session.status().dht_nodes < 4 for session in sessions):
        time.sleep(0.1)
    print("READY", flush=True)
    while True:
        time.sleep(60)


main(*sys.argv[1:])
