"""The operator's own authoritative server: reads a pool's records there, and changes them by RFC 2136 with TSIG.

All goes over one TCP connection, signed both ways: reading, too, for a server may show each key a zone of its own.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import dns.asyncbackend
import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.tsig
import dns.update

from ntspool.errors import RemoteError, WireError
from ntspool.net.dns import MALFORMED
from ntspool.net.tsig import TsigKey
from ntspool.pool.publishing import Change, Found, Key, Kind
from ntspool.pool.resolving import Server

OVERTAKEN = frozenset({dns.rcode.YXDOMAIN, dns.rcode.YXRRSET, dns.rcode.NXRRSET, dns.rcode.NXDOMAIN})
"""What a server answers when a prerequisite does not hold: somebody else changed the RRset first."""

_WRONG_KEY = {
    dns.tsig.PeerBadKey: "it does not know the key {key} (BADKEY)",
    dns.tsig.PeerBadSignature: "it has another secret or algorithm for the key {key} (BADSIG)",
    dns.tsig.PeerBadTime: "its clock and ours are more than 5 minutes apart (BADTIME)",
    dns.tsig.PeerBadTruncation: "it does not take signatures as short as ours (BADTRUNC)",
}
_REFUSALS = {
    dns.rcode.REFUSED: "REFUSED: it does not let the key {key} do that",
    dns.rcode.NOTAUTH: "NOTAUTH: it is not the zone's primary, does not know the key {key}, or has another for it",
    dns.rcode.NOTIMP: "NOTIMP: it takes no updates",
    dns.rcode.NOTZONE: "NOTZONE: the name is not in the zone",
}


class Primary:
    """A connection to a server; every method raises RemoteError with what it, or the way to it, is to be blamed for."""

    def __init__(self, stream: Any, key: TsigKey) -> None:  # noqa: ANN401  dnspython exports no type for it
        self._stream = stream
        self._key = key

    async def zone_of(self, name: str) -> str:
        """Return the zone that `name` is in, as this server is an authority for it."""
        at = dns.name.from_text(name)
        while at != dns.name.root:
            response = await self._ask(at, dns.rdatatype.SOA)
            if any(each.name == at and each.rdtype == dns.rdatatype.SOA for each in response.answer):
                return at.to_text(omit_final_dot=True)
            at = at.parent()
        raise RemoteError(f"it has no zone that {name} is in")

    async def read(self, keys: Iterable[Key]) -> dict[Key, Found]:
        """Return what the server has of these RRsets."""
        return {key: await self._read(key) for key in keys}

    async def _read(self, key: Key) -> Found:
        name, kind = dns.name.from_text(key.name), dns.rdatatype.from_text(key.kind)
        response = await self._ask(name, kind)
        if response.rcode() == dns.rcode.NXDOMAIN and not response.answer:
            return Found()
        for each in response.answer:
            if (each.name, each.rdtype, each.rdclass) == (name, kind, dns.rdataclass.IN):
                return Found(frozenset(value.to_text().lower() for value in each), each.ttl, taken=True)
        return Found(taken=True)

    async def change(self, zone: str, change: Change, ttl: int) -> bool:
        """Do one change as a whole; False if its prerequisite does not hold, and nothing was done."""
        name = dns.name.from_text(change.key.name)
        update = dns.update.UpdateMessage(dns.name.from_text(zone), keyring=self._key.opened())
        if change.expected:
            update.present(name, *_rdata(change.key.kind, change.expected))
        elif change.expected is not None:
            update.absent(name)
        for each in _rdata(change.key.kind, change.removes):
            update.delete(name, each)
        for each in _rdata(change.key.kind, change.adds):
            update.add(name, ttl, each)
        response = await self._exchange(update)
        if response.rcode() in OVERTAKEN:
            return False
        self._refuse(response.rcode())
        return True

    async def _ask(self, name: dns.name.Name, kind: dns.rdatatype.RdataType) -> dns.message.Message:
        query = dns.message.make_query(name, kind)
        query.flags &= ~dns.flags.RD
        query.use_tsig(self._key.opened())
        response = await self._exchange(query)
        if response.rcode() != dns.rcode.NXDOMAIN:
            self._refuse(response.rcode())
        if not response.flags & dns.flags.AA:
            raise RemoteError(f"it is no authority for {name.to_text(omit_final_dot=True)}")
        return response

    async def _exchange(self, message: dns.message.Message) -> dns.message.Message:
        raw = b""
        try:
            await dns.asyncquery.send_tcp(self._stream, message)
            raw = await self._take(int.from_bytes(await self._take(2), "big"))
            response = dns.message.from_wire(raw, keyring=self._key.opened(), request_mac=message.mac)
        except tuple(_WRONG_KEY) as error:
            raise RemoteError(self._words(_WRONG_KEY[type(error)])) from None
        except OSError as error:
            raise RemoteError(_system(error)) from error
        except EOFError as error:
            raise RemoteError("it closed the connection") from error
        except MALFORMED as error:
            self._refuse(_unsigned_code(raw))
            raise WireError(f"what it sent is no DNS response, or not signed as it must be ({error})") from error
        if not response.had_tsig:
            self._refuse(response.rcode())
            raise RemoteError("its answers are not signed; it does not seem to know TSIG")
        if not message.is_response(response):
            raise WireError("what it sent is no answer to what it was asked")
        return response

    async def _take(self, size: int) -> bytes:
        """Return so many bytes; raises EOFError, and has no deadline but that of the connection."""
        taken = b""
        while len(taken) < size:
            more = await self._stream.recv(size - len(taken), None)
            if not more:
                raise EOFError
            taken += more
        return taken

    def _refuse(self, code: dns.rcode.Rcode) -> None:
        if code != dns.rcode.NOERROR:
            raise RemoteError(self._words(_REFUSALS.get(code, dns.rcode.to_text(code))))

    def _words(self, text: str) -> str:
        return text.format(key=self._key.name)


@asynccontextmanager
async def connected(server: Server, key: TsigKey, deadline: float) -> AsyncIterator[Primary]:
    """Connect to a server for at most `deadline` seconds in all; raises RemoteError."""
    host, port = server
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with _in_time():
        async with asyncio.timeout(deadline):
            try:
                backend: Any = dns.asyncbackend.get_default_backend()
                stream = await backend.make_socket(family, socket.SOCK_STREAM, 0, None, (host, port), deadline)
            except OSError as error:
                raise RemoteError(_system(error)) from error
            async with stream:
                yield Primary(stream, key)


@contextmanager
def _in_time() -> Iterator[None]:
    try:
        yield
    except (TimeoutError, dns.exception.Timeout) as error:
        raise RemoteError("no answer") from error


def _rdata(kind: Kind, values: Iterable[str]) -> list[dns.rdata.Rdata]:
    return [dns.rdata.from_text(dns.rdataclass.IN, kind.value, each) for each in sorted(values)]


def _system(error: OSError) -> str:
    """Return the system's words; asyncio has its own, with addresses that are told already."""
    return os.strerror(error.errno) if error.errno else "it cannot be reached"


def _unsigned_code(raw: bytes) -> dns.rcode.Rcode:
    """Return the code in the header of a response that nobody vouches for: good enough to tell what may be wrong."""
    return dns.rcode.Rcode(raw[3] & 0xF) if len(raw) > 3 else dns.rcode.NOERROR
