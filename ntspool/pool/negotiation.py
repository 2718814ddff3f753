"""What the gateway answers: a backend, an AEAD and cookies that only this backend can open.

The cookies of a backend that keeps its own keys must be asked for, with the client's keys: such an answer is Deferred.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import NamedTuple

from ntspool.errors import ErrorCode
from ntspool.pool.balance import Balancer, Choice
from ntspool.pool.cookies import NONCE_LENGTH, Association, CookieKey
from ntspool.pool.model import Client, FixedKey, Selection, Serving
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
from ntspool.wire.poolprotocol import FixedKeyAnswer, FixedKeyRequest
from ntspool.wire.records import PROTOCOL_NTPV4
from ntspool.wire.secret import Secret

RANDOM_LENGTH = 8 + COOKIES * NONCE_LENGTH
"""Bytes of randomness that an answer takes: the choice's and the cookies' nonces."""

Export = Callable[[bytes, int], bytes]
"""Takes an exporter context and a length in bytes; returns keying material of the TLS session (RFC 5705)."""


class Answer(NamedTuple):
    """The message for the client; the choice that led to it, or the reason why there is none.

    Both are there when the backend that was chosen did not make cookies after it was asked for them.
    """

    message: Response | Refusal
    choice: Choice | None = None
    reason: str = ""


class Asked:
    """A request that carries a client's keys to the backend of `choice`; what comes of it, the client gets."""

    __slots__ = ("choice", "request")

    def __init__(self, choice: Choice, request: FixedKeyRequest) -> None:
        self.choice = choice
        self.request = request

    def answer(self, found: FixedKeyAnswer) -> Answer:
        """Return the client's answer with the backend's cookies.

        Where time is, we say ourselves: at the address that probes found good with such cookies.
        """
        aead, backend = self.choice.aead, self.choice.serving.backend
        response = Response(
            aead=aead,
            cookies=found.response.cookies,
            server=self.choice.address,
            port=None if backend.port == DEFAULT_NTP_PORT else backend.port,
            compliant_128gcm=aead is Aead.AES_128_GCM_SIV,
        )
        return Answer(response, self.choice)

    def fail(self, reason: str) -> Answer:
        """Return the client's answer when the backend made no cookies: its keys are known there, so nobody else may."""
        return Answer(error_refusal(ErrorCode.INTERNAL_SERVER_ERROR), self.choice, reason)


class Deferred:
    """An answer that the backend of `choice` must make cookies for: call `ask` or `elsewhere`, and only once.

    The client's keys are exported by that call and no other, so they go to one backend at most.
    """

    __slots__ = ("_client", "_export", "_negotiator", "_request", "_tried", "choice")

    def __init__(
        self,
        negotiator: "Negotiator",
        choice: Choice,
        request: Request,
        client: Client,
        export: Export,
        *,
        tried: frozenset[str] = frozenset(),
    ) -> None:
        self.choice = choice
        self._negotiator = negotiator
        self._request = request
        self._client = client
        self._export: Export | None = export
        self._tried = tried

    def ask(self) -> Asked:
        """Export the client's keys, for the request that is to be sent now; raises RuntimeError the second time."""
        export, aead, peer = self._take(), self.choice.aead, self.choice.serving.backend.cookies
        contexts = exporter_contexts(aead, compliant_128gcm=self._request.compliant_128gcm)
        c2s, s2c = (Secret(export(each, aead.key_length)) for each in contexts)
        token = peer.token if isinstance(peer, FixedKey) else None
        return Asked(self.choice, FixedKeyRequest(token, aead, c2s, s2c))

    def elsewhere(self, random: bytes, broken: frozenset[str] = frozenset()) -> "Answer | Deferred":
        """Choose anew, without this backend, those tried before and those that are `broken`; see Negotiator.answer."""
        tried = self._tried | broken | {self.choice.serving.backend.name}
        return self._negotiator.without(tried, self._request, self._client, self._take(), random)

    def fail(self, reason: str) -> Answer:
        """Return the client's answer when there is nobody to ask any more."""
        return Answer(error_refusal(ErrorCode.INTERNAL_SERVER_ERROR), reason=reason)

    def _take(self) -> Export:
        export, self._export = self._export, None
        if export is None:
            raise RuntimeError("the client's keys are with a backend already")
        return export


