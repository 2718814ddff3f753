"""A server's bytes, read however wrong they are."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from ntspool.pool.exam.conversation import read_answer
from ntspool.pool.exam.response import judge_answer, named_server
from ntspool.wire.records import END_OF_MESSAGE, Record
from tests.pool.exam.seen import GOOD, answered, said


@given(st.binary(max_size=200))
def test_nothing_is_lost_and_nothing_raises(data):
    answer = read_answer(data)
    assert b"".join(each.encode() for each in answer.records) + answer.rest == data
    list(judge_answer(replace(GOOD, data=data)))


BODIES = st.one_of(
    st.binary(max_size=6), st.sampled_from([b"", b"\0\0", b"\0\x0f", b"192.0.2.1", b"\x1b[2J", b"x" * 100])
)
RECORDS = st.builds(Record, st.integers(0, 12), BODIES, st.booleans())


@given(st.lists(RECORDS, max_size=6), st.binary(max_size=4))
def test_whatever_records_come_they_can_be_judged(records, rest):
    for seen in (said(*records, END_OF_MESSAGE), answered(*records), said(*records)):
        findings = list(judge_answer(replace(seen, data=seen.data + rest)))
        assert all(each.section and each.text.isprintable() for each in findings)
        assert (named_server(seen.answer) or "").isprintable()


def test_what_follows_the_end_is_the_rest():
    answer = read_answer(END_OF_MESSAGE.encode() + b"more")
    assert answer.complete
    assert answer.rest == b"more"
    assert not read_answer(b"\x80\x01\x00\x02\x00").complete
