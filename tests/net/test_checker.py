"""The checker: who is UP, why not, which epochs are proved, and which one to mint under."""

import asyncio
import os
import time
from contextlib import ExitStack
from dataclasses import replace
from ipaddress import ip_address

import pytest
from structlog.testing import capture_logs

from ntspool.net import spending
from ntspool.net.checker import Checker
from ntspool.net.checksettings import CheckSettings
from ntspool.net.probe import Prober
from ntspool.net.timequery import TimeAnswer
from ntspool.pool.causes import Cause, Failure
from ntspool.pool.cookies import CookieFormat, CookieJar, ServerKey
from ntspool.pool.fleet import Condition
from ntspool.pool.health import Health, Rules, State, observe
from ntspool.pool.keyring import create
from ntspool.pool.model import Backend, UpAddress
from ntspool.pool.proofs import accepted
from ntspool.pool.responder import ReplyKind, Responder
from ntspool.wire.aead import Aead
from ntspool.wire.ntp import decode_packet
from ntspool.wire.secret import Secret
from tests.net.scripted import scripted
from tests.waiting import until

# A pool of one that falls silent would be in panic at once.
SETTINGS = CheckSettings(interval=0.02, timeout=0.1, rules=Rules(rise=2, fall=3), panic=1.0)
SELDOM = replace(SETTINGS, interval=3600.0)


def _rotations(count):
    keyring = create(0.0, os.urandom)
    for _ in range(count + 1):
        yield keyring
        keyring = keyring.rotate(1.0, os.urandom)


RINGS = tuple(_rotations(5))
"""A keyring and what becomes of it: the key files of RINGS[n] hold 1+n to 4+n, and 3+n is current."""

KEYRING = RINGS[0]


def _backend(port, name="ntp-1", addresses=("127.0.0.1",), aeads=(Aead.AES_SIV_CMAC_256,)):
    return Backend(
        name=name,
        addresses=tuple(map(ip_address, addresses)),
        port=port,
        weight=10,
        cookies=CookieFormat.NTSPOOL,
        aeads=aeads,
        key_group="ntp-1",
    )


class Server:
    """A backend whose keys and mood can be changed; without `naks` it passes over what it cannot open, as NTPsec."""

    def __init__(self, keyring=KEYRING, make=Responder):
        self.responder = make(_jar(keyring), 2, lambda: time.time() + self.ahead, os.urandom)
        self.silent = False
        self.ahead = 0.0
        self.naks = True
        self.asked = []

    def know(self, keyring):
        self.responder = replace(self.responder, jar=_jar(keyring))

    def mint_under(self, key, keyring=KEYRING):
        """Open the keyring's cookies, but give out those of another key."""
        keys = keyring.keys("ntp-1", CookieFormat.NTSPOOL).keys
        self.responder = replace(self.responder, jar=CookieJar(CookieFormat.NTSPOOL, (*keys, key), len(keys)))

    def __call__(self, request):
        self.asked.append(int.from_bytes(decode_packet(request).bodies(0x0204)[0][:4], "big"))
        reply = self.responder.respond(request, time.time() + self.ahead)
        return [] if self.silent or (reply.kind is ReplyKind.NAK and not self.naks) else [reply.data]


def _jar(keyring):
    keys = keyring.keys("ntp-1", CookieFormat.NTSPOOL)
    return CookieJar(CookieFormat.NTSPOOL, keys.keys, keys.current)


def _saying(**words):
    """Return a Responder whose header says something else of the clock."""
    header = Responder._header
    return type("R", (Responder,), {"_header": lambda *args: replace(header(*args), **words)})


def _watching(server, scene, keyring=KEYRING, settings=SETTINGS, **backend):
    """Run `scene(checker, backend, changes)` while a checker watches `server`."""

    async def run(port):
        changes = []
        checker = Checker(keyring, settings, lambda: changes.append(True))
        watched = _backend(port, **backend)
        await checker.watch([watched])
        try:
            return await scene(checker, watched, changes)
        finally:
            await checker.stop()

    with scripted(server) as port, capture_logs() as logs:
        result = asyncio.run(run(port))
    return result, [entry for entry in logs if entry["event"] != "offset vote"]


