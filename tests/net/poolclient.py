"""A pool's side of the KE pool protocol over a blocking socket, to talk with a backend's NTS-KE server word by word."""

import socket
from contextlib import suppress

from OpenSSL import SSL

from ntspool.net.tls import client_context
from ntspool.wire.poolexchange import PoolExchange

TIMEOUT = 10.0


class PoolClient:
    """A TLS connection to an NTS-KE server that `ca` vouches for; use it with `with`."""

    def __init__(self, host, port, ca, name="localhost"):
        self._socket = socket.create_connection((host, port), TIMEOUT)
        self.tls = SSL.Connection(client_context(ca), None)
        self.tls.set_connect_state()
        self.tls.set_tlsext_host_name(name.encode())
        self._exchange = PoolExchange()

    def __enter__(self):
        while True:
            try:
                self.tls.do_handshake()
            except SSL.WantReadError:
                self._flush()
                assert self._read(), "the server closed the connection while shaking hands"
                continue
            self._flush()
            return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Close the connection without a word."""
        self._socket.close()

    def ask(self, question):
        """Ask and return the answer; None when the server ends the connection instead."""
        self.send(self._exchange.ask(question))
        while (data := self.receive()) is not None:
            if (answer := self._exchange.receive_data(data)) is not None:
                return answer
        return None

    def send(self, data):
        """Say these bytes."""
        self.tls.send(data)
        self._flush()

    def receive(self):
        """Return the next bytes, None once the server has said its last."""
        while True:
            with suppress(SSL.WantReadError):
                try:
                    return self.tls.recv(16384)
                except SSL.ZeroReturnError:
                    return None
            if not self._read():
                return None

    def _read(self):
        try:
            data = self._socket.recv(65536)
        except ConnectionResetError:
            return False
        if data:
            self.tls.bio_write(data)
        return bool(data)

    def _flush(self):
        with suppress(SSL.WantReadError):
            self._socket.sendall(self.tls.bio_read(65536))
