"""What the operator's own DNS server answers, signed as RFC 8945 says: zones, records and updates of them."""

import time

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.TSIG
import dns.rrset
import dns.tsig
import dns.update

from ntspool.errors import RemoteError
from ntspool.net.primary import Primary
from ntspool.net.tsig import TsigKey
from ntspool.pool.publishing import Change, Key, Kind
from ntspool.wire.secret import Secret
from tests.fuzz.engine import Target

SHARED = TsigKey("pool", "hmac-sha256", Secret(b"s" * 32))
KEY = SHARED.opened()
NAME = Key("pool.example", Kind.A)
CHANGE = Change(NAME, frozenset({"192.0.2.1"}), frozenset({"192.0.2.2"}), frozenset({"192.0.2.2"}))


class Stream:
    """A connection to a server that answers each query with these bytes behind its id, in pieces."""

    def __init__(self, answer, rng, *, signed):
        self._answer, self._rng, self._signed = answer, rng, signed
        self._come = b""

    async def sendall(self, what, _):
        query = dns.message.from_wire(what[2:], keyring=KEY)
        raw = query.id.to_bytes(2, "big") + self._answer
        if self._signed and len(raw) >= 12:
            raw = sign(raw, query.mac)
        self._come = len(raw).to_bytes(2, "big") + raw

    async def recv(self, size, _):
        length = self._rng.randint(1, max(1, size))
        piece, self._come = self._come[:length], self._come[length:]
        return piece


def sign(raw, request_mac):
    """Return a message with a TSIG record (RFC 8945 section 4.2), whatever the message is."""
    number = int.from_bytes(raw[:2], "big")
    empty = dns.rdtypes.ANY.TSIG.TSIG(
        dns.rdataclass.ANY, dns.rdatatype.TSIG, KEY.algorithm, 0, 300, b"", number, dns.rcode.NOERROR, b""
    )
    signed, _ = dns.tsig.sign(raw, KEY, empty, int(time.time()), request_mac)
    rdata = signed.to_wire()
    records = (int.from_bytes(raw[10:12], "big") + 1) % 2**16
    head = KEY.name.to_wire() + bytes.fromhex("00fa00ff00000000")
    return raw[:10] + records.to_bytes(2, "big") + raw[12:] + head + len(rdata).to_bytes(2, "big") + rdata


def finished(coroutine):
    """Return what a coroutine returns that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waits")


def check_answer(data, rng):
    how, answer = data[:1] or b"r", data[1:62_000]
    primary = Primary(Stream(answer, rng, signed=how.islower()), SHARED)
    match how.lower():
        case b"z":
            zone = finished(primary.zone_of(NAME.name))
            assert NAME.name.endswith(zone)
        case b"c":
            assert finished(primary.change("example", CHANGE, 60)) in {True, False}
        case _:
            found = finished(primary.read([NAME]))[NAME]
            assert all(isinstance(each, str) for each in found.values)


def answer(how, kind, *records, code=dns.rcode.NOERROR):
    response = dns.message.make_response(dns.message.make_query(NAME.name, kind, id=0))
    response.flags |= dns.flags.AA
    response.set_rcode(code)
    if records:
        response.answer = [dns.rrset.from_text(f"{NAME.name}.", 300, "IN", kind, *records)]
    return how + response.to_wire()[2:]


ANSWERS = [
    answer(b"r", "A", "192.0.2.1", "192.0.2.2"),
    answer(b"R", "A", "192.0.2.1"),
    answer(b"r", "A", code=dns.rcode.NXDOMAIN),
    answer(b"z", "SOA", "ns.example. hostmaster.example. 1 3600 600 86400 60"),
    b"c" + dns.message.make_response(dns.update.UpdateMessage("example", id=0)).to_wire()[2:],
]
TARGETS = [
    Target(
        "zone's answer",
        "In pieces of any size, signed and not: a zone, records or the outcome of a change, or RemoteError.",
        600,
        ANSWERS,
        check_answer,
        refusals=(RemoteError,),
    ),
]
