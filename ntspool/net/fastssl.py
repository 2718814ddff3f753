"""The server's end of TLS by pyOpenSSL's own bindings: a third of the Python that its Connection runs for a session.

Those bindings are no public interface. Everything that leans on them stands here; `server_context` in
`net/servertls.py` takes `PublicEnd` instead once `FastContext` or its trial fails.
"""

from typing import Any, Final

from OpenSSL import SSL
from OpenSSL._util import ffi, lib

from ntspool.errors import WireError
from ntspool.net.tls import ALPN_NTSKE, NO_ALPN, ByName, in_words
from ntspool.wire.exchange import EXPORTER_LABEL

_SCRATCH_SIZE: Final = 32768
_scratch = ffi.new("unsigned char[]", _SCRATCH_SIZE)
_alpn = ffi.new("unsigned char[]", ALPN_NTSKE)
_alpn_list = bytes([len(ALPN_NTSKE)]) + ALPN_NTSKE
_selected = ffi.new("unsigned char **")
_selected_length = ffi.new("unsigned int *")
_label_length = len(EXPORTER_LABEL)
_memory = lib.BIO_s_mem()

# Looked up once, and here, where it is noticed if one is gone.
_NO_TICKET: Final[int] = lib.SSL_OP_NO_TICKET
_OK: Final[int] = lib.SSL_TLSEXT_ERR_OK
_FATAL: Final[int] = lib.SSL_TLSEXT_ERR_ALERT_FATAL
_HOST_NAME: Final[int] = lib.TLSEXT_NAMETYPE_host_name
_WANT_READ: Final[int] = lib.SSL_ERROR_WANT_READ
_ZERO_RETURN: Final[int] = lib.SSL_ERROR_ZERO_RETURN
_NO_SHARED_CIPHER: Final = "no shared cipher"


class FastContext:
    """Makes the server's ends from pyOpenSSL contexts, which must have no callbacks of their own.

    `contexts` go by the names of their certificates; the first stands where none covers the client's. Clients with
    which they share no cipher are served by `otherwise`.
    """

    def __init__(
        self, contexts: ByName[SSL.Context], first: SSL.Context, otherwise: "FastContext | None" = None
    ) -> None:
        self._contexts = contexts
        self._first = first
        # OpenSSL keeps pointers only: these objects must live as long as the contexts.
        self._select_alpn = ffi.callback(_ALPN_CALLBACK, _select_alpn, error=_FATAL)
        self._select_name = ffi.callback("int (*)(SSL *, int *, void *)", self._select, error=_OK)
        for context in contexts.values():
            lib.SSL_CTX_set_alpn_select_cb(_native(context), self._select_alpn, ffi.NULL)
        self._otherwise = otherwise
        self._several = len(contexts.values()) > 1
        self.native = _native(first)
        lib.SSL_CTX_set_tlsext_servername_callback(self.native, self._select_name)

    def __call__(self) -> "FastEnd":
        """Return the server's end of a new connection."""
        return FastEnd(self.native, self._otherwise)

    def _select(self, ssl: Any, _alert: Any, _argument: Any) -> int:  # noqa: ANN401  -- cffi's pointers
        # Only here does this option keep the tickets back; see PublicContext.
        lib.SSL_set_options(ssl, _NO_TICKET)
        if self._several and (context := self._contexts.get(_server_name(ssl).decode("ascii", "replace").lower())):
            lib.SSL_set_SSL_CTX(ssl, _native(context))
        return _OK


