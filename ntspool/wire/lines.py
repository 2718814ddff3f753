"""Lines out of a stream that comes in pieces of any size."""

from ntspool.errors import WireError


class LineBuffer:
    """Collects lines; `limit` bounds what a peer can make us keep of one, in bytes."""

    __slots__ = ("_held", "_limit")

    def __init__(self, limit: int) -> None:
        self._held = bytearray()
        self._limit = limit

    def receive_data(self, data: bytes) -> list[bytes]:
        """Take bytes; return the lines that are whole now, without their ends, and without those that are blank.

        Raises WireError when a line is longer than the limit.
        """
        first, *others = data.split(b"\n")
        self._held += first
        whole = []
        for rest in others:
            self._check()
            whole.append(bytes(self._held))
            self._held = bytearray(rest)
        self._check()
        return [line for line in whole if line.strip()]

    def _check(self) -> None:
        if len(self._held) > self._limit:
            raise WireError(f"a line is longer than {self._limit} bytes")
