"""The NTS-KE exchange as two state machines without I/O: bytes in, one message out (RFC 8915 section 4)."""

from collections.abc import Iterator
from functools import lru_cache

from ntspool.errors import WireError
from ntspool.wire.aead import Aead
from ntspool.wire.messages import Refusal, Request, Response, decode_request, decode_response
from ntspool.wire.records import CRITICAL_BIT, END_OF_MESSAGE, MAX_MESSAGE, PROTOCOL_NTPV4, Record, RecordType


class MessageBuffer:
    """Collects one NTS-KE message from pieces of any size.

    `limit` bounds what a peer can make us keep, in bytes: until its message is whole nothing is kept but the bytes.
    """

    __slots__ = ("_data", "_limit", "_start")

    def __init__(self, limit: int) -> None:
        self._data = bytearray()
        self._limit = limit
        self._start = 0

    def receive_data(self, data: bytes) -> tuple[Record, ...] | None:
        """Take bytes; return the records before End of Message once that is there, None until then.

        Raises WireError when the message is too long, or is framed otherwise than RFC 8915 section 4 says.
        """
        self._data += data
        while (end := self._end_of_record()) is not None:
            start, self._start = self._start, end
            if int.from_bytes(self._data[start : start + 2], "big") & ~CRITICAL_BIT == RecordType.END_OF_MESSAGE:
                return self._whole(start)
        return None

    def _end_of_record(self) -> int | None:
        """Return where the next record ends, None while it is not all there."""
        held, body = len(self._data), self._start + 4
        end = body + int.from_bytes(self._data[body - 2 : body], "big") if held >= body else held
        if max(end, held) > self._limit:
            raise WireError(f"the message is longer than {self._limit} bytes")
        return None if held < body or held < end else end

    def _whole(self, last: int) -> tuple[Record, ...]:
        """Return the records before the last one, End of Message, which begins at `last`."""
        if self._data[last : self._start] != _END:
            raise WireError("End of Message is not critical or not empty")
        if self._start != len(self._data):
            raise WireError("data after End of Message")
        return tuple(_split(bytes(self._data[:last])))


_END = END_OF_MESSAGE.encode()


def _split(data: bytes) -> Iterator[Record]:
    at = 0
    while at < len(data):
        head, end = int.from_bytes(data[at : at + 2], "big"), at + 4 + int.from_bytes(data[at + 2 : at + 4], "big")
        yield Record(head & ~CRITICAL_BIT, data[at + 4 : end], critical=head >= CRITICAL_BIT)
        at = end


class ServerExchange:
    """The server's side. Feed it until it yields the request, then send the bytes of a Response or a Refusal.

    On WireError send `error_refusal(error.code)`. In every case the connection ends with that message.
    """

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer: MessageBuffer | None = None

    def receive_data(self, data: bytes) -> Request | None:
        """Take bytes from the client; return its request once it is whole, None until then. Raises WireError."""
        if self._buffer is None:
            if len(data) <= _USUAL_LENGTH and (request := _whole_request(data)) is not None:
                return request
            self._buffer = MessageBuffer(MAX_MESSAGE)
        message = self._buffer.receive_data(data)
        return None if message is None else decode_request(message)


_USUAL_LENGTH = 64


@lru_cache(maxsize=256)
def _whole_request(data: bytes) -> Request | None:
    """Return the request if `data` is all of it. Clients of one kind and configuration send the same bytes."""
    message = MessageBuffer(MAX_MESSAGE).receive_data(data)
    return None if message is None else decode_request(message)


class ClientExchange:
    """The client's side. Send `request`'s bytes, then feed it until it yields the server's answer."""

    __slots__ = ("_buffer", "request")

    def __init__(self, request: Request) -> None:
        self.request = request
        self._buffer = MessageBuffer(MAX_MESSAGE)

    def receive_data(self, data: bytes) -> Response | Refusal | None:
        """Take bytes from the server; return its answer once it is whole, None until then. Raises WireError."""
        message = self._buffer.receive_data(data)
        return None if message is None else decode_response(message, self.request)


EXPORTER_LABEL = b"EXPORTER-network-time-security"


@lru_cache
def exporter_contexts(aead: Aead, *, compliant_128gcm: bool) -> tuple[bytes, bytes]:
    """Return the TLS exporter contexts of the C2S and the S2C key (RFC 8915 section 5.1).

    chrony before 4.6.1 exports AES-128-GCM-SIV keys under AEAD_AES_SIV_CMAC_256's number; it says that it does
    not by record 1024, so without that record in both messages the old context stands.
    """
    number = aead if compliant_128gcm or aead is not Aead.AES_128_GCM_SIV else Aead.AES_SIV_CMAC_256
    stem = PROTOCOL_NTPV4.to_bytes(2, "big") + number.to_bytes(2, "big")
    return stem + b"\x00", stem + b"\x01"
