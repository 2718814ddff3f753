"""An agent's calls to real control ports over TLS, and to gateways that are none."""

import asyncio
import json
import ssl
import time
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from ntspool.errors import LocalError, RemoteError, ShutOutError, StateError, WireError
from ntspool.net import agentstate, authority, controlmessages, enrolment
from ntspool.net.agentclient import LONGEST_PAUSE, AgentClient, Gateway, enrol
from ntspool.net.mutualtls import server_context
from ntspool.net.store import FileStore
from ntspool.net.system import listen
from ntspool.pool.cookies import CookieFormat
from ntspool.wire.secret import Secret
from tests.net.controlport import control_port, delivery, no_sleep
from tests.waiting import until

NOBODY = Gateway("127.0.0.1", 1)


def run(tmp_path, scene):
    async def inside():
        async with control_port(tmp_path) as port:
            return port, await scene(port)

    return asyncio.run(inside())


@pytest.mark.parametrize("cookies", CookieFormat)
def test_an_agent_enrols_and_gets_its_keys_as_they_change(tmp_path, cookies):
    async def scene(port):
        client = await port.agent("ntp-1")
        port.desk.publish({"ntp-1": delivery("7", cookies), "ntp-2": delivery("7", cookies, fill=0x20)})
        first = await client.keyring(None)
        waiting = asyncio.create_task(client.keyring("7"))
        seen = len(port.logs)
        await until(lambda: port.server._calls._polls)
        assert len(port.logs) == seen
        port.desk.publish({"ntp-1": delivery("8", cookies, fill=0x61)})
        return client, first, await waiting

    _, (client, first, second) = run(tmp_path, scene)
    assert client.backend == "ntp-1"
    assert first == delivery("7", cookies)
    assert second == delivery("8", cookies, fill=0x61)


def test_nothing_new_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(controlmessages, "POLL", 0.05)

    async def scene(port):
        client = await port.agent()
        port.desk.publish({"ntp-1": delivery("7")})
        return await client.keyring("7")

    _, nothing = run(tmp_path, scene)
    assert nothing is None


def test_reports_arrive(tmp_path):
    async def scene(port):
        client = await port.agent()
        await client.report("7", [1, 2], None)
        first = port.desk.reports["ntp-1"]
        await client.report("8", (), "x" * 9000)
        return first, port.desk.reports["ntp-1"]

    _, (first, second) = run(tmp_path, scene)
    assert (first.revision, first.proved, first.failure) == ("7", (1, 2), None)
    assert (second.revision, second.proved, second.failure) == ("8", (), "x" * 500)


def test_one_agent_at_a_time_has_the_turn(tmp_path):
    async def scene(port):
        one, two = await port.agent("ntp-1"), await port.agent("ntp-2")
        got = [await one.turn(), await two.turn()]
        await one.turn_done()
        return [*got, await two.turn()]

    _, got = run(tmp_path, scene)
    assert got == [True, False, True]


def test_a_waiting_call_does_not_slow_others_down(tmp_path):
    async def scene(port):
        pauses = []

        async def sleep(seconds):
            pauses.append(seconds)

        client = await port.agent()
        client._sleep = sleep
        waiting = asyncio.create_task(client.keyring(None))
        await until(lambda: port.desk.seen)
        await client.report("7", (), None)
        port.desk.publish({"ntp-1": delivery()})
        await waiting
        return pauses

    assert run(tmp_path, scene)[1] == []


def test_what_is_kept_is_secret_and_nothing_of_the_key_leaves_the_agent(tmp_path):
    port, client = run(tmp_path, lambda port: port.agent())
    path = tmp_path / "agent-ntp-1" / agentstate.ENTRY
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [each.name for each in path.parent.iterdir()] == [agentstate.ENTRY]
    private = json.loads(path.read_text())["private"]
    for kept in (tmp_path / "state").iterdir():
        assert private not in kept.read_text()
    assert "PRIVATE" not in repr(agentstate.read(path.parent))
    assert "PRIVATE" not in repr(port.logs)
    assert client.expires == pytest.approx(time.time() + authority.AGENT_LIFE, abs=60)
    assert client.renewal_due == pytest.approx(time.time() + authority.AGENT_LIFE * 2 / 3, abs=60)