def _known(checker, backend):
    """Return whether the backend is UP, the epoch to mint under, those that it proved, and the one it mints under."""
    [(_, _, _, proof)] = checker.proofs()
    epoch = checker.mint_epoch(backend)
    return bool(checker.up(backend)), epoch and epoch.number, set(proof.accepts), proof.mints


async def _what_is_known(checker, backend, _changes):
    return _known(checker, backend)


# Health.


def test_the_first_probe_decides_and_is_over_when_watch_returns():
    async def scene(checker, backend, changes):
        return checker.up(backend), checker.lagging(KEYRING.next), _known(checker, backend), bool(changes)

    server = Server()
    (up, lagging, known, told), logs = _watching(server, scene, settings=SELDOM)
    assert up == (UpAddress(ip_address("127.0.0.1"), (Aead.AES_SIV_CMAC_256,), 10),)
    assert lagging == [], "a backend with our key file proves the next epoch at once"
    assert known == (True, 3, {3, 4}, 3)
    assert told
    assert server.asked == [3, 3, 4], "the cookie that came back is spent before anything else"
    assert [entry["event"] for entry in logs] == ["backend UP"]


def test_a_backend_that_falls_silent_goes_down_by_fall_and_comes_back_by_rise():
    server = Server()

    async def scene(checker, backend, _):
        server.silent = True
        await until(lambda: not checker.up(backend))
        assert checker.mint_epoch(backend) is None
        server.silent = False
        await until(lambda: checker.up(backend))
        assert _known(checker, backend)[:2] == (True, 3)

    _, logs = _watching(server, scene)
    walk = [(entry["event"], entry.get("state"), entry["cause"]) for entry in logs if "cause" in entry]
    assert walk == [
        ("backend UP", None, ""),
        ("check", "UP 1/3", "no answer"),
        ("check", "UP 2/3", "no answer"),
        ("backend DOWN", None, "no answer"),
        ("check", "DOWN 1/2", "answers"),
        ("backend UP", None, ""),
    ]


def test_a_lost_packet_takes_no_proof_away():
    server = Server()

    async def scene(checker, backend, changes):
        server.silent = True
        before = len(changes)
        asked = len(server.asked)
        await until(lambda: len(server.asked) > asked)
        server.silent = False
        await until(lambda: len(server.asked) > asked + 3)
        return _known(checker, backend), len(changes) - before

    (known, changes), _ = _watching(server, scene)
    assert known == (True, 3, {3, 4}, 3)
    assert changes == 0
    assert set(server.asked[3:]) == {3}, "silence is no reason to ask for older epochs"


def test_a_backend_with_other_keys_is_never_up():
    server = Server(create(0.0, os.urandom))
    known, logs = _watching(server, _what_is_known, settings=SELDOM)
    assert known == (False, None, set(), None)
    assert logs[0]["cause"] == "NTS NAK"
    assert server.asked == [3, 2, 1], "it may have an older key file"


@pytest.mark.parametrize(("leap", "stratum"), [(3, 2), (0, 16)])
def test_an_unsynchronised_backend_is_never_up_and_proves_its_keys(leap, stratum):
    known, logs = _watching(Server(make=_saying(leap=leap, stratum=stratum)), _what_is_known)
    assert known == (False, None, {3, 4}, 3)
    assert logs[0]["cause"] == f"unsynchronised (leap {leap}, stratum {stratum})"


def test_a_kiss_of_death_under_our_key_proves_that_and_brings_nobody_up():
    known, logs = _watching(Server(make=_saying(stratum=0, reference_id=b"INIT")), _what_is_known)
    assert known == (False, None, {3, 4}, None)
    assert "INIT" in logs[0]["cause"]


def test_a_backend_that_gives_no_cookies_is_up_and_nothing_is_minted_for_it(monkeypatch):
    """Its clients would be at the end of theirs soon."""
    ask = spending.ask

    async def stingy(*args, **options):
        return replace(await ask(*args, **options), cookies=())

    monkeypatch.setattr(spending, "ask", stingy)
    assert _watching(Server(), _what_is_known)[0] == (True, None, {3, 4}, None)


def test_one_dead_address_does_not_take_the_other_with_it():
    async def scene(checker, backend, _):
        return checker.up(backend), checker.mint_epoch(backend).number, len(list(checker.proofs()))

    result, _ = _watching(Server(), scene, addresses=["127.0.0.1", "127.0.0.99"])
    assert [each.address for each in result[0]] == [ip_address("127.0.0.1")]
    assert result[1:] == (3, 2)


