"""What reaches the NTS-KE port: the PROXY protocol's header and NTS-KE messages, in both roles."""

import socket
from functools import partial

from ntspool.errors import WireError
from ntspool.net.proxied import _Header
from ntspool.wire import records
from ntspool.wire.aead import Aead
from ntspool.wire.exchange import ClientExchange, ServerExchange
from ntspool.wire.messages import NO_COMMON_AEAD, NO_COMMON_PROTOCOL, Request, Response, error_refusal
from ntspool.wire.proxy2 import MAX_HEADER, read_header
from tests import proxying
from tests.fuzz.engine import Target, record_lengths

REQUEST = Request((0,), (30, 17, 15), compliant_128gcm=True)
PADDING = records.Record(0x4000, bytes(16_000), critical=False).encode()
KE_REQUESTS = [
    REQUEST.encode(),
    Request((0,), (15,)).encode(),
    Request((0, 0x8001), (17, 15), server="2001:db8::1", port=4123).encode(),
    PADDING + REQUEST.encode(),
]
KE_RESPONSES = [
    *(Response(aead, (bytes(100),) * 8, "2001:db8::1", 4123, aead is Aead.AES_128_GCM_SIV).encode() for aead in Aead),
    Response(Aead.AES_SIV_CMAC_256, (b"c",) * 8, None).encode(),
    *(refusal.encode() for refusal in (NO_COMMON_AEAD, NO_COMMON_PROTOCOL, error_refusal(1))),
]


def cut(rng, data):
    """Yield `data` in pieces; in few when there is much of it, so that the whole run stays short."""
    longest = 1 if len(data) < 200 and rng.randrange(3) == 0 else 1 + rng.randrange(len(data) + 1)
    at = 0
    while at < len(data):
        length = rng.randint(1, longest) if len(data) < 4000 else longest + 400
        yield data[at : at + length]
        at += length


def outcome(exchange, data, pieces):
    """Return what the exchange yields, None for nothing yet, or the WireError; data after the end is one too."""
    taken = 0
    for piece in pieces:
        taken += len(piece)
        try:
            answer = exchange.receive_data(piece)
        except WireError as error:
            return error
        if answer is not None:
            return answer if taken == len(data) else WireError("data after the end")
    return None


def check_exchange(side, data, rng):
    """See that an exchange yields the same however its bytes are cut; return that, or raise it if it is WireError."""
    whole, cut_up = outcome(side(), data, [data]), outcome(side(), data, cut(rng, data))
    if isinstance(whole, WireError):
        assert isinstance(cut_up, WireError)
        raise whole
    assert cut_up == whole
    assert len(data) <= records.MAX_MESSAGE
    return whole


PROXY_HEADERS = [
    proxying.header("198.51.100.7"),
    proxying.header("2001:db8::7", tlvs=bytes.fromhex("03000401020304") + bytes(600)) + b"\x16\x03\x01",
    proxying.block(0x21, 0x31, bytes(216)),
    proxying.LOCAL + b"\x16\x03\x01",
]


class Peeked:
    """What a listener sees of a connection: what has come, which it peeks at first and takes then."""

    def __init__(self):
        self.socket, self.come = self, b""

    def recv(self, size, flags):
        found = self.come[:size]
        if not flags & socket.MSG_PEEK:
            self.come = self.come[size:]
        return found


def header_in_pieces(data, pieces):
    """Return the header that a listener reads from pieces; it takes nothing behind it, and keeps a bounded part."""
    connection = Peeked()
    waiting = _Header(connection)
    for piece in pieces:
        connection.come += piece
        while connection.come:
            found = waiting.read()
            assert len(waiting.early) < 2 * MAX_HEADER
            if found is not None:
                assert connection.come + b"".join(pieces) == data[found.length :]
                return found
    return None


def check_proxy_header(data, rng):
    found = read_header(data)
    for length in range(len(data)) if len(data) < 100 else rng.choices(range(len(data)), k=10):
        early = read_header(data[:length])
        assert early == (None if found is None or length < found.length else found)
    assert header_in_pieces(data, cut(rng, data)) == found
    if found is None:
        assert len(data) < MAX_HEADER
        raise WireError("incomplete")
    assert found.length <= min(len(data), MAX_HEADER)
    assert found.source is None or len(found.source) in {4, 16}


STREAMS = {"NTS-KE request": ServerExchange, "NTS-KE response": partial(ClientExchange, REQUEST)}
TARGETS = [
    Target(
        "PROXY header",
        "Gives the same at whatever length the header is first whole, never beyond MAX_HEADER, or WireError.",
        6_000,
        PROXY_HEADERS,
        check_proxy_header,
        lambda _: [12, 14],
    ),
    Target(
        "NTS-KE request",
        "Gives the same request whole and in pieces, or WireError either way.",
        8_000,
        KE_REQUESTS,
        partial(check_exchange, STREAMS["NTS-KE request"]),
        record_lengths,
    ),
    Target(
        "NTS-KE response",
        "Gives the same answer whole and in pieces, or WireError either way.",
        8_000,
        KE_RESPONSES,
        partial(check_exchange, STREAMS["NTS-KE response"]),
        record_lengths,
    ),
]
