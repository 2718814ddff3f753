"""An NTS-protected NTP client over UDP, one request at a time (RFC 8915 section 5.7)."""

import asyncio
import errno
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ntspool.errors import KissOfDeathError, NtsNakError, RemoteError, WireError
from ntspool.net.clocks import ANCILLARY_SPACE, received_at, stamp_datagrams
from ntspool.pool.causes import Cause, Failure
from ntspool.pool.cookies import Association
from ntspool.pool.nts import (
    UNIQUE_ID_MINIMUM,
    Measurement,
    Refusal,
    Refused,
    Request,
    Response,
    build_request,
    measure,
    read_response,
)
from ntspool.wire.ntp import Header

_MAX_DATAGRAM = 65536

_OUR_OWN = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
"""What goes wrong on this side of every network."""

_CAUSES = {
    Refusal.NAK: Cause.NAK,
    Refusal.KISS: Cause.KISS,
    Refusal.UNPROTECTED: Cause.UNPROTECTED,
    Refusal.BAD_AUTHENTICATOR: Cause.BAD_AUTHENTICATOR,
}


@dataclass(frozen=True, slots=True)
class TimeAnswer:
    """An authenticated answer: what the server says of itself, the measurement, and new cookies to use once each.

    `request_length` and `reply_length` are those of the datagrams, in bytes.
    """

    header: Header
    measurement: Measurement
    cookies: tuple[bytes, ...] = field(repr=False)
    request_length: int
    reply_length: int


async def query_time(
    host: str, port: int, association: Association, cookie: bytes, *, timeout: float, placeholders: int = 0
) -> TimeAnswer:
    """Send one NTS-protected request to an IP literal and return the verified answer.

    Raises RemoteError when none comes within `timeout` seconds, NtsNakError if an NTS NAK came, and at once
    KissOfDeathError when the server says under its key that it has no time for us; the words are those of a Failure.
    Raises OSError when this system has no socket or memory to give.
    """
    answer = await ask(host, port, association, cookie, timeout=timeout, placeholders=placeholders)
    if isinstance(answer, TimeAnswer):
        return answer
    if answer.cause is Cause.NAK:
        raise NtsNakError(str(answer))
    raise (KissOfDeathError if answer.authentic else RemoteError)(str(answer))


async def ask(
    host: str,
    port: int,
    association: Association,
    cookie: bytes,
    *,
    timeout: float,
    placeholders: int = 0,
    clock: Callable[[], float] = time.time,
) -> TimeAnswer | Failure:
    """Do as `query_time`, but return why no answer came; `clock` is what the server's is measured against.

    What anybody could have forged is returned only if nothing better comes within `timeout`.
    """
    request = build_request(
        association,
        cookie,
        unique_id=os.urandom(UNIQUE_ID_MINIMUM),
        nonce=os.urandom(association.aead.nonce_length),
        placeholders=placeholders,
        transmit_timestamp=int.from_bytes(os.urandom(8), "big"),
    )
    volley = _Volley(request, clock)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as udp:
            stamp_datagrams(udp)
            udp.connect((host, port))
            return await volley.run(udp, timeout)
    except OSError as error:
        if error.errno in _OUR_OWN:
            raise
        return _icmp(error)


class _Volley:
    """One request under way, and the strongest reason so far why it brought no time."""

    def __init__(self, request: Request, clock: Callable[[], float]) -> None:
        self._request = request
        self._clock = clock
        self._failure = Failure(Cause.NO_ANSWER)

    async def run(self, udp: socket.socket, timeout: float) -> TimeAnswer | Failure:
        """Send the request by a connected socket and wait for what comes."""
        sent = self._clock()
        udp.send(self._request.data)
        deadline = asyncio.get_running_loop().time() + timeout
        # One more look after the deadline: if this process was late, the answer was not.
        while await _readable(udp, deadline):
            if (answer := self._take(udp, sent)) is not None:
                return answer
        return self._take(udp, sent) or self._failure

    def _take(self, udp: socket.socket, sent: float) -> TimeAnswer | Failure | None:
        """Read every datagram that is there; return what ends the volley."""
        while True:
            try:
                data, ancillary, _, _ = udp.recvmsg(_MAX_DATAGRAM, ANCILLARY_SPACE)
            except BlockingIOError:
                return None
            received = received_at(ancillary, self._clock)
            response = self._read(data)
            if isinstance(response, Response):
                measurement = measure(response.header, sent, received)
                lengths = len(self._request.data), len(data)
                return TimeAnswer(response.header, measurement, response.cookies, *lengths)
            if response.authentic:
                return response
            if response.evident or not self._failure.evident:
                self._failure = response

    def _read(self, data: bytes) -> Response | Failure:
        try:
            response = read_response(self._request, data)
        except WireError as error:
            return Failure(Cause.MALFORMED, str(error))
        if isinstance(response, Response):
            return response
        return _failure(response)


def _failure(refused: Refused) -> Failure:
    if refused.reason not in _CAUSES:
        return Failure(Cause.MALFORMED, refused.reason.value)
    code = refused.kiss_code or "" if refused.reason is Refusal.KISS else ""
    return Failure(_CAUSES[refused.reason], code, refused.authentic)


async def _readable(udp: socket.socket, deadline: float) -> bool:
    """Wait until there is something to read; return False at the deadline, a time of the event loop."""
    loop = asyncio.get_running_loop()
    something: asyncio.Future[None] = loop.create_future()
    loop.add_reader(udp, _wake, something)
    try:
        async with asyncio.timeout_at(deadline):
            await something
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(udp)
    return True


def _wake(something: "asyncio.Future[None]") -> None:
    if not something.done():
        something.set_result(None)


def _icmp(error: OSError) -> Failure:
    if isinstance(error, ConnectionRefusedError):
        return Failure(Cause.REFUSED, "ICMP port unreachable")
    return Failure(Cause.UNREACHABLE, error.strerror or type(error).__name__)
