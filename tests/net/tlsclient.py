"""An NTS-KE client in memory, to talk with a Session byte by byte."""

from OpenSSL import SSL

from ntspool.net.fastssl import FastContext
from ntspool.net.servertls import PublicContext, contexts_by_name
from ntspool.net.session import Session
from ntspool.wire.exchange import EXPORTER_LABEL


def make_context(way: str, certificates):
    """Return what server_context returns when its fast way works, and what it returns when not."""
    kind = {"fast": FastContext, "public": PublicContext}[way]
    return kind(*contexts_by_name(certificates))


class MemoryClient:
    """Talks with a Session; `alpn` None sends no ALPN, `piece` is how many bytes travel at a time."""

    def __init__(self, session: Session, ca=None, alpn=(b"ntske/1",), name="localhost", max_version=None, piece=65536):
        self.session = session
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        if ca is not None:
            context.load_verify_locations(str(ca))
            context.set_verify(SSL.VERIFY_PEER)
        if alpn:
            context.set_alpn_protos(list(alpn))
        if max_version:
            context.set_max_proto_version(max_version)
        self.tls = SSL.Connection(context, None)
        self.tls.set_connect_state()
        if name:
            self.tls.set_tlsext_host_name(name.encode())
        self._piece = piece
        self.flights = []

    def handshake(self):
        """Shake hands; raises SSL.Error when the server refuses."""
        while True:
            try:
                self.tls.do_handshake()
            except SSL.WantReadError:
                if not self._carry():
                    raise
                continue
            self._carry()
            return self

    def ask(self, message: bytes) -> bytes:
        """Send a message; return everything that the server says before its close_notify."""
        self.tls.send(message)
        self._carry()
        return self.listen()

    def listen(self) -> bytes:
        said = b""
        while True:
            try:
                said += self.tls.recv(16384)
            except SSL.ZeroReturnError:
                return said

    def export(self, context: bytes, length: int) -> bytes:
        return self.tls.export_keying_material(EXPORTER_LABEL, length, context)

    def _carry(self) -> bool:
        """Carry what the client has to say to the server, and the server's answers back."""
        try:
            data = self.tls.bio_read(1 << 20)
        except SSL.WantReadError:
            return False
        for start in range(0, len(data), self._piece):
            if not self.session.finished:
                back = self.session.receive_data(data[start : start + self._piece])
                if back:
                    self.flights.append(back)
                    self.tls.bio_write(back)
        return True
