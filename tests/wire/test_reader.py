"""ntspool/wire/reader.py: whatever is asked for, nothing is read from beyond the end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntspool.errors import ErrorCode, WireError
from ntspool.wire.reader import Reader

WIDTHS = {Reader.u16: 2, Reader.u32: 4, Reader.u64: 8}


def test_integers_are_big_endian_and_unsigned():
    reader = Reader(bytes.fromhex("fffe 80000001 ff00000000000002"))
    assert (reader.u16(), reader.u32(), reader.u64()) == (0xFFFE, 0x80000001, 0xFF00000000000002)
    assert reader.remaining == 0


@given(st.binary(max_size=40), st.lists(st.integers(0, 12), max_size=8))
def test_pieces_are_taken_in_order_and_an_overrun_takes_nothing(data, lengths):
    reader, taken = Reader(data), b""
    for length in lengths:
        if length <= len(data) - len(taken):
            taken += reader.take(length)
        else:
            with pytest.raises(WireError, match=f"^needs {length} bytes, has {len(data) - len(taken)}$"):
                reader.take(length)
        assert data.startswith(taken)
        assert (reader.position, reader.remaining) == (len(taken), len(data) - len(taken))
    assert taken + reader.rest() == data
    assert reader.remaining == 0


@pytest.mark.parametrize("read", WIDTHS)
def test_integers_need_all_their_bytes(read):
    width = WIDTHS[read]
    assert read(Reader(bytes(width))) == 0
    with pytest.raises(WireError) as caught:
        read(Reader(bytes(width - 1)))
    assert caught.value.code is ErrorCode.BAD_REQUEST
