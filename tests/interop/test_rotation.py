"""Shared keys rotate and no client notices: real backends with agents, and a load of clients all the time."""

import logging
import os
import time
from collections import Counter
from contextlib import ExitStack
from errno import ECONNREFUSED

from tests.interop.clients import chrony_client
from tests.interop.daemons import ntpd_rs, ntpsec
from tests.interop.lab import namespace, wait_until
from tests.interop.load import AUTHENTIC, NO_ANSWER, STOCK, load
from tests.interop.pool import Member
from tests.interop.rotating import PATIENCE, rotating_pool, unix_time
from tests.interop.supervised import supervised

NAMES = ("ntp-1", "ntp-2", "ntp-3")
CHRONYDS = [Member(name, (f"127.0.0.{11 + index}",)) for index, name in enumerate(NAMES)]
log = logging.getLogger(__name__)

SILENCE = (NO_ANSWER, str(OSError(ECONNREFUSED, os.strerror(ECONNREFUSED))))

LONGEST = 15.0
"""Seconds in which a restarted daemon must have the time again."""


def told(rotating, began, report, rotations):
    """Say in figures what was seen working; `pytest --log-cli-level=info` shows it."""
    kinds = dict(Counter(cause for *_, cause in report.failures))
    outages = [f"{back - gone:.1f} s" for gone, back in rotating.outages]
    log.info(
        f"{rotations} rotations in {time.time() - began:.1f} s: {report.answered.total()} of {report.spent.total()} "
        f"requests answered {dict(report.answered)}, no time: {kinds}; {report.overdue} cookies overdue; "
        f"{report.sessions} key exchanges, {len(report.refusals)} failed (without a control process: {outages}); "
        f"at least {report.least} clients active"
    )


def test_ten_rotations_cost_no_client_a_nak():
    with ExitStack() as stack:
        rotating = stack.enter_context(rotating_pool(CHRONYDS, life=4))
        pool = rotating.pool
        before = {name: pool.daemons[name].authenticated() for name in NAMES}
        clients = [stack.enter_context(chrony_client(pool)) for _ in range(2)]
        for each in clients:
            each.settle()
        began, first = time.time(), rotating.current()
        running_load = stack.enter_context(load(pool, clients=210, life=rotating.life))

        rotate_times(rotating, 3)
        wait_until_newest(rotating)
        rotating.kill("ntp-2")
        rotate_times(rotating, 2)
        # Its daemon still holds what is needed, but would not after another rotation.
        assert "ntp-2: it has not loaded epoch" in (rotating.try_to_rotate() or "")
        rotating.start_agent("ntp-2")
        rotate_times(rotating, 2)
        rotating.restart_gateway()
        rotate_times(rotating, 3)

        newest = wait_until_newest(rotating)
        assert newest == first + 10
        wait_until("their cookies", lambda: set(running_load.report().newest.values()) == {newest})
        report = running_load.settle()
        told(rotating, began, report, rotations=10)
        assert report.failures == []
        assert report.least >= 200
        assert report.newest == dict.fromkeys(NAMES, newest)
        # Not even while there was no control process.
        assert report.refusals == []
        for name in NAMES:
            assert pool.daemons[name].authenticated() - before[name] >= report.answered[name] >= 1000
        for each in clients:
            traffic = each.settle()
            assert exchanges_and_naks(each) == (1, 0)
            assert traffic.authenticated
            assert traffic.good >= 2 * (time.time() - began)


def wait_until_newest(rotating):
    """Return the current epoch, once everybody mints under it."""
    newest = rotating.current()
    minting = dict.fromkeys(rotating.pool.members, newest)
    wait_until("all to mint under the newest", lambda: rotating.minting() == minting, PATIENCE)
    return newest


def rotate_times(rotating, times):
    for _ in range(times):
        rotating.rotate()


def test_restarts_for_new_keys_come_one_after_the_other(monkeypatch):
    with ExitStack() as stack:
        supervisor = stack.enter_context(supervised(monkeypatch, "ntp-daemon", "ntpd-ntpsec"))
        network = stack.enter_context(namespace())
        chrony = Member("chrony", ("127.0.0.11",))
        source = f"127.0.0.11:{chrony.port}"
        members = [
            chrony,
            Member("ntpsec", ("127.0.0.1",), ntpsec, "ntpsec", port=123),
            Member(
                "ntpd-rs", ("127.0.0.13",), lambda *keys, **options: ntpd_rs(*keys, **options, source=source), "ntpd-rs"
            ),
        ]
        rotating = stack.enter_context(rotating_pool(members, 6, network, supervisor))
        # Proved by what the daemons held already.
        assert supervisor.restarts() == []
        began, first = time.time(), rotating.current()
        running_load = stack.enter_context(load(rotating.pool, clients=60, life=rotating.life))
        rotate_times(rotating, 5)

        newest = first + 5
        wait_until("chronyd to mint under the newest", lambda: rotating.minting()["chrony"] == newest)
        assert min(rotating.minting().values()) >= newest - 1
        report = running_load.settle()
        told(rotating, began, report, rotations=5)
        check_interruptions(rotating, report.failures, supervisor.restarts())
        assert report.refusals == []
        assert all(report.answered[name] >= 100 for name in rotating.pool.members)


