"""One NTS-KE session of a client, without sockets: ciphertext in, ciphertext out (RFC 8915 sections 3 and 4)."""

from functools import lru_cache
from ipaddress import ip_address

import service_identity
from cryptography.x509 import Certificate, DNSName, SubjectAlternativeName
from OpenSSL import SSL
from service_identity.cryptography import verify_certificate_hostname, verify_certificate_ip_address

from ntspool.errors import RemoteError, WireError
from ntspool.net.tls import ALPN_NTSKE, describe
from ntspool.pool.cookies import Association
from ntspool.wire.exchange import EXPORTER_LABEL, ClientExchange, exporter_contexts
from ntspool.wire.messages import Refusal, Request, Response

_READ_SIZE = 16384


class ClientSession:
    """Speaks TLS and NTS-KE with one server, whose certificate must cover `name`, a DNS name or an IP literal.

    Send what `start` and `receive_data` return, each in one write. Once `finished`, send that last flight and feed
    nothing more; either `reply` is there then, or `failure` says why not. `established` tells that TLS stood.
    """

    def __init__(self, context: SSL.Context, name: str, request: Request) -> None:
        self.tls = SSL.Connection(context, None)
        self.tls.set_connect_state()
        self._name = name
        if not is_address(name):
            self.tls.set_tlsext_host_name(name.encode("idna"))
        self._request = request
        self._exchange = ClientExchange(request)
        self.established = False
        self.reply: Response | Refusal | None = None
        self.failure: RemoteError | None = None

    @property
    def finished(self) -> bool:
        """Whether the session has come to its end, a good one or a bad one."""
        return self.reply is not None or self.failure is not None

    def start(self) -> bytes:
        """Return the first bytes to send."""
        return self._go_on()

    def receive_data(self, data: bytes) -> bytes:
        """Take bytes from the server; return those to send to it, if any. Never raises for what a server sent."""
        self.tls.bio_write(data)
        return self._go_on()

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
            self.tls.export_keying_material(EXPORTER_LABEL, aead.key_length, each)
            for each in exporter_contexts(aead, compliant_128gcm=self.reply.compliant_128gcm)
        )
        return Association(aead, c2s, s2c)

    def _go_on(self) -> bytes:
        try:
            self._advance()
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self.failure = RemoteError("the server ended TLS without an answer")
        except SSL.Error as error:
            self.failure = RemoteError(f"TLS failed: {describe(error)}")
        except RemoteError as error:
            self.failure = error
        return self._pending()

    def _advance(self) -> None:
        if not self.established:
            self.tls.do_handshake()
            if self.tls.get_alpn_proto_negotiated() != ALPN_NTSKE:
                raise WireError("the server does not speak ALPN ntske/1")
            self._check_name()
            self.established = True
            self.tls.send(self._request.encode())
        while self.reply is None:
            self.reply = self._exchange.receive_data(self.tls.recv(_READ_SIZE))
        self.tls.shutdown()

    def _check_name(self) -> None:
        certificate = self.tls.get_peer_certificate(as_cryptography=True)
        if certificate is None or not covers_name(certificate, self._name):
            raise RemoteError(f"the server's certificate is not for {self._name}")

    def _pending(self) -> bytes:
        try:
            return self.tls.bio_read(65536)
        except SSL.WantReadError:
            return b""


@lru_cache(maxsize=16)
def covers_name(certificate: Certificate, name: str) -> bool:
    """Tell whether a certificate is good for a name; remembered, as a load of clients asks for the same each time."""
    try:
        (verify_certificate_ip_address if is_address(name) else verify_certificate_hostname)(certificate, name)
    except (service_identity.VerificationError, service_identity.CertificateError):
        return False
    except ValueError:
        # Debian 13's service-identity stumbles over a wildcard when the name has one label, which none can cover.
        names = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
        return name in names.get_values_for_type(DNSName)
    return True


def is_address(name: str) -> bool:
    """Tell whether a server is known by an IP literal: no SNI is sent then."""
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
