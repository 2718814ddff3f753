"""What operators do to backends of a real gateway, over its admin API, and what it then shows."""

import asyncio
import contextlib
import os
import signal
from collections import Counter

import pytest
from aiohttp import ClientSession, UnixConnector

from ntspool.app.adminclient import call
from ntspool.app.gateway import Gateway
from ntspool.errors import ConfigError, LocalError
from ntspool.net.keyexchange import exchange_keys
from ntspool.net.timequery import query_time
from ntspool.wire.messages import Response
from tests.app.pool import REQUEST, lay_out
from tests.waiting import DEADLINE, until


@pytest.fixture
def around(tmp_path, pki):
    return lay_out(tmp_path, pki)


def _play(around, scene):
    """Run `scene(servers)` beside time servers that run all the time."""

    async def run():
        async with around.time_servers() as servers:
            return await scene(servers)

    return asyncio.run(run())


@contextlib.asynccontextmanager
async def _gateway(around):
    gateway = Gateway(around.config)
    try:
        await gateway.start()
        yield gateway
    finally:
        await gateway.stop()


async def _ask(around, method, resource, body=None):
    return await asyncio.to_thread(call, around.state / "admin.sock", method, resource, body)


async def _order(around, name, verb, body=None):
    return await _ask(around, "POST", f"/v1/backends/{name}/{verb}", body)


async def _servers(around, sessions):
    return Counter([(await around.session()).server for _ in range(sessions)])


def _requests(servers, name):
    return servers[name].counters.requests


def test_a_drained_backend_gets_nobody_from_the_moment_that_it_is_said_and_is_still_probed(around):
    around.configure(workers=2)

    async def scene(servers):
        async with _gateway(around):
            got = []

            async def client():
                while True:
                    got.append((await exchange_keys(around.server, REQUEST, 5)).reply)

            clients = [asyncio.create_task(client()) for _ in range(3)]
            await until(lambda: {reply.server for reply in got} == {"127.0.0.20", "127.0.0.21"})
            shown = await _order(around, "ntp-1", "drain")
            # Those under way were answered before.
            await asyncio.sleep(0)
            under_way = len(got) + len(clients)
            await until(lambda: len(got) > under_way + 60)
            drained, probed = got[under_way:], _requests(servers, "ntp-1")
            await until(lambda: _requests(servers, "ntp-1") > probed)
            await _order(around, "ntp-1", "ready")
            back = len(got)
            await until(lambda: "127.0.0.20" in {reply.server for reply in got[back:]})
            for each in clients:
                each.cancel()
            await asyncio.gather(*clients, return_exceptions=True)
            return shown, got, drained

    shown, got, drained = _play(around, scene)
    assert (shown["state"], shown["admin"], shown["fair_share"]) == ("DRAIN", "drain", 0.0)
    assert shown["addresses"][0]["up"]
    assert all(isinstance(reply, Response) for reply in got)
    assert {reply.server for reply in drained} == {"127.0.0.21"}


def test_a_backend_in_maintenance_is_neither_given_out_nor_probed(around):
    async def scene(servers):
        async with _gateway(around) as gateway:
            proved = gateway.view().keys["backends"][0]["proved"]
            shown = await _order(around, "ntp-1", "maint")
            asked, other = _requests(servers, "ntp-1"), _requests(servers, "ntp-2")
            given = await _servers(around, 20)
            await until(lambda: _requests(servers, "ntp-2") > other + 20)
            unasked = _requests(servers, "ntp-1") == asked
            # It goes on with its keys, so a rotation has to mind it.
            [resting] = [each for each in gateway.view().keys["backends"] if each["backend"] == "ntp-1"]
            back = await _order(around, "ntp-1", "ready")
            return shown, unasked, given, proved, resting, back, _requests(servers, "ntp-1") > asked

    shown, unasked, given, proved, resting, back, asked_again = _play(around, scene)
    assert (shown["state"], shown["minting"]) == ("MAINT", None)
    assert [(each["state"], each["up"], each["probes"]) for each in shown["addresses"]] == [("MAINT", False, 0)]
    assert unasked
    assert set(given) == {"127.0.0.21"}
    assert proved
    assert resting["state"] == "MAINT"
    assert resting["proved"] == pytest.approx(proved, abs=0.01)
    # It was probed before it was given out.
    assert asked_again
    assert (back["state"], back["addresses"][0]["probes"]) == ("UP", 1)


