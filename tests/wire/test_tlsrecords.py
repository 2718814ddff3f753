"""Counting TLS records, however the stream is cut."""

from hypothesis import given
from hypothesis import strategies as st

from ntspool.wire.tlsrecords import RecordCounter


@given(
    bodies=st.lists(st.binary(max_size=300), max_size=8),
    cuts=st.lists(st.integers(0, 2500), max_size=12),
    tail=st.binary(max_size=4),
)
def test_each_record_counts_once(bodies, cuts, tail):
    stream = b"".join(b"\x17\x03\x03" + len(body).to_bytes(2, "big") + body for body in bodies) + tail
    counter, start = RecordCounter(), 0
    for cut in [*sorted(cuts), len(stream)]:
        counter.receive_data(stream[start:cut])
        start = max(start, cut)
    assert counter.count == len(bodies)


def test_a_record_counts_when_its_header_is_there():
    counter = RecordCounter()
    assert counter.receive_data(b"\x17\x03\x03\x40") == 0
    assert counter.receive_data(b"\x00") == 1
    assert counter.receive_data(bytes(1 << 14)) == 1
    assert counter.receive_data(b"\x17\x03\x03\x00\x00" * 3) == 4
