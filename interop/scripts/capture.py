"""Tells to whom this host speaks: one line for each kind of packet that leaves it, printed once.

    capture.py NAME=INFO_HASH...

    dial ADDRESS:PORT           it begins a connection
    answer ADDRESS              it goes on with one that the other end began, or that was told before
    udp ADDRESS:PORT            a datagram
    group ADDRESS               it joins a multicast group
    other PROTOCOL ADDRESS      anything else

The names of the info-hashes that the packet carries, as bytes or in hexadecimal or in a URL, stand at the end of the line.
"""

import ipaddress
import socket
import sys

ETH_P_ALL = 3
PACKET_OUTGOING = 4
# Of local discovery (BEP 14).
GROUP_V6 = ipaddress.ip_address("ff15::efc0:988f").packed


def spellings(text):
    raw = bytes.fromhex(text)
    escaped = "".join(
        chr(byte) if chr(byte).isascii() and (chr(byte).isalnum() or chr(byte) in "-._~") else f"%{byte:02x}" for byte in raw
    )
    return raw, text.lower().encode(), escaped.lower().encode()


def records(report):
    """The groups of an IGMPv3 report (RFC 3376, section 4.2)."""
    groups, count, at = [], int.from_bytes(report[6:8], "big"), 8
    for _ in range(count):
        sources = int.from_bytes(report[at + 2 : at + 4], "big")
        groups.append(ipaddress.ip_address(report[at + 4 : at + 8]))
        at += 8 + 4 * sources + 4 * report[at + 1]
    return groups


def kinds(packet):
    version = packet[0] >> 4
    if version == 4:
        protocol, to, rest = packet[9], ipaddress.ip_address(packet[16:20]), packet[(packet[0] & 15) * 4 :]
    elif version == 6:
        protocol, to, rest = packet[6], ipaddress.ip_address(packet[24:40]), packet[40:]
    else:
        return
    port = int.from_bytes(rest[2:4], "big")
    if protocol == socket.IPPROTO_TCP:
        # SYN without ACK.
        yield f"dial {to}:{port}" if rest[13] & 0x12 == 0x02 else f"answer {to}"
    elif protocol == socket.IPPROTO_UDP:
        yield f"udp {to}:{port}"
    elif protocol == socket.IPPROTO_IGMP:
        yield from (f"group {group}" for group in (records(rest) if rest[0] == 0x22 else [ipaddress.ip_address(rest[4:8])]))
    elif protocol in (socket.IPPROTO_ICMP, socket.IPPROTO_ICMPV6, socket.IPPROTO_HOPOPTS):
        # The kernel's own talk with its neighbours, but for a report that we are in the group (RFC 3810).
        if GROUP_V6 in packet:
            yield "group ff15::efc0:988f"
    else:
        yield f"other {protocol} {to}"


def main(*hashes):
    names = {name: spellings(text) for name, text in (pair.split("=") for pair in hashes)}
    told = set()
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL)) as watch:
        watch.bind(("eth0", ETH_P_ALL))
        print("watching", flush=True)
        while True:
            packet, (_, ethertype, kind, *_) = watch.recvfrom(65_536)
            if kind != PACKET_OUTGOING or ethertype not in (0x0800, 0x86DD):
                continue
            lower = packet.lower()
            carried = [
                name for name, (raw, hexed, escaped) in names.items() if raw in packet or hexed in lower or escaped in lower
            ]
            for line in kinds(packet):
                line = " ".join([line, *carried])
                if line not in told:
                    told.add(line)
                    print(line, flush=True)


main(*sys.argv[1:])