def test_orders_survive_restarts_and_reloads_and_end_with_the_backend(around):
    async def scene(_):
        async with _gateway(around):
            await _order(around, "ntp-1", "drain")
            await _order(around, "ntp-2", "weight", {"weight": 30})
        async with _gateway(around):
            restarted = await _servers(around, 15), (await _ask(around, "GET", "/v1/backends/ntp-2"))
            around.configure(workers=2)
            await _ask(around, "POST", "/v1/reload")
            reloaded = await _servers(around, 15)
            around.configure(names=("ntp-2",))
            await _ask(around, "POST", "/v1/reload")
            around.configure()
            await _ask(around, "POST", "/v1/reload")
            anew = await _servers(around, 60)
        return restarted, reloaded, anew

    (restarted, weighed), reloaded, anew = _play(around, scene)
    assert set(restarted) == set(reloaded) == {"127.0.0.21"}
    assert (weighed["weight"], weighed["effective_weight"]) == (10, 30.0)
    assert set(anew) == {"127.0.0.20", "127.0.0.21"}


def test_a_removed_backend_keeps_the_keys_that_it_has_and_is_given_no_newer_ones(around):
    async def scene(servers):
        async with _gateway(around) as gateway:
            await _order(around, "ntp-2", "drain")
            reply = (exchange := await exchange_keys(around.server, REQUEST, 5)).reply
            held = await gateway._desk.wait("ntp-1", None, 5)
            await _order(around, "ntp-2", "ready")
            around.configure(names=("ntp-2",))
            await _ask(around, "POST", "/v1/reload")
            await _ask(around, "POST", "/v1/keys/rotate")
            # What its agent asks is answered when there is something new, which there is not.
            newer = [await gateway._desk.wait("ntp-1", after, 0.2) for after in (held.revision, None)]
            other = await gateway._desk.wait("ntp-2", None, 5)
            association, cookie = exchange.association, reply.cookies[0]
            answer = await query_time(reply.server, reply.port, association, cookie, timeout=5)
            return newer, other.keys != held.keys, answer

    newer, rotated, answer = _play(around, scene)
    assert newer == [None, None]
    assert rotated
    assert answer.cookies


def test_damaged_orders_keep_the_gateway_from_starting(around):
    around.state.mkdir(mode=0o700, exist_ok=True)
    (around.state / "orders").write_bytes(b"{}")
    (around.state / "orders").chmod(0o600)
    with pytest.raises(LocalError, match="the entry orders of the state directory is damaged; delete it"):
        Gateway(around.config)


@pytest.mark.parametrize("balance", ["random", "sticky"])
def test_a_weight_changes_the_shares(around, balance):
    around.config.write_text(f"balance: {balance}\n{around.config.read_text()}")

    async def scene(_):
        async with _gateway(around) as gateway:
            before = (await _order(around, "ntp-1", "weight", {"weight": 250}))["fair_share"]
            # What slots and `sticky` rank by, and what chance draws by.
            assert [each.backend.weight for each in gateway.served.serving] == [250, 10]
            assert [each.up[0].weight for each in gateway.served.serving] == [250, 10]
            heavy = await _servers(around, 120)
            await _order(around, "ntp-1", "weight", {"weight": 0})
            spare = await _servers(around, 20)
            declared = await _order(around, "ntp-1", "weight", {"weight": None})
            return before, heavy, spare, declared

    share, heavy, spare, declared = _play(around, scene)
    assert share == pytest.approx(250 / 260)
    assert set(spare) == {"127.0.0.21"}
    assert declared["fair_share"] == pytest.approx(0.5)
    if balance == "random":
        assert heavy["127.0.0.20"] > 100
    else:
        # One client's network is one place in the order of weights; which it is, is the hash's to say.
        assert len(heavy) == 1


def test_a_backend_that_is_down_is_shown_with_its_cause_and_since_when(around):
    around.configure(panic=100)

    async def scene(servers):
        async with _gateway(around) as gateway:
            up = gateway.view()
            await servers["ntp-2"].stop()
            await until(lambda: gateway.view().backends[1].state == "DOWN")
            return up, gateway.view()

    up, view = _play(around, scene)
    assert [each.state for each in up.backends] == ["UP", "UP"]
    assert (up.ready, up.vote, up.panicking, up.workers.wanted) == (True, "local clock", (), 1)
    assert up.certificates[0].names[0] == "localhost"
    assert up.certificates[0].not_after > up.now > up.started
    one, two = view.backends
    [address] = two.addresses
    assert (two.cause, address.kind) == (address.cause, address.cause.partition(" (")[0])
    assert address.failures_by_cause == {address.kind: address.failures}
    assert two.since > one.since
    assert (one.fair_share, two.fair_share, two.effective_weight) == (1.0, 0.0, 10.0)