class FastEnd:
    """See servertls.ServerEnd."""

    __slots__ = ("_hello", "_incoming", "_otherwise", "_outgoing", "_ssl", "established")

    def __init__(self, context: Any, otherwise: FastContext | None) -> None:  # noqa: ANN401  -- an SSL_CTX *
        self._otherwise = otherwise
        self._hello = b""
        self._begin(context)

    def _begin(self, context: Any) -> None:  # noqa: ANN401
        self._ssl = ffi.gc(lib.SSL_new(context), lib.SSL_free)
        self._incoming, self._outgoing = lib.BIO_new(_memory), lib.BIO_new(_memory)
        # From here on they are freed with the connection.
        lib.SSL_set_bio(self._ssl, self._incoming, self._outgoing)
        lib.SSL_set_accept_state(self._ssl)
        self.established = False

    def receive_data(self, data: bytes) -> bytes | None:
        """See ServerEnd.receive_data."""
        # What stands in the queue of errors decides what SSL_get_error says.
        lib.ERR_clear_error()
        if data:
            lib.BIO_write(self._incoming, data, len(data))
        if not self.established:
            result = lib.SSL_do_handshake(self._ssl)
            if result != 1:
                return self._why_not(result) if self._otherwise is None else self._go_on(self._otherwise, result, data)
            self.established = True
            self._check_alpn()
        result = lib.SSL_read(self._ssl, _scratch, _SCRATCH_SIZE)
        return ffi.buffer(_scratch, result)[:] if result > 0 else self._why_not(result)

    def send(self, plaintext: bytes) -> None:
        """See ServerEnd.send."""
        lib.SSL_write(self._ssl, plaintext, len(plaintext))

    def send_last(self, plaintext: bytes) -> None:
        """See ServerEnd.send_last."""
        self.send(plaintext)
        lib.SSL_shutdown(self._ssl)

    def data_to_send(self) -> bytes:
        """See ServerEnd.data_to_send."""
        length = lib.BIO_read(self._outgoing, _scratch, _SCRATCH_SIZE)
        if length <= 0:
            return b""
        data: bytes = ffi.buffer(_scratch, length)[:]
        return data if length < _SCRATCH_SIZE else data + self.data_to_send()

    def export(self, context: bytes, length: int) -> bytes:
        """See ServerEnd.export."""
        done = lib.SSL_export_keying_material(
            self._ssl, _scratch, length, EXPORTER_LABEL, _label_length, context, len(context), 1
        )
        if done != 1:
            raise RuntimeError("OpenSSL exports no keys")
        return ffi.buffer(_scratch, length)[:]  # type: ignore[no-any-return]

    def server_name(self) -> bytes:
        """See ServerEnd.server_name."""
        return _server_name(self._ssl)

    def _go_on(self, otherwise: FastContext, result: int, data: bytes) -> bytes | None:
        """Begin anew by `otherwise`, with what the client has said so far, if no cipher is shared."""
        self._hello += data
        try:
            return self._why_not(result)
        except WireError as error:
            if str(error) != _NO_SHARED_CIPHER:
                raise
        self._otherwise = None
        self._begin(otherwise.native)
        return self.receive_data(self._hello)

    def _why_not(self, result: int) -> bytes | None:
        error = lib.SSL_get_error(self._ssl, result)
        if error == _WANT_READ:
            return b""
        if error == _ZERO_RETURN:
            return None
        raise WireError(_last_error())

    def _check_alpn(self) -> None:
        lib.SSL_get0_alpn_selected(self._ssl, _selected, _selected_length)
        if not _selected_length[0]:
            raise WireError(NO_ALPN)


_ALPN_CALLBACK = "int (*)(SSL *, unsigned char **, unsigned char *, const unsigned char *, unsigned int, void *)"


def _select_alpn(_ssl: Any, out: Any, out_length: Any, offered: Any, length: int, _argument: Any) -> int:  # noqa: ANN401
    if not _offers_ntske(ffi.buffer(offered, length)[:]):
        return _FATAL
    out[0], out_length[0] = _alpn, len(ALPN_NTSKE)
    return _OK


def _offers_ntske(offered: bytes) -> bool:
    """Tell whether a list of names, each after its length, has ours; OpenSSL has checked how it is framed."""
    at = 0
    while at < len(offered):
        if offered.startswith(_alpn_list, at):
            return True
        at += 1 + offered[at]
    return False


def _server_name(ssl: Any) -> bytes:  # noqa: ANN401
    name = lib.SSL_get_servername(ssl, _HOST_NAME)
    return ffi.string(name) if name else b""


def _last_error() -> str:
    """Empty OpenSSL's queue of errors and return the last one's words, as tls.describe does."""
    words = "connection lost"
    while code := lib.ERR_get_error():
        words = ffi.string(lib.ERR_reason_error_string(code)).decode()
    return in_words(words)


def _native(context: SSL.Context) -> Any:  # noqa: ANN401
    return context._context  # noqa: SLF001