def check_interruptions(rotating, failures, restarts):
    """Who gets no time has asked a daemon that restarted, is never refused, and only one daemon restarts at a time."""
    assert Counter(each.backend for each in restarts) == {"ntpsec": 2, "ntpd-rs": 2}
    over = 0.0
    for each in sorted(restarts, key=lambda restart: restart.stop):
        assert each.stop > over
        again = [other.stop for other in restarts if other.backend == each.backend and other.stop > each.stop]
        ends = min([each.stop + LONGEST, *again])
        over = max([proved_after(rotating, each), *unsynchronised(each, ends, failures)])
        failures = [failure for failure in failures if not explains(each, over, failure)]
    assert failures == []


def proved_after(rotating, restart):
    """Return when the backend's agent had proved the keys that its daemon was restarted for."""
    proofs = (unix_time(line) for line in rotating.log(restart.backend, "keys proved"))
    return min(proof for proof in proofs if proof > restart.start)


def unsynchronised(restart, ends, failures):
    """Return when the restarted daemon was asked that opened cookies and sealed its answers, but had no time yet."""
    return [
        began
        for began, backend, *_, cause in failures
        if backend == restart.backend and cause.startswith(AUTHENTIC) and restart.stop < began < ends
    ]


def explains(restart, over, failure):
    """Tell whether a restart that was over at a given time explains a request without time.

    NTPsec says nothing to a cookie that it cannot open: silence, too, must have an explanation.
    """
    began, backend, *_, cause = failure
    harmless = cause in SILENCE or cause.startswith(AUTHENTIC)
    return harmless and backend == restart.backend and restart.stop - 1 < began <= over


def test_a_revoked_epoch_is_no_good_at_once_and_its_clients_recover():
    with ExitStack() as stack:
        rotating = stack.enter_context(rotating_pool(CHRONYDS[:1], life=1))
        unaffected, affected = (stack.enter_context(chrony_client(rotating.pool)) for _ in range(2))
        for each in (unaffected, affected):
            each.settle()
        # What it has in stock is of an older epoch than what the other one will have.
        unaffected.go_offline()
        rotating.rotate()
        revoked = wait_until_newest(rotating)
        affected.settle(affected.settle().good + 2 * STOCK)

        said = rotating.ntspool("keys", "revoke", str(revoked), "--yes")
        assert said == f"epoch {revoked} is revoked, epoch {revoked + 1} is current\n"
        # Only a NAK makes chronyd do that, as it has cookies enough.
        wait_until("another key exchange", lambda: exchanges_and_naks(affected) == (2, 0), PATIENCE)
        assert wait_until_newest(rotating) == revoked + 1
        assert affected.settle().authenticated
        answers = unaffected.settle().good
        unaffected.go_online()
        unaffected.settle(answers + 2 * STOCK)
        assert (exchanges_and_naks(unaffected), exchanges_and_naks(affected)) == ((1, 0), (2, 0))


def exchanges_and_naks(client):
    """Return how many key exchanges a chronyd has made, and how many NAKs it has got since the last one."""
    auth = wait_until("chronyd to tell", client.auth)
    return auth.key_id, auth.naks


def test_a_revoked_backends_agent_is_cut_off_at_once():
    with rotating_pool(CHRONYDS[:2], life=1) as rotating:
        began = time.monotonic()
        said = rotating.ntspool("backend", "revoke", "ntp-2")
        assert "of ntp-2 revoked: 1" in said
        revoked = rotating.processes["ntp-2"]
        wait_until("the agent's end", lambda: revoked.poll() is not None)
        log.info(f"cut off after {time.monotonic() - began:.1f} s")
        assert revoked.returncode == 1
        assert "enrol this agent again" in rotating.said("ntp-2")
        # Nobody else notices: keys still get to the others, and the backend serves on with what it holds.
        rotating.rotate()
        newest = rotating.current()
        minting = {"ntp-1": newest, "ntp-2": newest - 1}
        wait_until("the others to mint under the newest", lambda: rotating.minting() == minting)
        rotating.enroll("ntp-2")
        rotating.start_agent("ntp-2")
        wait_until_newest(rotating)
