"""What the gateway answers: a backend, an AEAD and eight cookies that only this backend can open."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from ntspool.errors import ErrorCode
from ntspool.pool.balance import Balancer, Choice
from ntspool.pool.cookies import NONCE_LENGTH, Association, CookieKey
from ntspool.pool.model import Client, Selection, Serving
from ntspool.wire.aead import Aead
from ntspool.wire.exchange import exporter_contexts
from ntspool.wire.messages import (
    COOKIES,
    DEFAULT_NTP_PORT,
    NO_COMMON_AEAD,
    NO_COMMON_PROTOCOL,
    Refusal,
    Request,
    Response,
    error_refusal,
)
from ntspool.wire.records import PROTOCOL_NTPV4

RANDOM_LENGTH = 8 + COOKIES * NONCE_LENGTH
"""Bytes of randomness that an answer takes: the choice's and the cookies' nonces."""

Export = Callable[[bytes, int], bytes]
"""Takes an exporter context and a length in bytes; returns keying material of the TLS session (RFC 5705)."""


class Answer(NamedTuple):
    """The message for the client; the choice that led to it, or the reason why there is none."""

    message: Response | Refusal
    choice: Choice | None = None
    reason: str = ""


class Negotiator:
    """Answers requests from one Snapshot; make a new one for every Snapshot."""

    def __init__(self, serving: Iterable[Serving], selection: Selection | None = None) -> None:
        serving = tuple(serving)
        self._balancer = Balancer(serving, selection)
        self._keys = {each.backend.name: CookieKey(each.backend.cookies, each.key) for each in serving}

    def answer(self, request: Request, client: Client, export: Export, random: bytes) -> Answer:
        """Return the answer to `client`; `random` is RANDOM_LENGTH fresh random bytes.

        Never raises for what a client asked. The client's keys leave for one backend only: there is no second try.
        """
        if PROTOCOL_NTPV4 not in request.protocols:
            return Answer(NO_COMMON_PROTOCOL, reason=NO_COMMON_PROTOCOL.reason.value)
        choice = self._balancer.choose(request, client, _fraction(random[:8]))
        if choice is None:
            return self._refuse(request, client)
        return Answer(self._response(choice, request, export, random[8:]), choice)

    def _refuse(self, request: Request, client: Client) -> Answer:
        if not self._balancer.serves_any(request.usable_aeads):
            return Answer(NO_COMMON_AEAD, reason=NO_COMMON_AEAD.reason.value)
        family = client.family
        reason = f"no backend for {family.name} is UP and serves these AEADs"
        if not self._balancer.serves_family(family):
            reason = f"no backend has an {family.name} address"
        return Answer(error_refusal(ErrorCode.INTERNAL_SERVER_ERROR), reason=reason)

    def _response(self, choice: Choice, request: Request, export: Export, nonces: bytes) -> Response:
        aead, backend = choice.aead, choice.serving.backend
        c2s, s2c = exporter_contexts(aead, compliant_128gcm=request.compliant_128gcm)
        length = aead.key_length
        association = Association(aead, export(c2s, length), export(s2c, length))
        return Response(
            aead=aead,
            cookies=self._keys[backend.name].mint_all(association, nonces),
            server=choice.address,
            port=None if backend.port == DEFAULT_NTP_PORT else backend.port,
            compliant_128gcm=aead is Aead.AES_128_GCM_SIV,
        )


_STEP = 2.0**-53


def _fraction(random: bytes) -> float:
    # 53 bits are what a float holds: with all 64 the largest values would round up to 1.
    return (int.from_bytes(random, "big") >> 11) * _STEP
