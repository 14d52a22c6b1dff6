"""A leech that throws everything away: how fast the seed is when nobody holds it back.

Speaks just enough of BEP 3 to be served, in a process of its own:

    drain.py INFO_HASH LENGTH PIECE_LENGTH SEED_ADDRESS SEED_PORT OWN_ADDRESS

Prints the seconds from the first request to the last byte.
"""

import socket
import struct
import sys
import time

BLOCK = 1 << 14
DEPTH = 1000
"""Requests on their way: below the 2,000 that libtorrent's seeds queue for a peer."""
UNCHOKE, INTERESTED, REQUEST = 1, 2, 6


def requests(length: int, piece_length: int):
    """Every block of the torrent in order: its request, and the bytes of the answer."""
    for start in range(0, length, piece_length):
        size = min(piece_length, length - start)
        for begin in range(0, size, BLOCK):
            block = min(BLOCK, size - begin)
            yield struct.pack("!IBIII", 13, REQUEST, start // piece_length, begin, block), block + 13


def receive(peer: socket.socket, count: int) -> bytes:
    data = peer.recv(count, socket.MSG_WAITALL)
    if len(data) < count:
        sys.exit("the seed closed the connection")
    return data


def drain(info_hash: bytes, length: int, piece_length: int, seed: tuple[str, int], own: str) -> float:
    peer = socket.create_connection(seed, timeout=30, source_address=(own, 0))
    peer.sendall(b"\x13BitTorrent protocol" + bytes(8) + info_hash + b"-XX0000-" + b"drained-dry!")
    receive(peer, 68)
    peer.sendall(struct.pack("!IB", 1, INTERESTED))
    while True:
        (size,) = struct.unpack("!I", receive(peer, 4))
        if size and receive(peer, size)[0] == UNCHOKE:
            break

    started = time.monotonic()
    pending = requests(length, piece_length)
    on_the_way = unsent = 0
    limit = DEPTH * (BLOCK + 13)
    nowhere = memoryview(bytearray(4 << 20))
    more = True
    while more or on_the_way > 0:
        batch = []
        while more and on_the_way + unsent < limit:
            try:
                message, answer = next(pending)
            except StopIteration:
                more = False
                break
            batch.append(message)
            unsent += answer
        if batch:
            peer.sendall(b"".join(batch))
            on_the_way += unsent
            unsent = 0
        # MSG_TRUNC: the kernel drops the bytes instead of copying them here.
        count = peer.recv_into(nowhere, 0, socket.MSG_TRUNC)
        if count == 0:
            sys.exit("the seed closed the connection")
        on_the_way -= count
    return time.monotonic() - started


if __name__ == "__main__":
    if len(sys.argv) != 7:
        sys.exit(__doc__)
    _, info_hash, length, piece_length, address, port, own = sys.argv
    print(drain(bytes.fromhex(info_hash), int(length), int(piece_length), (address, int(port)), own))
