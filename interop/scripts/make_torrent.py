"""Makes a torrent of a file or a folder with libtorrent, and prints what it made as JSON.

    make_torrent.py INPUT OUTPUT PIECE_LENGTH ANNOUNCE_URL plain|padded|hybrid [private]

Without a tracker the URL is empty.

plain and padded are of version 1; padded has BEP 47's pad files, as the first half of a hybrid has.

Printed: the info-hashes that clients announce (of a hybrid the version 2 hash, cut to 20 bytes, is the second)
and the pad files with their lengths, for clients that take them for files.
"""

import json
import os
import sys

import libtorrent as lt

FLAGS = {
    "plain": lt.create_torrent.v1_only,
    "padded": lt.create_torrent.v1_only | lt.create_torrent.canonical_files,
    "hybrid": 0,
}


def main(source, output, piece_length, announce, version, *rest):
    storage = lt.file_storage()
    lt.add_files(storage, source)
    creator = lt.create_torrent(storage, int(piece_length), FLAGS[version])
    if announce:
        creator.add_tracker(announce)
    creator.set_priv("private" in rest)
    lt.set_piece_hashes(creator, os.path.dirname(source))
    with open(output, "wb") as file:
        file.write(lt.bencode(creator.generate()))

    info = lt.torrent_info(output)
    hashes = info.info_hashes()
    announced = [str(hashes.v1)] + ([str(hashes.v2)[:40]] if hashes.has_v2() else [])
    if hashes.has_v2() != (version == "hybrid") or not hashes.has_v1():
        sys.exit(f"libtorrent made something else than {version}")
    files = info.files()
    pads = [
        {"path": files.file_path(i), "length": files.file_size(i)}
        for i in range(files.num_files())
        if files.file_flags(i) & lt.file_flags_t.flag_pad_file
    ]
    print(json.dumps({"announced": announced, "pads": pads}))


main(*sys.argv[1:])
