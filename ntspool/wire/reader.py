"""A bounds-checked cursor over untrusted bytes."""

from ntspool.errors import WireError


class Reader:
    """Takes big-endian integers and byte strings off the front of `data`.

    Every method raises WireError when `data` ends too early, so no decoder built on it can read out of bounds.
    """

    __slots__ = ("_data", "_position")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    @property
    def remaining(self) -> int:
        """How many bytes have not been taken yet."""
        return len(self._data) - self._position

    @property
    def position(self) -> int:
        """How many bytes have been taken."""
        return self._position

    def take(self, length: int) -> bytes:
        """Take exactly `length` bytes."""
        end = self._position + length
        if end > len(self._data):
            raise WireError(f"needs {length} bytes, has {self.remaining}")
        taken = self._data[self._position : end]
        self._position = end
        return taken

    def rest(self) -> bytes:
        """Take everything that is left."""
        return self.take(self.remaining)

    def u16(self) -> int:
        """Take an unsigned 16-bit integer."""
        return int.from_bytes(self.take(2), "big")

    def u32(self) -> int:
        """Take an unsigned 32-bit integer."""
        return int.from_bytes(self.take(4), "big")

    def u64(self) -> int:
        """Take an unsigned 64-bit integer."""
        return int.from_bytes(self.take(8), "big")