def test_renewing_makes_a_new_key_and_goes_on(tmp_path):
    async def scene(port):
        client = await port.agent()
        port.desk.publish({"ntp-1": delivery()})
        before = client._identity
        await client.renew()
        kept = agentstate.read(tmp_path / "agent-ntp-1")
        return before, kept, await client.keyring(None), await AgentClient(tmp_path / "agent-ntp-1").keyring(None)

    _, (before, kept, first, second) = run(tmp_path, scene)
    assert before.private != kept.private
    assert before.certificate != kept.certificate
    assert kept.gateways == before.gateways
    assert first == second == delivery()


def test_a_revoked_agent_is_refused_for_good_also_while_it_waits(tmp_path):
    async def scene(port):
        client = await port.agent()
        waiting = asyncio.create_task(client.keyring(None))
        await until(lambda: port.desk.seen)
        enrolment.revoke(port.store, "ntp-1", time.time())
        port.server.recheck()
        with pytest.raises(ShutOutError, match=r"127\.0\.0\.1:\d+: it refuses"):
            await waiting
        with pytest.raises(ShutOutError):
            await client.renew()

    run(tmp_path, scene)


def test_a_certificate_that_has_ended_by_a_wrong_clock_is_good_again_once_that_is_set(tmp_path):
    async def scene(port):
        ahead = authority.AGENT_LIFE + 5
        client = await port.agent(clock=lambda: time.time() + ahead)
        with pytest.raises(RemoteError, match="has ended by this machine's clock") as told:
            await client.keyring(None)
        assert not isinstance(told.value, ShutOutError)
        ahead = 0
        await client.renew()

    run(tmp_path, scene)


def test_a_token_is_good_once_and_a_second_enrolment_replaces_the_first(tmp_path):
    async def scene(port):
        token, directory = port.token(), tmp_path / "agent"
        first = await enrol([port.gateway], token, directory)
        with pytest.raises(ShutOutError):
            await enrol([port.gateway], token, directory)
        kept = agentstate.read(directory).backend
        second = await enrol([port.gateway], port.token("ntp-2"), directory)
        return first, kept, second, agentstate.read(directory).backend

    assert run(tmp_path, scene)[1] == ("ntp-1", "ntp-1", "ntp-2", "ntp-2")


def test_a_token_that_is_none_is_sent_nowhere(tmp_path):
    async def scene(port):
        with pytest.raises(LocalError, match="copy all of it"):
            await enrol([port.gateway], Secret(port.token().reveal()[:-4]), tmp_path / "agent")
        return port.logs

    assert run(tmp_path, scene)[1] == []


def test_a_token_is_not_spent_when_its_fruit_cannot_be_kept(tmp_path):
    async def scene(port):
        token = port.token()
        (tmp_path / "file").write_text("")
        with pytest.raises(StateError):
            await enrol([port.gateway], token, tmp_path / "file")
        return await enrol([port.gateway], token, tmp_path / "agent")

    assert run(tmp_path, scene)[1] == "ntp-1"


def test_an_agent_that_is_not_enrolled_is_told_how(tmp_path):
    with pytest.raises(StateError, match=r"no agent is enrolled in .*ntspool agent enroll"):
        AgentClient(tmp_path)


@pytest.mark.parametrize(
    "kept", [b"", b"{}", b"[]", b'{"format": 2}', b'{"format": 1, "authority": "", "private": "", "certificate": ""}']
)
def test_a_damaged_identity_is_told(tmp_path, kept):
    FileStore(tmp_path).put_if(agentstate.ENTRY, kept, None)
    with pytest.raises(StateError, match=r"damaged; enrol the agent again|has format 2"):
        AgentClient(tmp_path)