# Key files that are late.


@pytest.mark.parametrize("naks", [True, False])
@pytest.mark.parametrize(
    ("now", "late", "known"),
    [
        pytest.param(2, 1, (True, 5, {5}, 4), id="it holds what is current, not what is next"),
        pytest.param(2, 2, (True, 4, {4}, 3), id="its newest key is the one before the current"),
        pytest.param(3, 3, (True, None, {4}, None), id="it would mint under an epoch that its next file does not hold"),
        pytest.param(4, 4, (False, None, set(), None), id="it opens nothing that may be minted under"),
    ],
)
def test_what_a_backend_with_an_older_key_file_is_minted_under(now, late, known, naks):
    server = Server(RINGS[now - late])
    server.naks = naks
    assert _watching(server, _what_is_known, keyring=RINGS[now])[0] == known


def test_a_backend_lags_until_it_has_loaded_the_next_epoch():
    server = Server()

    async def scene(checker, backend, _):
        checker.keyring = RINGS[1]
        await until(lambda: checker.lagging(RINGS[1].next) == ["ntp-1"])
        assert _known(checker, backend) == (True, 4, {3, 4}, 3)
        server.know(RINGS[1])
        await until(lambda: not checker.lagging(RINGS[1].next))
        assert _known(checker, backend) == (True, 4, {3, 4, 5}, 4)

    _watching(server, scene)


@pytest.mark.parametrize("naks", [True, False])
def test_a_backend_that_is_restored_to_an_older_file_falls_back(naks):
    """With NAKs at once and without having been DOWN; a silent one could as well be dead, and is DOWN by `fall`."""
    server = Server(RINGS[2])
    server.naks = naks

    async def scene(checker, backend, changes):
        assert _known(checker, backend) == (True, 5, {5, 6}, 5)
        server.know(RINGS[0])
        before = len(changes)
        await until(lambda: _known(checker, backend)[:2] == (True, 4))
        assert len(changes) > before
        assert 5 not in _known(checker, backend)[2]

    _, logs = _watching(server, scene, keyring=RINGS[2])
    assert ("backend DOWN" in {entry["event"] for entry in logs}) == (not naks)


def test_one_that_panic_keeps_up_is_asked_under_older_epochs_too():
    """It may be that it is there and passes over what it cannot open, as NTPsec does."""
    server = Server(RINGS[2])
    server.naks = False

    async def scene(checker, backend, _):
        server.know(RINGS[0])
        await until(lambda: _known(checker, backend)[:2] == (True, 4))

    _, logs = _watching(server, scene, keyring=RINGS[2], settings=replace(SETTINGS, panic=0.5))
    events = [entry["event"] for entry in logs]
    assert "panic" in events
    assert "backend DOWN" not in events


@pytest.mark.parametrize(
    "alien", [ServerKey(77, Secret(bytes(32))), KEYRING.epochs[0].key("ntp-1", Aead.AES_SIV_CMAC_256)]
)
def test_nothing_is_minted_for_a_backend_while_it_mints_under_what_is_not_alive(alien):
    """It is UP and opens our cookies all the while."""
    server = Server(RINGS[1])
    server.mint_under(alien, RINGS[1])

    async def scene(checker, backend, changes):
        assert _known(checker, backend) == (True, None, {4, 5}, None)
        before = len(changes)
        server.know(RINGS[1])
        await until(lambda: len(changes) > before)
        assert _known(checker, backend) == (True, 4, {4, 5}, 4)
        server.mint_under(alien, RINGS[1])
        await until(lambda: len(changes) > before + 1)
        assert _known(checker, backend) == (True, None, {4, 5}, None)

    _watching(server, scene, keyring=RINGS[1])


# Another keyring.


def test_nothing_of_a_foreign_keyring_is_believed_until_it_is_proved_anew():
    """`ntspool keys restore` may bring other roots under the same numbers."""
    server, foreign = Server(), create(0.0, os.urandom)

    async def scene(checker, backend, _):
        checker.keyring = foreign
        assert _known(checker, backend)[:3] == (True, None, set())
        await asyncio.sleep(0)
        server.know(foreign)
        checker.hurry("ntp-1")
        await until(lambda: _known(checker, backend) == (True, 3, {3, 4}, 3))

    _watching(server, scene, settings=replace(SELDOM, rules=Rules(rise=2, fall=1000)))


