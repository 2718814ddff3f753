"""One NTS-KE session of a client, without sockets: ciphertext in, ciphertext out (RFC 8915 sections 3 and 4)."""

from OpenSSL import SSL

from ntspool.errors import RemoteError
from ntspool.net.clienttls import ClientEnd
from ntspool.pool.cookies import Association
from ntspool.wire.exchange import EXPORTER_LABEL, ClientExchange, exporter_contexts
from ntspool.wire.messages import Refusal, Request, Response
from ntspool.wire.secret import Secret


class ClientSession:
    """Speaks TLS and NTS-KE with one server, whose certificate must cover `name`, a DNS name or an IP literal.

    Send what `start` and `receive_data` return, each in one write. Once `finished`, send that last flight and feed
    nothing more; either `reply` is there then, or `failure` says why not. `established` tells that TLS stood.
    """

    def __init__(self, context: SSL.Context, name: str, request: Request) -> None:
        self._end = ClientEnd(context, name)
        self._request = request
        self._exchange = ClientExchange(request)
        self.established = False
        self.reply: Response | Refusal | None = None
        self.failure: RemoteError | None = None

    @property
    def tls(self) -> SSL.Connection:
        """The TLS connection, for what was negotiated."""
        return self._end.tls

    @property
    def finished(self) -> bool:
        """Whether the session has come to its end, a good one or a bad one."""
        return self.reply is not None or self.failure is not None

    def start(self) -> bytes:
        """Return the first bytes to send."""
        return self.receive_data(b"")

    def receive_data(self, data: bytes) -> bytes:
        """Take bytes from the server; return those to send to it, if any. Never raises for what a server sent."""
        try:
            self._advance(data)
        except RemoteError as error:
            self.failure = error
        return self._end.data_to_send()

    def receive_eof(self) -> None:
        """Take note that the server sends nothing more."""
        if not self.finished:
            self.failure = RemoteError("the server closed the connection without an answer")

    def association(self) -> Association | None:
        """Return what both ends export for the AEAD that the server chose; None when it gave no cookies."""
        if not isinstance(self.reply, Response):
            return None
        aead = self.reply.aead
        c2s, s2c = (
            Secret(self.tls.export_keying_material(EXPORTER_LABEL, aead.key_length, each))
            for each in exporter_contexts(aead, compliant_128gcm=self.reply.compliant_128gcm)
        )
        return Association(aead, c2s, s2c)

    def _advance(self, data: bytes) -> None:
        plaintext = self._end.receive_data(data)
        if self._end.established and not self.established:
            self.established = True
            self._end.send(self._request.encode())
        while plaintext and self.reply is None:
            self.reply = self._exchange.receive_data(plaintext)
            if self.reply is None:
                plaintext = self._end.receive_data(b"")
        if self.reply is not None:
            self._end.close()
        elif plaintext is None:
            raise RemoteError("the server ended TLS without an answer")
