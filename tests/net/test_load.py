"""The load client against servers good and bad."""

import asyncio
import os
from datetime import UTC, datetime

import pytest

from ntspool.errors import ErrorCode
from ntspool.net import load as load_module
from ntspool.net.busy import Busy
from ntspool.net.load import Load, Outcome, Plan
from ntspool.net.servertls import server_context
from ntspool.net.session import Session
from ntspool.net.tls import client_context
from ntspool.pool.negotiation import Answer, Negotiator
from ntspool.wire import records
from ntspool.wire.messages import error_refusal
from tests.conftest import V4, make_serving


class Served:
    """What a server has seen: sessions begun, and the most at once."""

    def __init__(self):
        self.begun = self.most = self.now = 0


def _load(behave, pki, *, ca=None, name="localhost", connections=1, rate=None, duration=0.0):
    """Run a load against a TCP server that calls `behave(reader, writer)`; return its tally and what was served."""
    served = Served()

    async def connected(reader, writer):
        served.begun, served.now = served.begun + 1, served.now + 1
        served.most = max(served.most, served.now)
        try:
            await behave(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            served.now -= 1
            writer.close()

    async def run():
        async with await asyncio.start_server(connected, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            plan = Plan("127.0.0.1", port, name, ca or pki.ca, connections, rate, duration)
            tally = await Load(plan, client_context(plan.ca)).run()
            # The last writers' ends are still to be seen.
            await asyncio.sleep(0.02)
            return tally

    return asyncio.run(run()), served


def _speaking(pki, negotiator=None):
    context = server_context([pki.certificate])

    async def behave(reader, writer):
        session = Session(context, negotiator or Negotiator([make_serving()]), V4.packed, os.urandom)
        while not session.finished and (data := await reader.read(65536)):
            writer.write(session.receive_data(data))
        writer.write_eof()
        await reader.read()

    return behave


class Answering(Negotiator):
    def __init__(self, message):
        super().__init__([])
        self.message = message

    def answer(self, *_):
        return Answer(self.message)


class FewCookies:
    """An answer with three cookies, which no encoder of ours would write."""

    def encode(self):
        message = [records.next_protocol([0]), records.aead_algorithm([15])]
        message += [records.new_cookie(bytes(64))] * 3
        return b"".join(each.encode() for each in (*message, records.END_OF_MESSAGE))


def test_one_client_once(pki):
    tally, served = _load(_speaking(pki), pki)
    assert tally.outcomes == {Outcome.OK: 1}
    assert served.begun == 1
    assert 0 < tally.latency.longest < load_module.PATIENCE
    assert tally.sent > 400
    assert tally.received > 1000


def test_as_many_as_they_can_but_no_more_at_once_than_planned(pki):
    tally, served = _load(_speaking(pki), pki, connections=3, duration=0.3)
    assert set(tally.outcomes) == {Outcome.OK}
    assert tally.outcomes[Outcome.OK] == served.begun == tally.latency.count > 3
    # A place is free for the next when the server has closed; that it is done with the last one, it sees later.
    assert served.most <= 2 * 3
    assert 0 < tally.in_time <= tally.outcomes[Outcome.OK]
    assert 0 < tally.busy.ran <= tally.seconds + 0.1


def test_a_rate_is_never_exceeded(pki):
    tally, served = _load(_speaking(pki), pki, connections=5, rate=20, duration=0.5)
    assert tally.outcomes == {Outcome.OK: served.begun}
    assert 2 <= served.begun <= 11


def test_a_session_that_had_to_wait_for_its_turn_counts_from_when_it_was_due(pki):
    """One client, sessions due every 20 ms, a server that needs 100 ms for each: the last is late by several."""
    speak = _speaking(pki)

    async def slowly(reader, writer):
        await asyncio.sleep(0.1)
        await speak(reader, writer)

    tally, _ = _load(slowly, pki, rate=50, duration=0.5)
    assert tally.latency.longest > 0.25


async def _hang_up(reader, writer):
    pass


async def _stay_silent(reader, writer):
    await reader.read()


async def _speak_http(reader, writer):
    await reader.read(100)
    writer.write(b"HTTP/1.0 400 Bad Request\r\n\r\n")


@pytest.mark.parametrize(
    ("behave", "outcome", "reason"),
    [
        (_hang_up, Outcome.TURNED_AWAY, "closed the connection"),
        (_stay_silent, Outcome.TIMEOUT, "no cookies within 0.3 s"),
        (_speak_http, Outcome.TLS_FAILED, "TLS failed"),
    ],
)
def test_a_server_that_speaks_no_tls(pki, monkeypatch, behave, outcome, reason):
    monkeypatch.setattr(load_module, "PATIENCE", 0.3)
    tally, _ = _load(behave, pki)
    assert tally.outcomes == {outcome: 1}
    assert reason in tally.reasons[outcome]
    assert tally.latency.count == 0


@pytest.mark.parametrize(
    ("message", "outcome", "reason"),
    [
        (error_refusal(ErrorCode.INTERNAL_SERVER_ERROR), Outcome.REFUSED, "NTS-KE error 2"),
        (FewCookies(), Outcome.BAD_ANSWER, "3 cookies"),
    ],
)
def test_an_answer_without_eight_cookies_is_no_success(pki, message, outcome, reason):
    tally, _ = _load(_speaking(pki, Answering(message)), pki)
    assert (tally.outcomes, tally.reasons) == ({outcome: 1}, {outcome: reason})


def test_a_name_or_an_authority_that_is_not_the_servers_is_no_success(pki, tmp_path):
    tally, _ = _load(_speaking(pki), pki, name="elsewhere.test")
    assert tally.reasons == {Outcome.TLS_FAILED: "the server's certificate is not for elsewhere.test"}
    other = tmp_path / "other.pem"
    type(pki.authority).make(datetime.now(UTC)).write(other)
    tally, _ = _load(_speaking(pki), pki, ca=other)
    assert tally.outcomes == {Outcome.TLS_FAILED: 1}


def test_nobody_there(pki):
    async def run():
        plan = Plan("127.0.0.1", 1, "localhost", pki.ca, 1, None, 0)
        return await Load(plan, client_context(plan.ca)).run()

    assert asyncio.run(run()).reasons == {Outcome.UNREACHABLE: "Connection refused"}


def test_a_server_that_turns_away_is_not_hammered(pki):
    tally, served = _load(_hang_up, pki, connections=2, duration=0.35)
    assert tally.outcomes == {Outcome.TURNED_AWAY: served.begun}
    assert served.begun <= 2 * (0.35 / load_module.FAILURE_PAUSE + 2)


def test_running_is_noticed():
    before = Busy.now()
    while (busy := Busy.now() - before).ran < 0.01:
        pass
    assert busy.waited >= 0
