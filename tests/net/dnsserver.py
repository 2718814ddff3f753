"""A DNS server that answers as a script says, over UDP and TCP, for what must resolve names."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

from tests.interop.lab import free_port

SOA = "ns.example. root.example. 1 3600 600 86400 30"
"""What negative answers carry; its last number is their TTL."""

Reply = bytes | None
"""What is sent back; None: nothing."""


@dataclass
class Zone:
    """What the server says: `records` by name and type as (TTL, *texts), `rcodes` by name, `overrides` of all that.

    A name without records of any type is NXDOMAIN, without those of the type asked for NODATA. An override gets the
    query, whether it came by TCP, and the regular reply. `mute` says nothing at all.
    """

    records: dict[tuple[str, str], tuple[object, ...]] = field(default_factory=dict)
    rcodes: dict[str, str] = field(default_factory=dict)
    override: Callable[[dns.message.Message, bool, dns.message.Message], Reply] | None = None
    mute: bool = False
    soa_ttl: int = 30
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    host: str = "127.0.0.1"
    port: int = 0

    def reply(self, wire: bytes, tcp: bool) -> Reply:
        """Return the reply to one query."""
        query = dns.message.from_wire(wire)
        [question] = query.question
        name, kind = question.name.to_text(omit_final_dot=True).lower(), question.rdtype.name
        self.asked.append((name, kind, "tcp" if tcp else "udp"))
        if self.mute:
            return None
        response = dns.message.make_response(query)
        self._answer(response, name, kind)
        if self.override is not None:
            return self.override(query, tcp, response)
        return response.to_wire(max_size=65535)

    def _answer(self, response: dns.message.Message, name: str, kind: str) -> None:
        if name in self.rcodes:
            response.set_rcode(dns.rcode.from_text(self.rcodes[name]))
            return
        while alias := self.records.get((name, "CNAME")):
            ttl, target = alias
            response.answer.append(dns.rrset.from_text(f"{name}.", ttl, "IN", "CNAME", f"{target}."))
            if (str(target), "beyond") in self.records:
                return
            name = str(target)
        found = self.records.get((name, kind))
        if found:
            ttl, *texts = found
            response.answer.append(dns.rrset.from_text(f"{name}.", ttl, "IN", kind, *texts))
            return
        if not any(each == name for each, _ in self.records):
            response.set_rcode(dns.rcode.NXDOMAIN)
        domain = name.rpartition(".")[2]
        response.authority.append(dns.rrset.from_text(f"{domain}.", self.soa_ttl, "IN", "SOA", SOA))


def truncated(query: dns.message.Message, tcp: bool, regular: dns.message.Message) -> Reply:
    """Send everything by TCP only."""
    if not tcp:
        regular.answer.clear()
        regular.flags |= dns.flags.TC
    return regular.to_wire(max_size=65535)


@contextmanager
def dns_server(zone: Zone, port: int = 0) -> Iterator[Zone]:
    """Serve `zone` at its host, at `port` or at any that is free; `zone.port` is where."""
    done = threading.Event()
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # A port that the kernel chooses for TCP may be some client's for UDP.
        zone.port = port or free_port(zone.host)
        tcp.bind((zone.host, zone.port))
        udp.bind((zone.host, zone.port))
        tcp.listen()
        threads = [
            threading.Thread(target=serve, args=(zone, each, done)) for serve, each in ((_udp, udp), (_tcp, tcp))
        ]
        for each in (tcp, udp):
            each.settimeout(0.05)
        for thread in threads:
            thread.start()
        try:
            yield zone
        finally:
            done.set()
            for thread in threads:
                thread.join()


def _udp(zone: Zone, udp: socket.socket, done: threading.Event) -> None:
    while not done.is_set():
        try:
            wire, peer = udp.recvfrom(65535)
        except TimeoutError:
            continue
        if reply := zone.reply(wire, tcp=False):
            udp.sendto(reply, peer)


def _tcp(zone: Zone, listening: socket.socket, done: threading.Event) -> None:
    while not done.is_set():
        try:
            stream, _ = listening.accept()
        except TimeoutError:
            continue
        with stream, stream.makefile("rwb") as file:
            stream.settimeout(5)
            if reply := zone.reply(file.read(int.from_bytes(file.read(2), "big")), tcp=True):
                file.write(len(reply).to_bytes(2, "big") + reply)
