"""The token that a backend's NTS-KE server knows a pool by: one line in a file (the KE pool protocol)."""

from pathlib import Path

from ntspool.errors import StateError
from ntspool.net.secretfile import read_secret
from ntspool.wire.secret import Secret

SHORTEST = 16
"""Characters of a token. The draft wants 128 random bits: 22 characters of base64, 32 hexadecimal digits."""

LONGEST = 1024
"""Characters of a token: backends take 64 at least, and hardly any takes more."""


def read_token(path: Path) -> Secret:
    """Return the token in the file at `path`, without the white space around it.

    Raises StateError when it cannot be read, when others may read it, or when it is no token.
    """
    token = read_secret(path).reveal().strip()
    if not all(0x21 <= byte <= 0x7E for byte in token):
        raise StateError(f"{path} holds characters that no token has: white space, or others than printable ASCII")
    if not SHORTEST <= len(token) <= LONGEST:
        raise StateError(f"{path} holds {len(token)} characters, and a token has {SHORTEST} to {LONGEST}")
    return Secret(token)
