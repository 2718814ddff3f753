"""`ntspool query`: one client session, key exchange and authenticated time, told as text or JSON."""

import asyncio
import socket
from dataclasses import dataclass
from typing import Any

from ntspool.errors import RemoteError
from ntspool.net.keyexchange import KeyExchange, Server, exchange_keys
from ntspool.net.timequery import TimeAnswer, query_time
from ntspool.wire.aead import Aead
from ntspool.wire.messages import DEFAULT_NTP_PORT, Refusal, Request, Response
from ntspool.wire.records import PROTOCOL_NTPV4

OFFER = (Aead.AES_SIV_CMAC_256, Aead.AES_128_GCM_SIV, Aead.AES_SIV_CMAC_512)
"""What is offered by default, in our order: the one that every server must support first."""


@dataclass(frozen=True, slots=True)
class Query:
    """What a client learned; `time` is None when no authenticated answer came, and `failure` then says why."""

    exchange: KeyExchange
    host: str
    port: int
    time: TimeAnswer | None
    failure: str

    def lines(self) -> list[tuple[str, str]]:
        """Return it as labels and values, in the order of events."""
        exchange, reply = self.exchange, self.exchange.reply
        lines = [
            ("NTS-KE server", exchange.address),
            ("TLS", f"{exchange.tls_version}, {exchange.cipher}, {exchange.elapsed * 1000:.1f} ms"),
        ]
        if isinstance(reply, Response):
            lines += [
                ("AEAD", f"{reply.aead.value} ({reply.aead.label})"),
                ("NTP server", f"{self.host} port {self.port}"),
                ("Cookies", f"{len(reply.cookies)} of {len(reply.cookies[0])} bytes"),
            ]
        lines.append(("Authenticated", "yes" if self.time else f"no: {self.failure}"))
        if self.time:
            lines += [
                ("Stratum", str(self.time.header.stratum)),
                ("Root distance", f"{self.time.header.root_distance:.6f} s"),
                ("Offset", f"{self.time.measurement.offset:+.6f} s"),
                ("Delay", f"{self.time.measurement.delay:.6f} s"),
            ]
        return lines

    def as_json(self) -> dict[str, Any]:
        """Return it for machines; what was not learned is null, times are in seconds."""
        exchange, reply = self.exchange, self.exchange.reply
        agreed = reply if isinstance(reply, Response) else None
        return {
            "ke_server": exchange.address,
            "tls_version": exchange.tls_version,
            "cipher": exchange.cipher,
            "ke_seconds": exchange.elapsed,
            "aead": agreed.aead.value if agreed else None,
            "ntp_server": self.host if agreed else None,
            "ntp_port": self.port if agreed else None,
            "cookies": len(agreed.cookies) if agreed else 0,
            "cookie_length": len(agreed.cookies[0]) if agreed else None,
            "authenticated": self.time is not None,
            "failure": self.failure or None,
            "stratum": self.time.header.stratum if self.time else None,
            "root_distance": self.time.header.root_distance if self.time else None,
            "offset": self.time.measurement.offset if self.time else None,
            "delay": self.time.measurement.delay if self.time else None,
        }


async def query(server: Server, timeout: float, offer: tuple[Aead, ...] = OFFER) -> Query:
    """Be a client of `server` once: exchange keys, spend a cookie, and spend one of those that came back.

    Raises RemoteError when the key exchange itself fails. `timeout`, in seconds, holds for each step.
    """
    request = Request((PROTOCOL_NTPV4,), tuple(offer), compliant_128gcm=Aead.AES_128_GCM_SIV in offer)
    exchange = await exchange_keys(server, request, timeout)
    reply, association = exchange.reply, exchange.association
    if isinstance(reply, Refusal) or association is None:
        return Query(exchange, "", 0, None, _refusal(reply))
    host, port = reply.server or exchange.address, reply.port or DEFAULT_NTP_PORT
    try:
        address = await _resolve(host, port)
        first = await query_time(address, port, association, reply.cookies[0], timeout=timeout)
        if not first.cookies:
            return Query(exchange, host, port, None, "the server gave no new cookie")
        second = await query_time(address, port, association, first.cookies[0], timeout=timeout)
    except RemoteError as error:
        return Query(exchange, host, port, None, str(error))
    # The shorter way is the more exact one.
    best = min(first, second, key=lambda answer: answer.measurement.delay)
    return Query(exchange, host, port, best, "")


def _refusal(reply: Response | Refusal) -> str:
    if isinstance(reply, Refusal) and reply.code is not None:
        return f"the server answers with NTS-KE error {reply.code}"
    return f"the server finds {reply.reason.value}" if isinstance(reply, Refusal) else ""


async def _resolve(host: str, port: int) -> str:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except OSError as error:
        raise RemoteError(f"{host} does not resolve: {error.strerror}") from error
    return str(found[0][4][0])
