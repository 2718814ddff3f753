"""The records that this gateway has added: read as they were written, and refused when they are damaged."""

import json

import pytest

from ntspool.errors import StateError
from ntspool.pool.publishedfile import decode, encode
from ntspool.pool.publishing import Key, Kind

RECORDS = {(Key("pool.example.com", Kind.A), "192.0.2.1"), (Key("pool.example.com", Kind.AAAA), "2001:db8::1")}


def test_what_was_written_is_read():
    assert decode(encode(RECORDS)) == RECORDS
    assert decode(encode([])) == frozenset()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"nonsense",
        b"[]",
        b"{}",
        b"[" * 100_000,
        *(json.dumps({"records": each}).encode() for each in (1, [1], [["a", "A"]], [["a", "TXT", "x"]])),
        *(
            json.dumps({"records": [each]}).encode()
            for each in ([None, "A", "192.0.2.1"], ["a", "A", 7], ["a\n", "A", ""])
        ),
    ],
)
def test_what_is_damaged_is_told(data):
    with pytest.raises(StateError, match="the entry published of the state directory is damaged; delete it"):
        decode(data)
