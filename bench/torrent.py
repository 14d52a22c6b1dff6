"""The payload that every client downloads, and the torrent file that names it.

The bytes come from a fixed seed, so the info-hash of a given size, piece length and
file count is the same on every machine.
"""

import dataclasses
import hashlib
import os
import pathlib
import random

CHUNK = 1 << 20


@dataclasses.dataclass(frozen=True)
class Payload:
    """A torrent file and the source it was made from."""

    torrent: pathlib.Path
    root: pathlib.Path
    """The directory that holds the source: what a client calls its download directory."""
    name: str
    files: tuple[tuple[str, int], ...]
    """Paths relative to `root`, and lengths in bytes."""
    length: int
    piece_length: int
    info_hash: str

    @property
    def gib(self) -> float:
        return self.length / (1 << 30)


def bencode(value) -> bytes:
    """Canonical bencoding (BEP 3) of int, bytes, str, list and dict."""
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return b"%d:%s" % (len(value), value)
    if isinstance(value, list):
        return b"l" + b"".join(map(bencode, value)) + b"e"
    if isinstance(value, dict):
        pairs = sorted((key.encode(), item) for key, item in value.items())
        return b"d" + b"".join(bencode(key) + bencode(item) for key, item in pairs) + b"e"
    raise TypeError(f"{type(value).__name__} has no bencoding")


def lengths_of(total: int, count: int) -> list[int]:
    """`count` lengths between half and one and a half times the mean that add up to `total`."""
    if count == 1:
        return [total]
    weights = random.Random(count)
    shares = [0.5 + weights.random() for _ in range(count)]
    whole = sum(shares)
    lengths = [int(total * share / whole) for share in shares]
    lengths[-1] += total - sum(lengths)
    return lengths


def make(directory: pathlib.Path, announce: str, total: int, piece_length: int, count: int) -> Payload:
    """Writes `total` bytes in `count` files below `directory`, and the torrent file beside them.

    Files that stand there with the right length are trusted; only their hash is taken again.
    """
    name = "payload.bin" if count == 1 else "payload"
    if count == 1:
        paths = [name]
    else:
        paths = [f"{name}/{index // 100:03}/{index:05}.bin" for index in range(count)]
    files = tuple(zip(paths, lengths_of(total, count)))
    root = directory / f"source-{total}-{count}"

    pieces = bytearray()
    digest, room = hashlib.sha1(), piece_length
    for path, length in files:
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = not target.exists() or target.stat().st_size != length
        noise = random.Random(path)
        with open(target, "wb" if fresh else "rb") as file:
            left = length
            while left:
                take = min(left, CHUNK)
                chunk = noise.randbytes(take) if fresh else file.read(take)
                if fresh:
                    file.write(chunk)
                left -= take
                view = memoryview(chunk)
                while view:
                    part = view[:room]
                    digest.update(part)
                    room -= len(part)
                    view = view[len(part) :]
                    if room == 0:
                        pieces += digest.digest()
                        digest, room = hashlib.sha1(), piece_length
    if room < piece_length:
        pieces += digest.digest()

    info = {"name": name, "piece length": piece_length, "pieces": bytes(pieces)}
    if count == 1:
        info["length"] = total
    else:
        info["files"] = [{"length": length, "path": path.split("/")[1:]} for path, length in files]
    torrent = directory / f"{name}-{total}-{piece_length}-{count}.torrent"
    torrent.write_bytes(bencode({"announce": announce, "info": info}))
    return Payload(
        torrent=torrent,
        root=root,
        name=name,
        files=files,
        length=total,
        piece_length=piece_length,
        info_hash=hashlib.sha1(bencode(info)).hexdigest(),
    )


def difference(payload: Payload, output: pathlib.Path) -> str | None:
    """What differs between the source and a download, byte for byte; None when nothing does."""
    for path, length in payload.files:
        copy = output / path
        if not copy.is_file():
            return f"{path} is missing"
        if copy.stat().st_size != length:
            return f"{path} has {copy.stat().st_size} bytes, not {length}"
        with open(payload.root / path, "rb") as want, open(copy, "rb") as have:
            offset = 0
            while chunk := want.read(CHUNK):
                if have.read(CHUNK) != chunk:
                    return f"{path} differs in the MiB at {offset}"
                offset += len(chunk)
    expected = {path for path, _ in payload.files}
    for directory, _, names in os.walk(output):
        for name in names:
            path = os.path.relpath(os.path.join(directory, name), output)
            if path not in expected:
                return f"{path} was left behind"
    return None
