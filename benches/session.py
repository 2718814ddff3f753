"""Tell what one session costs in memory, without sockets: stage by stage, and what of it is the TLS library's own.

    python -m benches.session --kebench DIR

The server's end takes turns with the same calls of the library and the cipher alone; the program plays the client, too,
so that caches are as cold as in service. Microseconds of CPU, the tenth percentile. DIR holds cert.pem and key.pem.
"""

import argparse
import gc
import os
import ssl
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path
from time import perf_counter_ns

from OpenSSL import SSL

from ntspool.net import fastssl
from ntspool.net.connection import RandomBytes
from ntspool.net.fastssl import ffi, lib
from ntspool.net.servertls import server_context
from ntspool.net.session import Session
from ntspool.net.sessionlog import SessionLog
from ntspool.pool.ciphers import cipher_for
from ntspool.pool.cookies import CookieFormat, ServerKey
from ntspool.pool.model import Backend, Certificate, LogSettings, Serving, UpAddress
from ntspool.pool.negotiation import Negotiator
from ntspool.wire.aead import Aead
from ntspool.wire.exchange import EXPORTER_LABEL, exporter_contexts
from ntspool.wire.secret import Secret

REQUEST = bytes.fromhex("80010002000000040002000f80000000")
AEAD = Aead.AES_SIV_CMAC_256
FLIGHT = "ClientHello to the server's flight"
BARE = (FLIGHT, "Finished and request", "two exports", "eight cookies", "response and close_notify", "SSL_free")
OURS = (f"session: {FLIGHT}", "session: request to response", "session: log line")


def client(first: Callable[[bytes], bytes], second: Callable[[bytes], bytes]) -> None:
    """Play a client by the standard library: `first` answers its ClientHello, `second` its request."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = CONTEXT.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    incoming.write(first(outgoing.read()))
    tls.do_handshake()
    tls.write(REQUEST)
    second(outgoing.read())


def fleet() -> list[Serving]:
    """Return three backends that are UP."""
    served = []
    for number in range(1, 4):
        address = ip_address(f"127.0.1.{number}")
        backend = Backend(f"ntp-{number}", (address,), 123, 100, CookieFormat.NTSPOOL, (AEAD,), "all")
        served.append(Serving(backend, (UpAddress(address, (AEAD,), 100.0),), ServerKey(number, Secret(bytes(32)))))
    return served


class Bare:
    """The calls of the TLS library and of the cipher that a session is made of, and nothing else."""

    def __init__(self, native: object) -> None:
        self._native = native
        self._scratch = ffi.new("unsigned char[]", 32768)
        self._nonces = [os.urandom(16) for _ in range(8)]
        self._seal = cipher_for(AEAD, os.urandom(32)).seal_each
        self._contexts = exporter_contexts(AEAD, compliant_128gcm=False)

    def session(self) -> list[int]:
        """Do one; return what each stage took."""
        stamps = []

        def first(hello: bytes) -> bytes:
            stamps.append(perf_counter_ns())
            self._tls = lib.SSL_new(self._native)
            self._in, self._out = lib.BIO_new(lib.BIO_s_mem()), lib.BIO_new(lib.BIO_s_mem())
            lib.SSL_set_bio(self._tls, self._in, self._out)
            lib.SSL_set_accept_state(self._tls)
            lib.BIO_write(self._in, hello, len(hello))
            lib.SSL_do_handshake(self._tls)
            flight = self._said()
            stamps.append(perf_counter_ns())
            return flight

        def second(request: bytes) -> bytes:
            stamps.append(perf_counter_ns())
            lib.BIO_write(self._in, request, len(request))
            lib.SSL_do_handshake(self._tls)
            lib.SSL_read(self._tls, self._scratch, 32768)
            stamps.append(perf_counter_ns())
            keys = b"".join([self._export(each) for each in self._contexts])
            stamps.append(perf_counter_ns())
            response = b"".join(self._seal(self._nonces, keys, [b"key."] * 8))
            stamps.append(perf_counter_ns())
            lib.SSL_write(self._tls, response, len(response))
            lib.SSL_shutdown(self._tls)
            flight = self._said()
            stamps.append(perf_counter_ns())
            lib.SSL_free(self._tls)
            stamps.append(perf_counter_ns())
            return flight

        client(first, second)
        begin, flight, *rest = stamps
        return [flight - begin, *(after - before for before, after in pairwise(rest))]

    def _export(self, context: bytes) -> bytes:
        lib.SSL_export_keying_material(
            self._tls, self._scratch, 32, EXPORTER_LABEL, len(EXPORTER_LABEL), context, len(context), 1
        )
        return ffi.buffer(self._scratch, 32)[:]

    def _said(self) -> bytes:
        return ffi.buffer(self._scratch, lib.BIO_read(self._out, self._scratch, 32768))[:]


def ours(make: Callable[[], Session], log: SessionLog) -> list[int]:
    """Do one session of ntspool's; return what each stage took."""
    session, stages = make(), []

    def receive(data: bytes) -> bytes:
        began = perf_counter_ns()
        answer = session.receive_data(data)
        stages.append(perf_counter_ns() - began)
        return answer

    client(receive, receive)
    began = perf_counter_ns()
    log.write(session.report, "127.0.0.1", 0.001)
    stages.append(perf_counter_ns() - began)
    if session.report.answer is None or session.report.answer.choice is None:
        raise SystemExit(f"the session failed: {session.report}")
    return stages


def tell(names: tuple[str, ...], sessions: list[list[int]]) -> None:
    def tenth(values: list[int]) -> float:
        return sorted(values)[len(values) // 10] / 1000

    for name, values in zip(names, zip(*sessions, strict=True), strict=True):
        print(f"| {name} | {tenth(list(values)):.0f} |")
    print(f"| sum | {tenth([sum(each) for each in sessions]):.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kebench", type=Path, default=os.environ.get("KEBENCH"), help="folder of the certificate")
    parser.add_argument("--sessions", type=int, default=3000)
    options = parser.parse_args()
    pair = [(options.kebench / name).read_bytes() for name in ("cert.pem", "key.pem")]
    context, negotiator, random = (
        server_context([Certificate(pair[0], Secret(pair[1]))]),
        Negotiator(fleet()),
        RandomBytes(),
    )
    if not isinstance(context, fastssl.FastContext):
        parser.error("the fast way of TLS does not serve here")
    log, bare = SessionLog(LogSettings(format="json"), lambda _: None), Bare(context.native)
    gc.disable()
    plain, whole = [], []
    for _ in range(options.sessions):
        plain.append(bare.session())
        whole.append(ours(lambda: Session(context, negotiator, b"\x7f\0\0\1", random), log))
    print(f"| {SSL.OpenSSL_version(SSL.OPENSSL_VERSION).decode()} | microseconds |\n|---|---|")
    tell(BARE, plain)
    tell(OURS, whole)


CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
CONTEXT.check_hostname = False
CONTEXT.verify_mode = ssl.CERT_NONE
CONTEXT.set_alpn_protocols(["ntske/1"])

if __name__ == "__main__":
    main()
