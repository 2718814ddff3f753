"""200,000 cases of bytes from outside, mostly mutated good ones, and all that guided runs have kept.

A refusal and nothing else comes out, and soon.
"""

import os
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path
from random import Random

import pytest

from ntspool.errors import WireError
from tests.fuzz import __main__ as search
from tests.fuzz import corpus, engine
from tests.fuzz.engine import MOST_MEMORY, MOST_PER_BYTE, Target
from tests.fuzz.negotiation import outcome
from tests.fuzz.targets import STREAMS, TARGETS

LARGE = 8_000


def each_byte(data):
    return (data[at : at + 1] for at in range(len(data)))


def test_there_are_200_000_cases():
    assert sum(target.cases for target in TARGETS.values()) >= 200_000


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)
def test_nothing_but_refusals_comes_out(target):
    refused = target.run()
    # Else it would try only one of the two ways.
    assert 0.05 < refused / target.cases < 0.99


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)
def test_what_guided_runs_have_kept_does_no_harm(target):
    cases = corpus.load(target.name)
    assert cases
    for case in cases:
        target.try_one(case, Random(case))


@pytest.fixture
def traced():
    tracemalloc.start()
    yield
    tracemalloc.stop()


def most_memory(data):
    return MOST_MEMORY + MOST_PER_BYTE * len(data)


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)
def test_no_case_takes_more_memory_than_it_may(target, traced):
    long = target.samples[0] * (LARGE // max(1, len(target.samples[0])))
    for case in (
        *target.samples,
        *corpus.load(target.name),
        long,
        b"[" * LARGE,
        bytes.fromhex("40000000") * (LARGE // 4),
    ):
        target.try_one(case, Random(case))  # what is remembered from case to case counts once
        assert target.memory(case) < most_memory(case)


def test_a_case_that_takes_too_much_memory_is_seen(traced):
    target = Target("planted", "None.", 1, [b"abcd"], lambda data, _: bytes(1000 * len(data)))
    assert target.memory(bytes(LARGE)) > most_memory(bytes(LARGE))


@pytest.mark.parametrize("name", STREAMS)
def test_one_byte_at_a_time_comes_to_the_same(name):
    for case in (*TARGETS[name].samples, *corpus.load(name)):
        whole, bytewise = (outcome(STREAMS[name](), case, pieces) for pieces in ([case], each_byte(case)))
        assert type(bytewise) is type(whole)
        assert isinstance(whole, WireError) or bytewise == whole


def test_each_target_says_what_it_sees_to():
    assert all(each.invariant.endswith(".") for each in TARGETS.values())


def test_no_corpus_is_left_of_a_target_that_is_no_more():
    assert {path.name for path in corpus.FOLDER.iterdir()} == {corpus.path_of(name).name for name in TARGETS}


def test_a_guided_run_finds_nothing_in_a_thousand_cases(tmp_path):
    pytest.importorskip("atheris")
    options = ["-runs=1000", f"-artifact_prefix={tmp_path}/"]
    command = [sys.executable, "-m", "tests.fuzz.guided", "60", "NTS-KE request", *options]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PYTHONWARNINGS": "ignore"})


def test_a_search_tells_what_it_found_and_keeps_what_is_new(monkeypatch, tmp_path):
    name, new = "restart turn", b"new"

    def guided(name, seconds, prefix, seen):
        Path(seen, "new").write_bytes(new)
        if seconds:
            Path(f"{prefix.partition('=')[2]}crash").write_bytes(b"bad")
            return "TypeError: x", 77, 1.5
        return "7 cases\n", 0, 0.4

    monkeypatch.setattr(search, "guided", guided)
    monkeypatch.setattr(corpus, "FOLDER", tmp_path / "corpus")
    for seconds, told in (
        (1, "let down after 2 s of processor time\nTypeError: x\ncases: ['626164']"),
        (0, "nothing found in 7 "),
    ):
        (scratch := tmp_path / str(seconds)).mkdir()
        found, unharmed = search.search(name, seconds, scratch)
        assert found.startswith(told)
        assert unharmed is not bool(seconds)
        assert new in corpus.load(name)


def test_an_endless_case_is_ended_and_told(monkeypatch):
    def check(data, _):
        while data:
            pass

    monkeypatch.setattr(engine, "SLOWEST", 0.02)
    with pytest.raises(AssertionError, match=r"^TimeoutError at seed 8915, target 'planted', case 0: "):
        Target("planted", "Ends.", 1, [b"abcd"], check).run()


def test_a_case_that_is_let_down_is_told_and_can_be_made_again():
    def check(data, _):
        if len(data) > 10:
            raise WireError("too long")
        if len(data) > 4:
            raise IndexError

    target = Target("planted", "Takes up to four bytes.", 1000, [b"abcd"], check)
    with pytest.raises(
        AssertionError, match=r"^IndexError at seed 5, target 'planted', case \d+: \d+ bytes, "
    ) as caught:
        target.run(seed=5)
    number, data = re.search(r"case (\d+): .*, ([0-9a-f]+)$", str(caught.value)).groups()
    assert target.case(int(number), seed=5)[0].hex() == data