def test_an_identity_that_tls_or_the_agent_cannot_use_is_told(tmp_path):
    ours = authority.load_or_create(FileStore(tmp_path / "gateway"), 1.8e9)
    private, csr = authority.make_request()
    good = agentstate.Identity("ntp-1", ("gw:4461",), ours.pem, private, ours.sign_agent(csr, "ntp-1", 7, 1.8e9))
    agentstate.write(tmp_path / "agent", good)
    assert AgentClient(tmp_path / "agent").backend == "ntp-1"
    for odd in (replace(good, private=authority.make_request()[0]), replace(good, gateways=("gw:port",))):
        agentstate.write(tmp_path / "agent", odd)
        with pytest.raises(StateError, match=r"identity is damaged.*; enrol the agent again"):
            AgentClient(tmp_path / "agent")


def test_gateways_are_tried_in_turn_and_the_one_that_answers_is_next_time_the_first(tmp_path):
    async def scene(port):
        directory = tmp_path / "agent"
        await enrol([NOBODY, port.gateway], port.token(), directory)
        client = AgentClient(directory, sleep=no_sleep)
        port.desk.publish({"ntp-1": delivery()})
        got = await client.keyring(None)
        return port.gateway, list(agentstate.read(directory).gateways), got, client._gateways

    _, (gateway, kept, got, order) = run(tmp_path, scene)
    assert kept == [str(NOBODY), str(gateway)]
    assert got == delivery()
    assert order == [gateway, NOBODY]


def test_when_all_are_gone_every_failure_is_told_and_pauses_grow_with_jitter(tmp_path):
    run(tmp_path, lambda port: port.agent())
    pauses, chances = [], iter([0.0, 1.0] * 10)

    async def sleep(seconds):
        pauses.append(seconds)

    async def scene():
        lonely = AgentClient(
            tmp_path / "agent-ntp-1", [NOBODY, Gateway("::1", 1)], sleep=sleep, chance=lambda: next(chances)
        )
        for _ in range(12):
            with pytest.raises(
                RemoteError, match=r"127\.0\.0\.1:1: not reachable .*; \[::1\]:1: not reachable"
            ) as told:
                await lonely.turn()
            assert not isinstance(told.value, ShutOutError)

    asyncio.run(scene())
    assert pauses[:5] == [0.5, 2.0, 2.0, 8.0, 8.0]
    assert max(pauses) == LONGEST_PAUSE
    assert pauses[-2:] == [LONGEST_PAUSE, LONGEST_PAUSE / 2] or pauses[-2:] == [LONGEST_PAUSE / 2, LONGEST_PAUSE]


def test_a_gateway_that_comes_back_ends_the_pauses(tmp_path):
    async def scene(port):
        pauses = []

        async def sleep(seconds):
            pauses.append(seconds)

        client = await port.agent()
        client._sleep, gateways = sleep, client._gateways
        client._gateways = [NOBODY]
        with pytest.raises(RemoteError):
            await client.turn()
        client._gateways = gateways
        assert await client.turn()
        assert await client.turn()
        return pauses

    assert len(run(tmp_path, scene)[1]) == 1


@asynccontextmanager
async def impostor(directory, answer=b"", identity=None):
    """Yield a gateway that holds another pool's certificate, or `identity`, and what it was sent."""
    other = authority.load_or_create(FileStore(directory / "impostor"), time.time())
    context = server_context(identity or other.issue_control(time.time()), other.pem)
    context.verify_mode = ssl.CERT_NONE
    heard = []

    async def serve(reader, writer):
        heard.append(await reader.read(4096))
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield Gateway(*server.sockets[0].getsockname()), heard, other


def http(body, status=200):
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body


def test_a_token_is_not_told_to_a_gateway_of_another_pool(tmp_path):
    async def scene(port):
        other = authority.load_or_create(FileStore(tmp_path / "impostor"), time.time())
        own = controlmessages.encode_certificates(ca=other.pem)
        stolen = controlmessages.encode_certificates(ca=port.authority.pem)
        token, told = port.token(), []
        for body in (own, stolen, controlmessages.encode_certificates(ca=b"nonsense"), b"{}", b"\xff"):
            async with impostor(tmp_path, http(body)) as (gateway, heard, _):
                with pytest.raises(RemoteError) as error:
                    await enrol([gateway], token, tmp_path / "agent")
                told.append(str(error.value).partition(": ")[2])
                assert token.reveal() not in b"".join(heard)
        return told, await enrol([NOBODY, port.gateway], token, tmp_path / "agent")

    _, (told, backend) = run(tmp_path, scene)
    assert told == [
        "it is not of the pool that the token names",
        "its certificate is not of this pool's authority, or has ended by this machine's clock",
        "it sent no certificate of an authority",
        "a message lacks ca",
        "a message is no JSON",
    ]
    assert backend == "ntp-1"