def test_a_probe_on_demand_tells_everything(around):
    async def scene(servers):
        async with _gateway(around):
            socket = around.state / "admin.sock"
            well = await asyncio.to_thread(_post, socket, "/v1/backends/ntp-1/probe")
            await _order(around, "ntp-2", "maint")
            await servers["ntp-2"].stop()
            silent = await asyncio.to_thread(_post, socket, "/v1/backends/ntp-2/probe")
            [event] = [each for each in await asyncio.to_thread(_events, socket) if each["event"] == "admin state"]
            return well, silent, event

    [well], [silent], event = _play(around, scene)
    assert (well["sent"], well["good"], well["stratum"]) == (True, True, 3)
    assert {each["aead"] for each in well["aeads"]} == {"AES-SIV-CMAC-256", "AES-SIV-CMAC-512", "AES-128-GCM-SIV"}
    assert all(each["good"] and each["cookies"] >= 1 for each in well["aeads"])
    assert well["epochs"][0] == {"epoch": 3, "accepted": True, "mints": 3}
    assert 0 <= well["delay"] < 1
    assert not silent["good"]
    assert {each["cause"].partition(" (")[0] for each in silent["aeads"]} <= {"no answer", "refused"}
    assert (event["subject"], event["before"], event["after"]) == ("ntp-2", "ready", "maint")


def test_counters_are_exact_over_two_workers_their_replacement_and_a_death(around):
    around.configure(workers=2)

    async def scene(_):
        async with _gateway(around) as gateway:

            def counted():
                return gateway.view().sessions.outcomes["ok"]

            await _servers(around, 25)
            await gateway.replace_workers()
            replaced = counted()
            await _servers(around, 5)
            await until(lambda: counted() == 30)
            os.kill(gateway.worker_pids[0], signal.SIGKILL)
            await until(lambda: gateway.view().workers.deaths == 1 and len(gateway.worker_pids) == 2)
            died = counted()
            around.configure(workers=1)
            await _servers(around, 5)
            # What the one that goes has not told yet, it tells in the end.
            await gateway.reload()
            await until(lambda: counted() == 35)
            return replaced, died, gateway.view()

    replaced, died, view = _play(around, scene)
    assert (replaced, died) == (25, 30)
    assert sum(each.sessions for each in view.backends) == 35
    assert view.sessions.aeads == {"AES-SIV-CMAC-256": 35}
    assert view.sessions.duration.count == 35
    assert view.sessions.open == 0
    assert view.workers.replaced == 2
    assert 0 < view.sessions.rate <= 35


def test_events_come_in_order_as_they_happen_and_stay_over_a_restart(around):
    async def scene(servers):
        async with _gateway(around):
            socket = around.state / "admin.sock"
            known = await asyncio.to_thread(_events, socket)
            newest = known[-1]["number"]
            waiting = asyncio.create_task(asyncio.to_thread(_events, socket, newest, 20))
            await asyncio.sleep(0.1)
            idle = not waiting.done()
            await _order(around, "ntp-1", "drain")
            [told] = await waiting
            around.configure(interval="200ms")
            await _ask(around, "POST", "/v1/reload")
            around.config.write_text(around.config.read_text() + "surprise: 1\n")
            with pytest.raises(ConfigError):
                await _ask(around, "POST", "/v1/reload")
            later = await asyncio.to_thread(_events, socket, told["number"])
        around.configure()
        async with _gateway(around) as gateway:
            after = await asyncio.to_thread(_events, socket)
            return known, idle, told, later, after, gateway

    known, idle, told, later, after, _ = _play(around, scene)
    assert idle
    assert (told["event"], told["subject"], told["before"], told["after"]) == ("admin state", "ntp-1", "ready", "drain")
    assert told["cause"] == "the admin API"
    [interval, *_] = [each for each in later if each["event"] == "configuration changed"]
    assert (interval["subject"], interval["before"], interval["after"]) == ("health.interval", "0.1", "0.2")
    assert "reloaded" in {each["event"] for each in later}
    [refused] = [each for each in later if each["event"] == "reload refused, the old configuration stays"]
    assert "surprise" in refused["cause"]
    assert [each["number"] for each in after] == list(range(1, len(after) + 1))
    assert after[: len(known)] == known
    assert [each["event"] for each in after].count("serving") == 2
    assert [each["event"] for each in after].count("stopped") == 1


def test_events_are_kept_whatever_is_logged(around):
    around.config.write_text(around.config.read_text().replace("log: {format: json}", "log: {level: error}"))

    async def scene(_):
        async with _gateway(around):
            return await asyncio.to_thread(_events, around.state / "admin.sock")

    assert "backend UP" in {each["event"] for each in _play(around, scene)}


def test_a_long_poll_does_not_hold_up_the_end(around):
    async def scene(_):
        async with _gateway(around):
            waiting = asyncio.create_task(asyncio.to_thread(_events, around.state / "admin.sock", 10**6, 500))
            await asyncio.sleep(0.2)
        async with asyncio.timeout(DEADLINE):
            return await waiting

    assert _play(around, scene) == []


def _post(socket, resource):
    return _list(socket, "POST", resource)


def _events(socket, after=0, wait=0):
    return _list(socket, "GET", f"/v1/events?after={after}&wait={wait}")


def _list(path, method, resource):
    """Return an answer that is a list."""

    async def ask():
        async with (
            ClientSession(connector=UnixConnector(str(path))) as session,
            session.request(method, f"http://localhost{resource}") as response,
        ):
            return await response.json()

    return asyncio.run(ask())