@pytest.mark.parametrize("opens", [True, False])
def test_an_answer_that_was_under_way_says_nothing_of_a_keyring_that_came_meanwhile(monkeypatch, opens):
    server, foreign = Server(), create(0.0, os.urandom)
    ask = spending.ask

    async def scene(checker, backend, _):
        [(target, watch)] = checker._watched.items()

        async def slow(*args, **options):
            try:
                return await ask(*args, **options)
            finally:
                checker.keyring = foreign
                watch.proof = held

        held = accepted(watch.proof, 3, 3, foreign, 1.0)
        if not opens:
            server.know(RINGS[5])
        monkeypatch.setattr(spending, "ask", slow)
        checker._note(target, await checker._probe(target))
        return watch.proof == held

    assert _watching(server, scene, settings=SELDOM)[0]


def test_a_revoked_epoch_is_not_minted_under_from_that_moment():
    async def scene(checker, backend, _):
        assert checker.mint_epoch(backend).number == 3
        checker.keyring = KEYRING.revoke(3, 1.0, os.urandom)
        return checker.mint_epoch(backend).number

    assert _watching(Server(), scene, settings=SELDOM)[0] == 4


# When is probed.


def test_who_may_have_new_keys_is_probed_in_a_hurry_and_nobody_else():
    server = Server()

    async def scene(checker, backend, _):
        await checker.watch([backend, replace(backend, name="ntp-2")])
        checker.keyring = RINGS[1]
        server.know(RINGS[1])
        checker.hurry("ntp-1")
        await until(lambda: checker.lagging(RINGS[1].next) == ["ntp-2"])
        return server.asked

    assert _watching(server, scene, settings=SELDOM)[0] == [3, 3, 4, 3, 3, 4, 4, 4, 5]


def test_without_a_socket_nothing_is_learned_and_probing_goes_on(monkeypatch):
    async def scene(checker, backend, changes):
        ask = spending.ask
        failures, before = [], len(changes)

        async def no_descriptor(*_, **__):
            failures.append(True)
            raise OSError(24, "Too many open files")

        monkeypatch.setattr(spending, "ask", no_descriptor)
        await until(lambda: len(failures) > 3)
        assert _known(checker, backend) == (True, 3, {3, 4}, 3)
        assert len(changes) == before
        answered = []

        async def again(*words, **options):
            answered.append(await ask(*words, **options))
            return answered[-1]

        monkeypatch.setattr(spending, "ask", again)
        await until(lambda: answered)
        assert isinstance(answered[0], TimeAnswer)

    _, logs = _watching(Server(), scene)
    assert {"probe not sent"} <= {entry["event"] for entry in logs}


def test_watching_others_forgets_those_that_are_gone_and_keeps_the_rest():
    async def scene(checker, backend, _):
        other = replace(backend, name="ntp-2")
        await checker.watch([backend, other])
        names = [each.name for each, *_ in checker.proofs()]
        await checker.watch([other])
        return names, checker.up(backend), checker.mint_epoch(backend), checker.mint_epoch(other).number

    server = Server()
    result, _ = _watching(server, scene, settings=SELDOM)
    assert result == (["ntp-1", "ntp-2"], (), None, 3)
    assert server.asked == [3, 3, 4, 3, 3, 4], "who was watched already was not probed again"


def test_who_rests_is_not_probed_and_what_it_has_proved_goes_with_the_keyring_and_comes_back():
    server = Server()

    async def scene(checker, backend, _):
        await checker.watch([backend], {"ntp-1"})
        asked = len(server.asked)
        checker.hurry("ntp-1")
        checker.keyring = RINGS[2]
        [(_, _, state, resting)] = checker.proofs()
        nobody = checker.up(backend), checker.mint_epoch(backend), list(checker.status())
        unasked = len(server.asked) == asked
        server.know(RINGS[2])
        await checker.watch([backend])
        [(_, _, up, back)] = checker.proofs()
        return state, set(resting.accepts), nobody, unasked, up, set(back.accepts)

    result, _ = _watching(server, scene, settings=SELDOM)
    assert result == ("MAINT", {3, 4}, ((), None, []), True, "UP", {3, 4, 5, 6})