def test_an_agent_shows_itself_to_no_other_pool(tmp_path):
    async def scene(port):
        await port.agent()
        async with impostor(tmp_path, http(b"{}")) as (gateway, heard, _):
            client = AgentClient(tmp_path / "agent-ntp-1", [gateway], sleep=no_sleep)
            with pytest.raises(RemoteError, match="not of this pool's authority"):
                await client.keyring(None)
            assert heard == []
            # Another agent of the same pool is no gateway either.
            async with impostor(tmp_path, http(b"{}"), port.identity("ntp-2")) as (peer, told, _):
                client = AgentClient(tmp_path / "agent-ntp-1", [peer], sleep=no_sleep)
                with pytest.raises(RemoteError):
                    await client.keyring(None)
                assert told == []

    run(tmp_path, scene)


def keyring(**changes):
    message = json.loads(controlmessages.encode_delivery("ntp-1", delivery()))
    return json.dumps({**message, **changes}).encode()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "hung up"),
        (b"\x00\x01\x02\r\n\r\n", "not reachable"),
        (http(b"{}", 500), "HTTP status 500"),
        (http(b"{}", 429), "HTTP status 429"),
        (http(b"", 302), "HTTP status 302"),
        (http(b"x" * 20000), "too long"),
        (http(b"no"), "no JSON"),
        (http(b"[]"), "no JSON object"),
        (http(keyring(cookies="sundial")), "makes no sense"),
        (http(keyring(current=4)), "makes no sense"),
        (http(keyring(current="2")), "out of range"),
        (http(keyring(keys=[])), "makes no sense"),
        (http(keyring(keys=[5])), "no object"),
        (http(keyring(keys=[{"id": 1, "secret": "AAAA"}] * 4)), "wrong length"),
        (http(keyring(keys=[{"id": 1, "secret": "!!"}] * 4)), "makes no sense"),
        (
            http(keyring(keys=[{"id": 1, "secret": "WlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlo="}] * 4)),
            "makes no sense",
        ),
        (http(keyring(revision=7)), "lacks revision"),
    ],
)
def test_a_gateway_that_talks_nonsense_is_passed_over(tmp_path, answer, words):
    async def scene(port):
        await port.agent()
        port.desk.publish({"ntp-1": delivery()})
        identity = port.authority.issue_control(time.time())
        async with impostor(tmp_path, answer, identity) as (gateway, _, _):
            with pytest.raises(RemoteError, match=words):
                await AgentClient(tmp_path / "agent-ntp-1", [gateway], sleep=no_sleep).keyring(None)
            client = AgentClient(tmp_path / "agent-ntp-1", [gateway, port.gateway], sleep=no_sleep)
            return await client.keyring(None)

    assert run(tmp_path, scene)[1] == delivery()


def test_a_gateway_that_falls_silent_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr("ntspool.net.agentclient.ANSWER_DEADLINE", 0.3)

    async def scene(port):
        client = await port.agent()
        # The kernel takes the connection, and nobody ever reads from it.
        with listen("127.0.0.1", 0) as silent:
            client._gateways = [Gateway(*silent.getsockname())]
            with pytest.raises(RemoteError, match="no answer in time"):
                await client.turn()

    run(tmp_path, scene)


def test_what_speaks_no_tls_is_no_gateway(tmp_path):
    async def chatter(_reader, writer):
        writer.write(b"SSH-2.0-OpenSSH\r\n")
        writer.close()

    async def scene(port):
        client = await port.agent()
        async with await asyncio.start_server(chatter, "127.0.0.1", 0) as server:
            client._gateways = [Gateway(*server.sockets[0].getsockname())]
            with pytest.raises(RemoteError, match="TLS failed"):
                await client.turn()

    run(tmp_path, scene)


