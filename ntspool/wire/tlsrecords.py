"""TLS records as they are seen from outside, by their headers (RFC 8446 section 5.1)."""

from typing import Final

HEADER_LENGTH: Final = 5

MOST_RECORDS: Final = 32
"""TLS records that a client may send, and a pool for each of its questions.

Clients need four, and one whose every byte of a request has its own, 27.
Some cost far more than their bytes: a KeyUpdate of 27 bytes takes OpenSSL 50 microseconds and is answered by another.
"""


class RecordCounter:
    """Counts the records that have begun in a stream of bytes, whatever is in them; `count` is how many."""

    __slots__ = ("_header", "_left", "count")

    def __init__(self) -> None:
        self.count = 0
        self._header = b""
        self._left = 0

    def receive_data(self, data: bytes) -> int:
        """Take the next bytes; return the count. A record counts once its header is there."""
        if self._header:
            data, self._header = self._header + data, b""
        at, end = self._left, len(data)
        while at + HEADER_LENGTH <= end:
            self.count += 1
            at += HEADER_LENGTH + (data[at + 3] << 8 | data[at + 4])
        if at < end:
            self._header, at = data[at:], end
        self._left = at - end
        return self.count