def test_a_probe_on_demand_tells_what_it_found_and_decides_only_for_who_does_not_rest():
    server = Server()

    async def scene(checker, backend, _):
        server.know(create(0.0, os.urandom))
        await checker.watch([backend], {"ntp-1"})
        [rested] = await checker.probe(backend)
        server.know(KEYRING)
        await checker.watch([backend])
        server.know(create(0.0, os.urandom))
        [watched] = await checker.probe(backend)
        unknown = await checker.probe(replace(backend, name="ntp-2"))
        return rested, watched, unknown, checker.up(backend), [each.causes for each in checker.status()]

    (rested, watched, unknown, up, causes), _ = _watching(server, scene, settings=SELDOM)
    for probed in (rested, watched):
        [failure] = probed.result.outcomes.values()
        assert failure.cause is Cause.NAK
        assert [(each.epoch.number, each.accepted) for each in probed.result.findings] == [
            (3, False),
            (2, False),
            (1, False),
        ]
        assert set(probed.result.cookies.values()) == {0}
    assert unknown == []
    assert up == ()
    assert causes == [{Cause.NAK: 1}]


# What a reload changes and what it does not.


def test_a_reload_that_changes_something_else_keeps_what_is_known():
    server = Server()

    async def scene(checker, backend, _):
        known = _known(checker, backend)
        heavier = replace(backend, weight=99, addresses=(*backend.addresses, ip_address("127.0.0.99")))
        asked = len(server.asked)
        await checker.watch([heavier])
        assert len(server.asked) == asked, "the new address alone is probed"
        [first, second] = checker.status()
        assert (first.shown, second.shown, str(second.condition.health.failure.cause)) == ("UP", "DOWN", "refused")
        assert [each.weight for each in checker.up(heavier)] == [99]
        await checker.watch([backend])
        return known == _known(checker, backend)

    assert _watching(server, scene, settings=SELDOM)[0]


@pytest.mark.parametrize("change", [{"key_group": "other"}, {"cookies": CookieFormat.CHRONY}])
def test_other_keys_are_proved_anew(change):
    async def scene(checker, backend, _):
        changed = replace(backend, **change)
        await checker.watch([changed])
        return checker.up(changed)

    assert _watching(Server(), scene, settings=SELDOM)[0] == ()


def test_an_aead_that_is_added_is_probed_and_the_others_stay_up():
    server = Server()

    async def scene(checker, backend, _):
        more = replace(backend, aeads=(Aead.AES_SIV_CMAC_512, *backend.aeads))
        await checker.watch([more])
        assert [each.aeads for each in checker.up(more)] == [backend.aeads]
        await until(lambda: [each.aeads for each in checker.up(more)] == [more.aeads])
        await checker.watch([backend])
        return [each.aeads for each in checker.up(backend)]

    result, logs = _watching(server, scene, settings=SELDOM)
    assert result == [(Aead.AES_SIV_CMAC_256,)]
    assert [entry["event"] for entry in logs] == ["backend UP", "aead UP"]


# AEADs.


def test_an_aead_that_naks_takes_no_other_with_it():
    both = (Aead.AES_128_GCM_SIV, Aead.AES_SIV_CMAC_256)
    server, old = Server(), []
    answer = server.responder.respond

    def respond(request, now):
        """Like chrony built without GCM-SIV."""
        cookie = decode_packet(request).bodies(0x0204)[0]
        cannot = old and server.responder.jar.open(cookie).aead is Aead.AES_128_GCM_SIV
        return answer(request[:100] + bytes([request[100] ^ 1]) + request[101:] if cannot else request, now)

    server.responder = type("R", (), {"respond": staticmethod(respond), "jar": server.responder.jar})()

    async def scene(checker, backend, changes):
        before = len(changes)
        old.append(True)
        await until(lambda: [each.aeads for each in checker.up(backend)] == [both[1:]])
        assert len(changes) > before
        assert checker.mint_epoch(backend).number == 3
        old.clear()
        await until(lambda: [each.aeads for each in checker.up(backend)] == [both])

    _, logs = _watching(server, scene, aeads=both)
    told = [(entry["event"], entry.get("aead"), entry["cause"]) for entry in logs if entry["event"] != "check"]
    assert told == [
        ("backend UP", None, ""),
        ("aead DOWN", "AES-128-GCM-SIV", "NTS NAK"),
        ("aead UP", "AES-128-GCM-SIV", ""),
    ]


