# ruff: noqa: ANN001, ANN201
"""A plain NTS-KE server: pyOpenSSL's Connection under asyncio.Protocol, tickets and all; what one writes first."""

import asyncio
import contextlib
import os
import sys

from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from OpenSSL import SSL

KEY = AESSIV(os.urandom(32))
HEAD = bytes.fromhex("80010002 0000 80040002 000f")


class Plain(asyncio.Protocol):
    context: SSL.Context

    def connection_made(self, transport):
        self.transport = transport
        self.tls = SSL.Connection(self.context, None)
        self.tls.set_accept_state()
        self.request = b""

    def data_received(self, data):
        self.tls.bio_write(data)
        try:
            self.request += self.tls.recv(16384)
        except SSL.WantReadError:
            pass
        except SSL.Error:
            self.transport.close()
            return
        if self.request.endswith(bytes.fromhex("80000000")):
            self.request = b""
            self.tls.send(self.response())
            self.tls.shutdown()
        with contextlib.suppress(SSL.WantReadError):
            self.transport.write(self.tls.bio_read(65536))

    def response(self):
        c2s, s2c = (
            self.tls.export_keying_material(b"EXPORTER-network-time-security", 32, bytes([0, 0, 0, 15, each]))
            for each in (0, 1)
        )
        cookies = b""
        for _ in range(8):
            nonce = os.urandom(16)
            cookie = bytes(4) + nonce + KEY.encrypt(bytes([0, 15, 0, 0]) + s2c + c2s, [nonce])
            cookies += b"\x00\x05" + len(cookie).to_bytes(2, "big") + cookie
        return HEAD + cookies + bytes.fromhex("80000000")


async def serve(port, certificate, key):
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.use_certificate_chain_file(certificate)
    context.use_privatekey_file(key)
    context.set_alpn_select_callback(lambda *_: b"ntske/1")
    Plain.context = context
    server = await asyncio.get_running_loop().create_server(Plain, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


asyncio.run(serve(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
