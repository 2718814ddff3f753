"""What a backend's own NTS-KE server answers: its clients, and the pools that it knows (the KE pool protocol)."""

from collections.abc import Callable
from dataclasses import dataclass

from ntspool.errors import ErrorCode
from ntspool.pool.cookies import CLIENT_AEADS, NONCE_LENGTH, Association, CookieFormat, CookieJar
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
from ntspool.wire.poolprotocol import FixedKeyAnswer, FixedKeyRequest, Support, SupportQuery
from ntspool.wire.records import PROTOCOL_NTPV4
from ntspool.wire.secret import Secret

_AEADS = CLIENT_AEADS[CookieFormat.NTSPOOL]

Message = Support | FixedKeyAnswer | Response | Refusal


@dataclass(frozen=True, slots=True)
class BackendKe:
    """Answers by the cookies of `jar`, which is in our own format, and tells the time server's UDP `port`.

    `tokens` are those of the pools that may ask for other keys than their own session's; without any none may.
    `random` returns as many bytes as it is asked for.
    """

    jar: CookieJar
    tokens: tuple[Secret, ...]
    port: int
    random: Callable[[int], bytes]

    def client(self, request: Request, export: Callable[[bytes, int], bytes]) -> Response | Refusal:
        """Answer an ordinary client; `export` is its session's exporter (RFC 8915 section 5.1)."""
        if PROTOCOL_NTPV4 not in request.protocols:
            return NO_COMMON_PROTOCOL
        usable = request.usable_aeads
        if not usable:
            return NO_COMMON_AEAD
        contexts = exporter_contexts(usable[0], compliant_128gcm=request.compliant_128gcm)
        c2s, s2c = (Secret(export(each, usable[0].key_length)) for each in contexts)
        return self._response(Association(usable[0], c2s, s2c), compliant_128gcm=request.compliant_128gcm)

    def pool(self, question: SupportQuery | FixedKeyRequest, *, keep_alive: bool) -> Message:
        """Answer a pool, and let the connection live on if `keep_alive`; Error 1 unless it has a token of ours."""
        if not self._knows(question.token):
            return error_refusal(ErrorCode.BAD_REQUEST)
        if isinstance(question, SupportQuery):
            protocols = (PROTOCOL_NTPV4,) if question.protocols else None
            aeads = tuple((aead.value, aead.key_length) for aead in _AEADS) if question.aeads else None
            return Support(protocols, aeads, keep_alive)
        if question.protocol != PROTOCOL_NTPV4:
            return NO_COMMON_PROTOCOL
        if question.aead not in _AEADS:
            return NO_COMMON_AEAD
        response = self._response(Association(Aead(question.aead), question.c2s, question.s2c))
        return FixedKeyAnswer(response, keep_alive)

    def _response(self, association: Association, *, compliant_128gcm: bool = False) -> Response:
        cookies = tuple(self.jar.mint(association, self.random(NONCE_LENGTH)) for _ in range(COOKIES))
        port = None if self.port == DEFAULT_NTP_PORT else self.port
        return Response(association.aead, cookies, None, port, compliant_128gcm)

    def _knows(self, token: Secret | None) -> bool:
        # Compared with all: how long that takes tells nothing.
        return token is not None and any([token == each for each in self.tokens])  # noqa: C419