# When is probed, by state.


def test_the_intervals_by_state():
    settings = replace(SETTINGS, interval=16.0, fast_interval=2.0, down_interval=60.0)
    well, silence = Health(State.UP, probed=True, failure=None), Failure(Cause.NO_ANSWER)
    pauses = []
    health = well
    for failure in (None, silence, silence, silence, silence, None, None, None):
        health = observe(health, failure, settings.rules, 0.0)
        pauses.append(settings.pause(Condition(health, {Aead.AES_SIV_CMAC_256: health})))
    assert pauses == [16, 2, 2, 60, 60, 2, 16, 16]
    kept = Health(State.UP, against=3, probed=True, failure=silence)
    assert settings.pause(Condition(kept, {Aead.AES_SIV_CMAC_256: kept})) == 16, "kept up by panic"
    assert replace(settings, fast_interval=None, down_interval=None).pause(Condition()) == 16


def test_after_the_first_miss_it_goes_fast():
    server = Server()

    async def scene(checker, backend, _):
        server.silent = True
        checker.hurry("ntp-1")
        await until(lambda: not checker.up(backend))

    _watching(server, scene, settings=replace(SELDOM, timeout=0.02, fast_interval=0.03))


def test_a_probe_that_breaks_counts_as_a_failed_one_and_does_not_end_probing(monkeypatch):
    async def scene(checker, backend, _):
        probe = Prober.probe

        async def breaks(self):
            raise RuntimeError

        monkeypatch.setattr(Prober, "probe", breaks)
        await until(lambda: not checker.up(backend))
        [status] = checker.status()
        assert str(status.condition.health.failure) == "malformed answer (the probe broke)"
        monkeypatch.setattr(Prober, "probe", probe)
        await until(lambda: checker.up(backend))

    _, logs = _watching(Server(), scene)
    # One of them ended nothing: it is counted as any silence is.
    assert [entry["event"] for entry in logs].count("probe broke") >= SETTINGS.rules.fall


def test_a_first_probe_that_breaks_costs_no_other_backend_the_start(monkeypatch):
    probe = Prober.probe

    async def breaks(self):
        if self._target.backend == "broken":
            raise RuntimeError
        return await probe(self)

    async def scene(port):
        checker = Checker(KEYRING, SELDOM, lambda: None)
        good, broken = _backend(port), _backend(port, name="broken")
        await checker.watch([good, broken])
        found = [(bool(checker.up(each)), each.name) for each in (good, broken)]
        await checker.stop()
        return found

    monkeypatch.setattr(Prober, "probe", breaks)
    with scripted(Server()) as port:
        assert asyncio.run(scene(port)) == [(True, "ntp-1"), (False, "broken")]


# What others see of a backend.


def test_what_an_agent_complains_of_is_shown_and_looked_into_at_once():
    server = Server()

    async def scene(checker, backend, _):
        asked = len(server.asked)
        checker.report("ntp-1", "key 5: no answer")
        await until(lambda: len(server.asked) > asked)
        [status] = checker.status()
        assert (status.reported, status.shown) == ("key 5: no answer", "UP")
        checker.report("ntp-1", None)
        assert next(checker.status()).reported is None

    _watching(server, scene, settings=SELDOM)


def test_what_others_met_counts_like_a_probe():
    async def scene(checker, backend, changes):
        checker.fail("ntp-2", Failure(Cause.NAK))
        assert checker.up(backend)
        checker.fail("ntp-1", Failure(Cause.NO_ANSWER))
        assert next(checker.status()).shown == "UP 1/3"
        before = len(changes)
        checker.fail("ntp-1", Failure(Cause.NAK))
        assert checker.up(backend) == ()
        assert len(changes) > before
        await until(lambda: checker.up(backend))

    _, logs = _watching(Server(), scene, settings=replace(SELDOM, fast_interval=0.02))
    assert ("backend DOWN", "NTS NAK") in [(entry["event"], entry["cause"]) for entry in logs]


# The pool as a whole.