def test_an_agent_whose_certificate_the_gateway_does_not_take_is_told_where_to_look(tmp_path):
    async def scene(port):
        client = await port.agent()
        other = authority.load_or_create(FileStore(tmp_path / "other"), time.time())
        private, csr = authority.make_request()
        forged = other.sign_agent(csr, "ntp-1", 1, time.time())
        client._identity = replace(client._identity, private=private, certificate=forged)
        with pytest.raises(RemoteError, match="it hung up; the reason"):
            await client.keyring(None)

    run(tmp_path, scene)


def test_a_certificate_that_is_not_what_was_asked_for_is_not_taken(tmp_path):
    async def scene(port):
        await port.agent()
        kept = agentstate.read(tmp_path / "agent-ntp-1")
        identity = port.authority.issue_control(time.time())
        foreign = authority.load_or_create(FileStore(tmp_path / "foreign"), time.time())
        csr = authority.make_request()[1]
        told = []
        for certificate in (
            b"nonsense",
            foreign.sign_agent(csr, "ntp-1", 1, time.time()),
            port.authority.sign_agent(csr, "ntp-1", 1, time.time()),
        ):
            answer = http(controlmessages.encode_certificates(certificate=certificate))
            async with impostor(tmp_path, answer, identity) as (gateway, _, _):
                with pytest.raises(RemoteError) as error:
                    await AgentClient(tmp_path / "agent-ntp-1", [gateway], sleep=no_sleep).renew()
                told.append(str(error.value).partition(": ")[2])
        return told, kept, agentstate.read(tmp_path / "agent-ntp-1")

    _, (told, before, after) = run(tmp_path, scene)
    assert told == [
        "it sent no certificate of the pool's authority",
        "it sent no certificate of the pool's authority",
        "it sent a certificate for another key",
    ]
    assert before == after


def test_a_certificate_for_another_backend_is_not_taken(tmp_path, monkeypatch):
    async def scene(port):
        client = await port.agent()
        sign = authority.Authority.sign_agent
        monkeypatch.setattr(
            authority.Authority, "sign_agent", lambda self, csr, _, *rest: sign(self, csr, "ntp-2", *rest)
        )
        with pytest.raises(RemoteError, match="for another backend"):
            await client.renew()
        return client.backend, agentstate.read(tmp_path / "agent-ntp-1").backend

    assert run(tmp_path, scene)[1] == ("ntp-1", "ntp-1")


def test_a_turn_that_is_neither_granted_nor_not_is_none(tmp_path):
    async def scene(port):
        await port.agent()
        async with impostor(tmp_path, http(b"{}"), port.authority.issue_control(time.time())) as (gateway, _, _):
            with pytest.raises(RemoteError, match="lacks granted"):
                await AgentClient(tmp_path / "agent-ntp-1", [gateway], sleep=no_sleep).turn()

    run(tmp_path, scene)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("gateway.example.com:4461", "gateway.example.com", 4461),
        ("192.0.2.1:1", "192.0.2.1", 1),
        ("[2001:db8::1]:65535", "2001:db8::1", 65535),
    ],
)
def test_a_gateway_is_read_and_written(text, host, port):
    gateway = Gateway.parse(text)
    assert gateway == Gateway(host, port)
    assert str(gateway) == text


@pytest.mark.parametrize(
    "text", ["", "host", "host:", ":1", "host:0", "host:65536", "host:1x", "2001:db8::1:1", "[x]:1", "a b:1", "a/b:1"]
)
def test_what_is_no_gateway_is_told(text):
    with pytest.raises(ValueError, match="expected HOST:PORT"):
        Gateway.parse(text)


def test_refusals_are_remote_errors():
    assert issubclass(ShutOutError, RemoteError)
    assert not issubclass(WireError, ShutOutError)


def test_no_certificate_is_asked_for_that_could_not_be_kept(tmp_path, monkeypatch):
    def full(*_):
        raise StateError("No space left on device")

    async def scene(port):
        client = await port.agent()
        before = enrolment.read(port.store)
        monkeypatch.setattr(agentstate, "check_writable", full)
        with pytest.raises(StateError):
            await client.renew()
        return before, enrolment.read(port.store)

    _, (before, after) = run(tmp_path, scene)
    assert before == after
