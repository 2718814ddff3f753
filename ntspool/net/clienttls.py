"""The client's end of TLS, in memory: to a server whose certificate must cover a name."""

from functools import lru_cache
from ipaddress import ip_address

import service_identity
from cryptography.x509 import Certificate, DNSName, SubjectAlternativeName
from OpenSSL import SSL
from service_identity.cryptography import verify_certificate_hostname, verify_certificate_ip_address

from ntspool.errors import RemoteError, WireError
from ntspool.net.tls import ALPN_NTSKE, describe_refusal
from ntspool.pool.unreadable import UNREADABLE

_READ_SIZE = 16384
_FLIGHT = 65536


class ClientEnd:
    """One connection's TLS, without a socket; the certificate must cover `name`, a DNS name or an IP literal.

    Send what `data_to_send` returns after each call. `established` tells that the handshake is done and the name
    verified. `tls` is pyOpenSSL's connection.
    """

    def __init__(self, context: SSL.Context, name: str) -> None:
        self.tls = SSL.Connection(context, None)
        self.tls.set_connect_state()
        self._name = name
        if not is_address(name):
            self.tls.set_tlsext_host_name(name.encode("idna"))
        self.established = False

    def receive_data(self, data: bytes) -> bytes | None:
        """Take ciphertext, none at first; return the plaintext of one record, empty if there is none yet.

        None is the server's close_notify. After plaintext, b"" asks for that of the next record. Raises RemoteError
        when TLS fails, WireError among them when the server does not speak ALPN ntske/1.
        """
        if data:
            self.tls.bio_write(data)
        try:
            if not self.established:
                self.tls.do_handshake()
                if self.tls.get_alpn_proto_negotiated() != ALPN_NTSKE:
                    raise WireError("the server does not speak ALPN ntske/1")
                self._check_name()
                self.established = True
            return self.tls.recv(_READ_SIZE)
        except SSL.WantReadError:
            return b""
        except SSL.ZeroReturnError:
            return None
        except SSL.Error as error:
            raise RemoteError(f"TLS failed: {describe_refusal(self.tls, error)}") from error

    def send(self, plaintext: bytes) -> None:
        """Say this."""
        self.tls.send(plaintext)

    def close(self) -> None:
        """Say close_notify."""
        self.tls.shutdown()

    def data_to_send(self) -> bytes:
        """Return the ciphertext to send now, empty if there is none."""
        try:
            return self.tls.bio_read(_FLIGHT)
        except SSL.WantReadError:
            return b""

    def _check_name(self) -> None:
        try:
            certificate = self.tls.get_peer_certificate(as_cryptography=True)
        except UNREADABLE as error:
            raise RemoteError("the server's certificate cannot be read") from error
        if certificate is None or not covers_name(certificate, self._name):
            raise RemoteError(f"the server's certificate is not for {self._name}")


@lru_cache(maxsize=16)
def covers_name(certificate: Certificate, name: str) -> bool:
    """Tell whether a certificate is good for a name; remembered, as a load of clients asks for the same each time."""
    try:
        # What OpenSSL takes for names may still be none: an authority signs what it likes.
        names = certificate.extensions
    except UNREADABLE:
        return False
    try:
        (verify_certificate_ip_address if is_address(name) else verify_certificate_hostname)(certificate, name)
    except (service_identity.VerificationError, service_identity.CertificateError):
        return False
    except ValueError:
        # Debian 13's service-identity stumbles over a wildcard when the name has one label, which none can cover.
        return name in names.get_extension_for_class(SubjectAlternativeName).value.get_values_for_type(DNSName)
    return True


def is_address(name: str) -> bool:
    """Tell whether a server is known by an IP literal: no SNI is sent then."""
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
