"""A client whose handshake is done by a library and who then makes its own records, whatever they may hold.

OpenSSL would not send what an attacker sends; its key log tells the secret that records are made under.
"""

import socket
import struct

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from OpenSSL import SSL

from tests.abuse.hellos import APPLICATION_DATA, HANDSHAKE, message

KEY_UPDATE = 24
_PATIENCE = 2.0
_CIPHER = "TLS_AES_128_GCM_SHA256"


class Inside:
    """A TLS 1.3 connection over a socket that is about to be connected, after its handshake.

    Raises OSError or SSL.Error when it does not come to that.
    """

    def __init__(self, connected: socket.socket, name: str = "localhost") -> None:
        secrets: list[bytes] = []
        connected.settimeout(_PATIENCE)
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_alpn_protos([b"ntske/1"])
        context.set_keylog_callback(lambda _, line: secrets.append(line))
        tls = SSL.Connection(context, None)
        tls.set_connect_state()
        tls.set_tlsext_host_name(name.encode())
        while not _shaken(tls, connected):
            data = connected.recv(1 << 14)
            if not data:
                raise ConnectionError("turned away")
            tls.bio_write(data)
        if tls.get_cipher_name() != _CIPHER:
            raise RuntimeError(f"the gateway prefers {tls.get_cipher_name()}")
        (line,) = (each for each in secrets if each.startswith(b"CLIENT_TRAFFIC_SECRET_0"))
        self._take(bytes.fromhex(line.split()[2].decode()))

    def seal(self, content: bytes, kind: int = APPLICATION_DATA) -> bytes:
        """Return a record (RFC 8446 section 5.2)."""
        header = struct.pack(">BHH", APPLICATION_DATA, 0x0303, len(content) + 1 + 16)
        nonce = (int.from_bytes(self._iv, "big") ^ self._number).to_bytes(12, "big")
        self._number += 1
        return header + self._aead.encrypt(nonce, content + bytes([kind]), header)

    def key_update(self, *, requested: bool = True) -> bytes:
        """Return a record that announces new keys, and asks for the other side's if it is `requested`."""
        record = self.seal(message(KEY_UPDATE, bytes([requested])), HANDSHAKE)
        self._take(_expand_label(self._secret, b"traffic upd", 32))
        return record

    def _take(self, secret: bytes) -> None:
        self._secret = secret
        self._aead = AESGCM(_expand_label(secret, b"key", 16))
        self._iv = _expand_label(secret, b"iv", 12)
        self._number = 0


def _shaken(tls: SSL.Connection, connected: socket.socket) -> bool:
    """Go on with the handshake; tell whether it is done."""
    try:
        tls.do_handshake()
    except SSL.WantReadError:
        done = False
    else:
        done = True
    connected.sendall(tls.bio_read(1 << 16))
    return done


def _expand_label(secret: bytes, label: bytes, length: int) -> bytes:
    """Return HKDF-Expand-Label of RFC 8446 section 7.1, without a context."""
    label = b"tls13 " + label
    return HKDFExpand(SHA256(), length, struct.pack(">HB", length, len(label)) + label + b"\x00").derive(secret)
