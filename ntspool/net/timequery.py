"""An NTS-protected NTP client over UDP, one request at a time (RFC 8915 section 5.7)."""

import asyncio
import os
import socket
import time
from dataclasses import dataclass, field

from ntspool.errors import KissOfDeathError, NtsNakError, RemoteError, WireError
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


@dataclass(frozen=True, slots=True)
class TimeAnswer:
    """An authenticated answer: what the server says of itself, the measurement, and new cookies to use once each."""

    header: Header
    measurement: Measurement
    cookies: tuple[bytes, ...] = field(repr=False)


async def query_time(
    host: str, port: int, association: Association, cookie: bytes, *, timeout: float, placeholders: int = 0
) -> TimeAnswer:
    """Send one NTS-protected request to an IP literal and return the verified answer.

    Raises RemoteError when none comes within `timeout` seconds, NtsNakError if an NTS NAK came, and at once
    KissOfDeathError when the server says under its key that it has no time for us; the words are the cause: no answer,
    refused by ICMP, NTS NAK, kiss-o'-death, bad authenticator. Raises OSError when this system has no socket to give.
    """
    request = build_request(
        association,
        cookie,
        unique_id=os.urandom(UNIQUE_ID_MINIMUM),
        nonce=os.urandom(association.aead.nonce_length),
        placeholders=placeholders,
        transmit_timestamp=int.from_bytes(os.urandom(8), "big"),
    )
    volley = _Volley(request)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as udp:
        try:
            udp.connect((host, port))
            async with asyncio.timeout(timeout):
                return await volley.run(udp)
        except TimeoutError as error:
            raise (NtsNakError if volley.nak else RemoteError)(volley.failure) from error
        except OSError as error:
            raise RemoteError(_icmp(error)) from error


class _Volley:
    """One request under way; `failure` is the last reason so far why it brought no time, `nak` whether that is one."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self.failure = "no answer"
        self.nak = False

    async def run(self, udp: socket.socket) -> TimeAnswer:
        loop = asyncio.get_running_loop()
        sent = time.time()
        await loop.sock_sendall(udp, self._request.data)
        while True:
            data = await loop.sock_recv(udp, _MAX_DATAGRAM)
            received = time.time()
            response = self._read(data)
            if response is not None:
                measurement = measure(response.header, sent, received)
                return TimeAnswer(response.header, measurement, response.cookies)

    def _read(self, data: bytes) -> Response | None:
        # Anybody can forge what does not verify, a NAK too: wait on, something better may still come.
        try:
            response = read_response(self._request, data)
        except WireError as error:
            self.failure = f"malformed answer: {error}"
            return None
        if isinstance(response, Refused):
            if response.authentic:
                raise KissOfDeathError(f"{response.reason.value} ({response.kiss_code})")
            self.nak = response.reason is Refusal.NAK
            self.failure = response.reason.value
            if response.reason is Refusal.KISS:
                self.failure += f" ({response.kiss_code})"
            return None
        return response


def _icmp(error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "refused (ICMP port unreachable)"
    return f"unreachable ({error.strerror})"
