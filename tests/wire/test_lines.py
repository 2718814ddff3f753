"""ntspool/wire/lines.py: lines however the stream is cut, and a bound to what is kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntspool.errors import WireError
from ntspool.wire.lines import LineBuffer


@given(st.lists(st.sampled_from([b"", b" ", b"a", b"bc\n", b"\n", b"\r\n", b"d\ne"])))
def test_the_lines_are_the_same_however_they_are_cut(pieces):
    whole, cut, bytewise = (LineBuffer(100) for _ in range(3))
    data = b"".join(pieces)
    found = whole.receive_data(data)
    assert [line for piece in pieces for line in cut.receive_data(piece)] == found
    assert [line for at in range(len(data)) for line in bytewise.receive_data(data[at : at + 1])] == found
    assert found == [line for line in data.split(b"\n")[:-1] if line.strip()]


@pytest.mark.parametrize("pieces", [[b"a" * 11], [b"a" * 10, b"a"], [b"ok\n" + b"a" * 11 + b"\nok\n"]])
def test_a_line_above_the_limit_is_refused(pieces):
    buffer, *_, last = LineBuffer(10), *pieces
    for piece in pieces[:-1]:
        buffer.receive_data(piece)
    with pytest.raises(WireError, match="a line is longer than 10 bytes"):
        buffer.receive_data(last)


def test_one_of_the_limit_is_taken():
    assert LineBuffer(10).receive_data(b"a" * 10 + b"\n" + b"b" * 10 + b"\n") == [b"a" * 10, b"b" * 10]
