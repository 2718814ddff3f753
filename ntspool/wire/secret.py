"""A value that nobody is to see: keys, passwords and tokens in objects that logs and tracebacks may show."""

from hmac import compare_digest
from typing import Final, NoReturn


class Secret:
    """Bytes that show by `reveal` only, and whose copies end where they are used.

    Whatever makes text of it says how long it is and no more. Pickling, copying and JSON raise TypeError, for none of
    them asks whom it writes for. Secrets equal each other only, and comparing them takes a time that tells nothing of
    their contents; the hash is Python's, keyed anew in every process.
    """

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value: Final = value

    def reveal(self) -> bytes:
        """Return the bytes, for the one who computes with them, writes their file or sends them."""
        return self._value

    def __len__(self) -> int:
        return len(self._value)

    def __repr__(self) -> str:
        return f"Secret({len(self._value)} bytes)"

    def __format__(self, _how: str) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        return compare_digest(self._value, other._value) if isinstance(other, Secret) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        raise TypeError("a secret is not copied or pickled by those who do not know that it is one")


NO_SECRET: Final = Secret(b"")
"""In place of a secret where there is none."""
