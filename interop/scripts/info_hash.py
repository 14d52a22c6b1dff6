"""Prints the version 1 info-hash that libtorrent gives to a file or a folder.

    info_hash.py INPUT PIECE_LENGTH public|private

The files of a folder are sorted by the bytes of their names, folder by folder.
"""

import os
import sys

import libtorrent as lt


def files_of(source):
    if os.path.isfile(source):
        return [()]
    found = []
    for folder, _, names in os.walk(source):
        below = os.path.relpath(folder, source)
        parts = () if below == "." else tuple(below.split(os.sep))
        found += [parts + (name,) for name in names]
    return sorted(found, key=lambda path: [part.encode() for part in path])


def main(source, piece_length, kind):
    above, name = os.path.split(source)
    storage = lt.file_storage()
    for path in files_of(source):
        storage.add_file(os.path.join(name, *path), os.path.getsize(os.path.join(source, *path)))
    creator = lt.create_torrent(storage, int(piece_length), lt.create_torrent.v1_only)
    creator.set_priv(kind == "private")
    lt.set_piece_hashes(creator, above)
    info = lt.torrent_info(lt.bdecode(lt.bencode(creator.generate())))
    print(info.info_hashes().v1)


main(*sys.argv[1:])
