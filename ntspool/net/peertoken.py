"""The token that a backend's NTS-KE server knows a pool by: one line in a file (the KE pool protocol)."""

import os
import stat
from pathlib import Path

from ntspool.errors import StateError
from ntspool.wire.secret import Secret

SHORTEST = 16
"""Characters of a token. The draft wants 128 random bits: 22 characters of base64, 32 hexadecimal digits."""

LONGEST = 1024
"""Characters of a token: backends take 64 at least, and hardly any takes more."""


def read_token(path: Path) -> Secret:
    """Return the token in the file at `path`, without the white space around it.

    Raises StateError when it cannot be read, when others may read it, or when it is no token.
    """
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & stat.S_IRWXO:
                raise StateError(f"{path} is a token that every user can get at; chmod o= it")
            token = file.read(LONGEST * 2).strip()
    except OSError as error:
        raise StateError(f"{path} cannot be read: {error.strerror}") from error
    if not all(0x21 <= byte <= 0x7E for byte in token):
        raise StateError(f"{path} holds characters that no token has: white space, or others than printable ASCII")
    if not SHORTEST <= len(token) <= LONGEST:
        raise StateError(f"{path} holds {len(token)} characters, and a token has {SHORTEST} to {LONGEST}")
    return Secret(token)
