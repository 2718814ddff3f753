"""TLS 1.3 between gateways and agents, by the standard library, both sides under the pool's internal authority."""

import os
import ssl

from ntspool.wire.secret import Secret


def server_context(identity: Secret, authority: bytes) -> ssl.SSLContext:
    """Return the context of a control port: `identity` is its private key and certificate in one PEM text.

    A client need not show a certificate, but one that it shows must be of the authority (PEM), and not expired.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER, authority)
    context.verify_mode = ssl.CERT_OPTIONAL
    # A resumed session would bring back what its client was allowed to then.
    context.num_tickets = 0
    _load(context, identity)
    return context


def client_context(identity: Secret | None, authority: bytes) -> ssl.SSLContext:
    """Return the context of an agent that shows `identity`, if it has one, and trusts nothing but the authority."""
    context = _context(ssl.PROTOCOL_TLS_CLIENT, authority)
    if identity is not None:
        _load(context, identity)
    return context


def stranger_context() -> ssl.SSLContext:
    """Return the context of a client that trusts whomever it meets; nothing secret may go over such a connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _context(protocol: int, authority: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=authority.decode())
    return context


def _load(context: ssl.SSLContext, identity: Secret) -> None:
    """Load a private key that is in memory; the standard library takes files only, so it gets one without a disk."""
    descriptor = os.memfd_create("identity", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, identity.reveal())
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
