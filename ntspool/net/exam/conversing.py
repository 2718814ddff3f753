"""One NTS-KE connection of an examiner: says what it is told to, judges nothing, and tells all that it saw."""

import asyncio
import contextlib
import errno
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from OpenSSL import SSL, crypto

from ntspool.net.clienttls import is_address
from ntspool.net.exam.verifying import Trouble
from ntspool.net.tls import ALPN_NTSKE, bare_context, client_context, describe
from ntspool.pool.cookies import Association
from ntspool.pool.exam.conversation import Conversation, Ending, Reached, read_answer
from ntspool.pool.exam.printable import printable
from ntspool.wire.aead import Aead
from ntspool.wire.exchange import EXPORTER_LABEL, exporter_contexts
from ntspool.wire.records import RecordType
from ntspool.wire.secret import Secret

_READ_SIZE = 16384
_MOST_DATA = 1 << 17
"""Bytes of an answer that are kept; clients should take 65536 (RFC 8915 section 4)."""

_GRACE = 0.5
"""Seconds for a server to end the connection by itself, and once more after we have ended it."""

NO_WAY = (errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
"""What this machine says when it has nothing of an address's family."""


@dataclass(frozen=True, slots=True)
class Greeting:
    """How to greet: the server's name for SNI, ALPN protocols (none: no ALPN), TLS 1.2 instead of 1.3, authorities.

    With `verify` the certificates are tried against `ca`, or the system's authorities for None.
    """

    name: str
    alpn: tuple[bytes, ...] = (ALPN_NTSKE,)
    tls12: bool = False
    verify: bool = False
    ca: Path | None = None


async def converse(
    address: str, port: int, greeting: Greeting, pieces: Sequence[bytes], timeout: float
) -> Conversation:
    """Connect to an IP literal, say `pieces` in one TLS record each, and return what was seen.

    Without pieces it only listens, a little longer: the server's own deadline may be as long. `timeout` is seconds for
    TCP and TLS, and again for the answer. Raises CertificateError when the greeting's `ca` cannot be used.
    """
    talk = _Talk(address, greeting)
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection(address, port)
    except TimeoutError:
        return replace(talk.seen, failure=f"no connection within {timeout:g} s")
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        return replace(talk.seen, failure=why, unroutable=error.errno in NO_WAY)
    try:
        return await talk.run(reader, writer, pieces, timeout)
    finally:
        # Not close: whoever does not read would keep us until he does.
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


class _Talk:
    """A connection under way, and what was seen of it so far."""

    def __init__(self, address: str, greeting: Greeting) -> None:
        self._trouble = Trouble()
        self._tls = SSL.Connection(_context(greeting, self._trouble), None)
        self._tls.set_connect_state()
        if not is_address(greeting.name):
            self._tls.set_tlsext_host_name(greeting.name.encode("idna"))
        self._data = bytearray()
        self._pieces = 0
        self._ended = False
        self._began = time.monotonic()
        self.seen = Conversation(address, greeting.name)

    async def run(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pieces: Sequence[bytes], timeout: float
    ) -> Conversation:
        """Talk on a connection that stands until one side has ended it."""
        self._reader, self._writer = reader, writer
        connected = time.monotonic()
        self.seen = replace(self.seen, reached=Reached.TCP, connect=connected - self._began)
        try:
            async with asyncio.timeout(timeout):
                await self._shake_hands()
        except TimeoutError:
            self._end(Ending.OPEN, f"no TLS within {timeout:g} s")
        except SSL.Error as error:
            self._end(Ending.ALERT, f"TLS failed: {describe(error)}")
        if self.seen.reached is Reached.TLS:
            await self._talk(pieces, timeout)
        return replace(self.seen, trouble=self._trouble.words())

    async def _shake_hands(self) -> None:
        began = time.monotonic()
        while not self._ended:
            try:
                self._tls.do_handshake()
            except SSL.WantReadError:
                await self._flush()
                await self._feed()
            else:
                await self._flush()
                self.seen = self._greeted(time.monotonic() - began)
                return

    def _greeted(self, handshake: float) -> Conversation:
        tls = self._tls
        # Not as_cryptography: that can raise for what a server sends.
        chain = tls.get_peer_cert_chain() or []
        return replace(
            self.seen,
            reached=Reached.TLS,
            handshake=handshake,
            version=tls.get_protocol_version_name(),
            cipher=tls.get_cipher_name() or "",
            group=_group(tls),
            alpn=printable(tls.get_alpn_proto_negotiated().decode("ascii", "backslashreplace")),
            chain=tuple(crypto.dump_certificate(crypto.FILETYPE_ASN1, each) for each in chain),
        )

    async def _talk(self, pieces: Sequence[bytes], timeout: float) -> None:
        began = time.monotonic()
        try:
            for piece in pieces:
                self._tls.sendall(piece)
        except SSL.Error as error:
            self._end(Ending.ALERT, describe(error))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout if pieces else timeout + _GRACE):
                await self._flush()
                await self._listen(until_answered=True)
        answered = time.monotonic() if read_answer(self._data).complete else None
        if answered is not None:
            self.seen = replace(self.seen, answered=answered - began, keys=self._keys())
            await self._part()
        self.seen = replace(
            self.seen,
            data=bytes(self._data),
            pieces=self._pieces,
            early=0 if pieces else len(self._data),
            elapsed=time.monotonic() - (answered or began),
        )

    async def _part(self) -> None:
        """Wait for the server to end it, then end it ourselves."""
        await self._wait_for_the_end()
        self.seen = replace(self.seen, unprompted=self._ended)
        if not self._ended:
            with contextlib.suppress(SSL.Error):
                self._tls.shutdown()
            await self._wait_for_the_end()

    async def _wait_for_the_end(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GRACE):
                await self._flush()
                await self._listen(until_answered=False)

    async def _listen(self, *, until_answered: bool) -> None:
        """Take what the server says until it has ended the connection, or its answer is there."""
        while not self._ended and len(self._data) < _MOST_DATA:
            try:
                self._data += self._tls.recv(_READ_SIZE)
                self._pieces += 1
            except SSL.WantReadError:
                if until_answered and read_answer(self._data).complete:
                    return
                await self._flush()
                await self._feed()
            except SSL.ZeroReturnError:
                self._end(Ending.CLOSE_NOTIFY)
            except SSL.Error as error:
                self._end(Ending.ALERT, describe(error))

    async def _feed(self) -> None:
        try:
            data = await self._reader.read(_READ_SIZE)
        except OSError as error:
            self._end(Ending.RESET, os.strerror(error.errno) if error.errno else str(error))
            return
        if data:
            self._tls.bio_write(data)
        else:
            self._end(Ending.CLOSED, "the server closed the connection")

    async def _flush(self) -> None:
        try:
            while True:
                self._writer.write(self._tls.bio_read(1 << 16))
        except SSL.WantReadError:
            pass
        # What the server had to say before it gave up is still to be read.
        with contextlib.suppress(OSError):
            await self._writer.drain()

    def _end(self, ending: Ending, why: str = "") -> None:
        self._ended = True
        self.seen = replace(self.seen, ending=ending, failure=why)

    def _keys(self) -> tuple[Association, ...]:
        aeads = read_answer(self._data).numbers(RecordType.AEAD_ALGORITHM) or ()
        if len(aeads) != 1 or aeads[0] not in frozenset(Aead):
            return ()
        aead = Aead(aeads[0])
        contexts = dict.fromkeys(exporter_contexts(aead, compliant_128gcm=each) for each in (True, False))
        return tuple(self._export(aead, each) for each in contexts)

    def _export(self, aead: Aead, contexts: tuple[bytes, bytes]) -> Association:
        c2s, s2c = (
            Secret(self._tls.export_keying_material(EXPORTER_LABEL, aead.key_length, each)) for each in contexts
        )
        return Association(aead, c2s, s2c)


def _group(tls: SSL.Connection) -> str | None:
    # Neither pyOpenSSL before 25.2 nor AWS-LC can tell.
    try:
        return tls.get_group_name()
    except (AttributeError, NotImplementedError):
        return None


def _context(greeting: Greeting, trouble: Trouble) -> SSL.Context:
    if greeting.verify:
        context = client_context(greeting.ca)
        context.set_verify(SSL.VERIFY_PEER, trouble.note)
    else:
        context = bare_context(SSL.TLS_CLIENT_METHOD)
    if greeting.alpn:
        context.set_alpn_protos(list(greeting.alpn))
    if greeting.tls12:
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
    return context