def _pool(servers, scene, settings):
    """Run `scene(checker, backends, changes)` while a checker watches all of `servers`."""

    async def run(ports):
        changes = []
        checker = Checker(KEYRING, settings, lambda: changes.append(True))
        backends = [_backend(port, f"ntp-{number}") for number, port in enumerate(ports, 1)]
        await checker.watch(backends)
        try:
            return await scene(checker, backends, changes)
        finally:
            await checker.stop()

    with ExitStack() as stack, capture_logs() as logs:
        ports = [stack.enter_context(scripted(server)) for server in servers]
        result = asyncio.run(run(ports))
    return result, logs


def test_a_clock_that_is_off_is_found_in_the_first_round():
    late = Server()
    late.ahead = 0.3

    async def scene(checker, backends, _):
        up = [bool(checker.up(each)) for each in backends]
        figures = [round(each.offset, 1) + 0.0 for each in checker.status()]
        late.ahead = 0.0
        await until(lambda: checker.up(backends[1]))
        return up, figures

    (up, figures), logs = _pool([Server(), late, Server()], scene, SETTINGS)
    assert up == [True, False, True]
    assert figures == [0.0, 0.3, 0.0]
    [down] = [entry for entry in logs if entry["event"] == "backend DOWN"]
    assert down["backend"] == "ntp-2"
    assert down["cause"].startswith("offset vote (+0.")
    assert down["cause"].endswith("2 of 3 agree)")
    assert not [entry for entry in logs if entry["event"] == "offset vote" and entry["voters"] == 3]


def test_fewer_than_three_fall_back_to_the_local_clock_and_it_is_said_once():
    async def scene(checker, backends, _):
        [*_] = checker.status()
        await until(lambda: all(each.probes > 5 for each in checker.status()))

    _, logs = _pool([Server(), Server()], scene, SETTINGS)
    [said] = [entry for entry in logs if entry["event"] == "offset vote"]
    assert (said["mode"], said["log_level"]) == ("local clock", "warning")


def test_a_pool_that_falls_silent_is_kept_and_that_is_said_once():
    servers = [Server(), Server(), Server()]

    async def scene(checker, backends, _):
        for server in servers:
            server.silent = True
        await until(lambda: all(each.shown == "UP 3/3" for each in checker.status()))
        assert checker.panicking == {4}
        assert all(checker.up(backend) for backend in backends)
        servers[0].mint_under(ServerKey(77, Secret(bytes(32))))
        for server in servers:
            server.silent = False
        await until(lambda: not checker.panicking)

    _, logs = _pool(servers, scene, replace(SETTINGS, panic=0.5))
    alarms = [(entry["family"], entry["state"], entry["log_level"]) for entry in logs if entry["event"] == "panic"]
    assert alarms == [("IPv4", "on", "error"), ("IPv4", "off", "error")]
    assert "backend DOWN" not in {entry["event"] for entry in logs}


def test_the_weight_of_who_comes_back_grows_and_each_step_is_told():
    server = Server()

    async def scene(checker, backend, changes):
        checker.fail("ntp-1", Failure(Cause.NAK))
        await until(lambda: checker.up(backend))
        assert checker.up(backend)[0].weight < 10
        before = len(changes)
        await until(lambda: checker.up(backend)[0].weight == 10)
        await until(lambda: len(changes) >= before + 9)

    _watching(server, scene, settings=replace(SETTINGS, slow_start=0.5))


def test_the_rounds_after_the_first_are_spread_over_the_interval():
    """Twenty backends that were probed all at once are not probed all at once again."""
    times = []

    class Timed(Server):
        def __call__(self, request):
            times.append(time.monotonic())
            return super().__call__(request)

    server = Timed()

    async def run(port):
        checker = Checker(KEYRING, replace(SETTINGS, interval=1.0), lambda: None)
        await checker.watch([_backend(port, f"ntp-{number}") for number in range(20)])
        begun = time.monotonic()
        await until(lambda: all(each.probes >= 2 for each in checker.status()))
        await checker.stop()
        return [moment - begun for moment in times if moment > begun]

    with scripted(server) as port:
        later = asyncio.run(run(port))
    halves = sum(moment < 0.5 for moment in later), sum(moment >= 0.5 for moment in later)
    assert min(halves) >= 5
