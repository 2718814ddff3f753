"""The turn in the store: one for all gateways that share it, and kept when one dies."""

import pytest

from ntspool.errors import ConflictError, StateError
from ntspool.net import turnstile
from ntspool.net.store import FileStore


def test_gateways_hand_out_one_turn(tmp_path):
    here, there = FileStore(tmp_path), FileStore(tmp_path)
    assert turnstile.ask(here, "a", 1000)
    assert not turnstile.ask(there, "b", 1001)
    turnstile.give_back(there, "b", 1002)
    assert not turnstile.ask(there, "b", 1003)
    turnstile.give_back(there, "a", 1004)
    assert turnstile.ask(there, "b", 1005)
    assert not turnstile.ask(here, "a", 1005 + turnstile.TURN_LIFE - 1)
    assert turnstile.ask(here, "a", 1005 + turnstile.TURN_LIFE)


def test_giving_back_what_was_never_had_writes_nothing(tmp_path):
    turnstile.give_back(FileStore(tmp_path), "a", 1000)
    assert list(tmp_path.iterdir()) == []


class Racing(FileStore):
    """A store that another gateway writes between every get and put, `times` times."""

    def __init__(self, directory, times):
        super().__init__(directory)
        self.times = times

    def put_if(self, name, data, revision):
        if self.times:
            self.times -= 1
            raise ConflictError("somebody else wrote it first")
        super().put_if(name, data, revision)


def test_a_lost_race_is_run_again(tmp_path):
    assert turnstile.ask(Racing(tmp_path, 3), "a", 1000)
    with pytest.raises(ConflictError, match="changes all the time"):
        turnstile.ask(Racing(tmp_path / "other", 10**6), "a", 1000)


def test_a_damaged_entry_is_told(tmp_path):
    FileStore(tmp_path).put_if(turnstile.ENTRY, b"torn", None)
    with pytest.raises(StateError):
        turnstile.ask(FileStore(tmp_path), "a", 1000)
