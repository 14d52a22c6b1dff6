"""libtorrent's node of the DHT, for dht.py.

    libtorrent_dht.py ADDRESS PORT BOOTSTRAP

Whatever keeps it from answering everybody at once is lifted. It says `ready` when it knows nodes, and ends when its
standard input does.
"""

import os
import sys
import time

import libtorrent
from libtorrent_peer import session

MANY = 2**31 - 1
LIFTED = {
    "dht_upload_rate_limit": MANY,
    "dht_block_ratelimit": MANY,
    "dht_block_timeout": 0,
    "dht_restrict_routing_ips": False,
    "dht_restrict_search_ips": False,
    "dht_ignore_dark_internet": False,
    "dht_max_torrents": 100_000,
    "dht_max_peers": 100_000,
}
PATIENCE = 60.0


def main() -> None:
    address, port, bootstrap = sys.argv[1:]
    owner = session(address, port, {**LIFTED, "enable_dht": True, "dht_bootstrap_nodes": bootstrap, "alert_mask": 0})
    deadline = time.monotonic() + PATIENCE
    while owner.status().dht_nodes < 8:
        if time.monotonic() > deadline:
            sys.exit("nobody answered")
        time.sleep(0.1)
    print("ready", flush=True)
    # Python sleeps here: what costs anything is the library's.
    while os.read(0, 4096):
        pass


if __name__ == "__main__":
    main()