class Negotiator:
    """Answers requests from one Snapshot; make a new one for every Snapshot."""

    def __init__(self, serving: Iterable[Serving], selection: Selection | None = None) -> None:
        self._serving = tuple(serving)
        self._selection = selection
        self._balancer = Balancer(self._serving, selection)
        self._without: dict[frozenset[str], Balancer] = {}
        self._keys = {
            each.backend.name: CookieKey(each.backend.cookies, each.key)
            for each in self._serving
            if each.key is not None and not isinstance(each.backend.cookies, FixedKey)
        }

    def answer(self, request: Request, client: Client, export: Export, random: bytes) -> Answer | Deferred:
        """Return the answer to `client`; `random` is RANDOM_LENGTH fresh random bytes.

        Never raises for what a client asked. The client's keys leave for one backend only: there is no second try.
        """
        if PROTOCOL_NTPV4 not in request.protocols:
            return Answer(NO_COMMON_PROTOCOL, reason=NO_COMMON_PROTOCOL.reason.value)
        choice = self._balancer.choose(request, client, _fraction(random[:8]))
        if choice is None:
            return self._refuse(request, client)
        key = self._keys.get(choice.serving.backend.name)
        if key is None:
            return Deferred(self, choice, request, client, export)
        return Answer(self._response(key, choice, request, export, random[8:]), choice)

    def without(
        self, tried: frozenset[str], request: Request, client: Client, export: Export, random: bytes
    ) -> Answer | Deferred:
        """Return the answer to a client that has not got one of the backends `tried`; else as `answer`."""
        choice = self._balancer_without(tried).choose(request, client, _fraction(random[:8]))
        if choice is None:
            reason = "no other backend is UP and serves these AEADs"
            return Answer(error_refusal(ErrorCode.INTERNAL_SERVER_ERROR), reason=reason)
        key = self._keys.get(choice.serving.backend.name)
        if key is None:
            return Deferred(self, choice, request, client, export, tried=tried)
        return Answer(self._response(key, choice, request, export, random[8:]), choice)

    def _balancer_without(self, tried: frozenset[str]) -> Balancer:
        """Return what chooses among the others: those `tried` keep their places in slots, as if they were DOWN."""
        if tried not in self._without:
            if len(self._without) == _BALANCERS:
                del self._without[next(iter(self._without))]
            left = (replace(each, up=()) if each.backend.name in tried else each for each in self._serving)
            self._without[tried] = Balancer(left, self._selection)
        return self._without[tried]

    def _refuse(self, request: Request, client: Client) -> Answer:
        if not self._balancer.serves_any(request.usable_aeads):
            return Answer(NO_COMMON_AEAD, reason=NO_COMMON_AEAD.reason.value)
        family = client.family
        reason = f"no backend for {family.name} is UP and serves these AEADs"
        if not self._balancer.serves_family(family):
            reason = f"no backend has an {family.name} address"
        return Answer(error_refusal(ErrorCode.INTERNAL_SERVER_ERROR), reason=reason)

    def _response(self, key: CookieKey, choice: Choice, request: Request, export: Export, nonces: bytes) -> Response:
        aead, backend = choice.aead, choice.serving.backend
        c2s, s2c = exporter_contexts(aead, compliant_128gcm=request.compliant_128gcm)
        length = aead.key_length
        association = Association(aead, Secret(export(c2s, length)), Secret(export(s2c, length)))
        return Response(
            aead=aead,
            cookies=key.mint_all(association, nonces),
            server=choice.address,
            port=None if backend.port == DEFAULT_NTP_PORT else backend.port,
            compliant_128gcm=aead is Aead.AES_128_GCM_SIV,
        )


_BALANCERS = 16
"""Sets of backends that could not be asked for which a balancer is kept: each costs a look at all backends."""


_STEP = 2.0**-53


def _fraction(random: bytes) -> float:
    # 53 bits are what a float holds: with all 64 the largest values would round up to 1.
    return (int.from_bytes(random, "big") >> 11) * _STEP
