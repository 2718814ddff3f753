"""The control port against those whom it must not trust: refused, logged, and nothing leaked."""

import asyncio
import base64
import json
import socket
import ssl
import time

import aiohttp
import pytest

from ntspool.errors import LocalError, StateError
from ntspool.net import authority, control, controlcalls, enrolment
from ntspool.net.control import ControlServer
from ntspool.net.keydesk import KeyDesk
from ntspool.net.mutualtls import client_context, server_context
from ntspool.net.store import FileStore
from ntspool.wire.secret import Secret
from tests.net.controlport import control_port, delivery, request
from tests.waiting import until

DAY = 86400
KEYRING = request("GET", "/v1/keyring")
AGENT_CALLS = [
    ("GET", "/v1/keyring"),
    ("POST", "/v1/report"),
    ("POST", "/v1/renew"),
    ("POST", "/v1/turn"),
    ("POST", "/v1/turn/done"),
    ("POST", "/v1/anything"),
]


def on_port(tmp_path, scene):
    """Run `scene` with a control port where keys of two backends lie; assert that no secret went astray."""

    async def run():
        async with control_port(tmp_path) as port:
            port.desk.publish({"ntp-1": delivery(fill=0x5A), "ntp-2": delivery(fill=0x20)})
            return port, await scene(port)

    port, result = asyncio.run(run())
    shown = repr(port.logs)
    for number in range(4):
        secret = bytes([0x5A + number]) * 32
        assert base64.b64encode(secret).decode() not in shown
        assert secret.hex() not in shown
        assert secret.decode() not in shown
    assert "PRIVATE KEY" not in shown
    assert "ntspool1-" not in shown
    return port, result


def status(answer):
    return int(answer.split(b" ")[1]) if answer.startswith(b"HTTP/1.") else answer


def holds_keys(answer):
    return b'"secret"' in answer


@pytest.mark.parametrize(("method", "path"), AGENT_CALLS)
def test_without_a_certificate_nothing_is_had(tmp_path, method, path):
    port, answer = on_port(tmp_path, lambda port: port.ask(request(method, path, b"{}")))
    assert status(answer) == 403
    assert answer.endswith(b'{"error": "refused"}')
    assert port.reasons() == ["it shows no certificate"]
    assert port.logs[0]["peer"] == "127.0.0.1"


def test_an_agent_gets_the_keys_of_its_own_backend_whatever_it_asks_for(tmp_path):
    async def scene(port):
        identity = port.identity("ntp-2")
        paths = ("/v1/keyring", "/v1/keyring?backend=ntp-1", "/v1/keyring?after=6&backend=ntp-1&key_group=ntp-1")
        return [await port.ask(request("GET", path, headers="X-Backend: ntp-1\r\n"), identity) for path in paths]

    _, answers = on_port(tmp_path, scene)
    for answer in answers:
        told = json.loads(answer.partition(b"\r\n\r\n")[2])
        assert told["backend"] == "ntp-2"
        assert base64.b64decode(told["keys"][0]["secret"]) == b"\x20" * 32
        assert told["current"] == 2
        assert [key["id"] for key in told["keys"]] == [0, 1, 2, 3]
        assert b"Python" not in answer


@pytest.mark.parametrize(("method", "path"), AGENT_CALLS)
def test_a_revoked_agent_is_refused(tmp_path, method, path):
    async def scene(port):
        identity = port.identity("ntp-1")
        enrolment.revoke(port.store, "ntp-1", time.time())
        return await port.ask(request(method, path, b"{}"), identity)

    port, answer = on_port(tmp_path, scene)
    assert status(answer) == 403
    assert "the certificate of ntp-1 was revoked, or replaced long since" in port.reasons()


def test_a_certificate_that_was_never_issued_is_refused_though_the_authority_signed_it(tmp_path):
    port, answer = on_port(tmp_path, lambda port: port.ask(KEYRING, port.identity("ntp-1", allowed=False)))
    assert status(answer) == 403
    assert len(port.reasons()) == 1


def test_a_waiting_agent_is_cut_off_when_it_is_revoked(tmp_path):
    async def scene(port):
        one, two = port.identity("ntp-1"), port.identity("ntp-2")
        waiting = [asyncio.create_task(port.ask(request("GET", "/v1/keyring?after=7"), who)) for who in (one, two)]
        await until(lambda: len(port.desk.seen) == 2)
        enrolment.revoke(port.store, "ntp-1", time.time())
        revoked = time.monotonic()
        answer = await waiting[0]
        took = time.monotonic() - revoked
        other_waits = not waiting[1].done()
        port.desk.publish({"ntp-1": delivery("8"), "ntp-2": delivery("8", fill=0x20)})
        return answer, took, other_waits, await waiting[1]

    port, (answer, took, other_waits, other) = on_port(tmp_path, scene)
    assert status(answer) == 403
    assert [entry["backend"] for entry in port.logs if entry["event"] == "agent revoked"] == ["ntp-1"]
    assert took < control.RECHECK_INTERVAL + 1
    assert other_waits
    assert status(other) == 200


def test_new_keys_do_not_reach_who_was_revoked_a_moment_ago(tmp_path):
    async def scene(port):
        waiting = asyncio.create_task(port.ask(request("GET", "/v1/keyring?after=7"), port.identity("ntp-1")))
        await until(lambda: port.desk.seen)
        enrolment.revoke(port.store, "ntp-1", time.time())
        port.desk.publish({"ntp-1": delivery("8")})
        return await waiting

    _, answer = on_port(tmp_path, scene)
    assert status(answer) == 403
    assert not holds_keys(answer)


def test_a_revocation_in_this_process_cuts_off_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(control, "RECHECK_INTERVAL", 1000.0)

    async def scene(port):
        waiting = asyncio.create_task(port.ask(request("GET", "/v1/keyring?after=7"), port.identity("ntp-1")))
        await until(lambda: port.desk.seen)
        port.server.recheck()
        await asyncio.sleep(0)
        still = not waiting.done()
        enrolment.revoke(port.store, "ntp-1", time.time())
        port.server.recheck()
        return still, await waiting

    _, (still, answer) = on_port(tmp_path, scene)
    assert still
    assert status(answer) == 403


def test_an_expired_certificate_is_refused(tmp_path):
    ended = time.time() - authority.AGENT_LIFE - 60
    port, answer = on_port(tmp_path, lambda port: port.ask(KEYRING, port.identity("ntp-1", now=ended)))
    assert not holds_keys(answer)
    assert status(answer) != 200
    assert port.reasons() == ["certificate has expired"]


def test_a_certificate_that_ends_by_the_gateways_clock_is_refused(tmp_path):
    async def scene(port):
        identity = port.identity("ntp-1")
        port.ahead = authority.AGENT_LIFE + 60
        # The control port's own certificate is from the future then; who attacks does not mind.
        return await port.ask(KEYRING, identity, trusting=True)

    port, answer = on_port(tmp_path, scene)
    assert status(answer) == 403
    assert port.reasons() == ["the certificate of ntp-1 has expired"]


def test_a_certificate_of_another_authority_is_refused(tmp_path):
    stranger = authority.load_or_create(FileStore(tmp_path / "other"), time.time())
    port, answer = on_port(tmp_path, lambda port: port.ask(KEYRING, port.identity("ntp-1", issuer=stranger)))
    assert not holds_keys(answer)
    assert status(answer) != 200
    assert len(port.reasons()) == 1
    assert "certificate" in port.reasons()[0]


def test_the_control_ports_own_certificate_makes_no_agent(tmp_path):
    port, answer = on_port(tmp_path, lambda port: port.ask(KEYRING, port.authority.issue_control(time.time())))
    assert status(answer) != 200
    assert len(port.reasons()) == 1


def enrolment_of(token, csr=None):
    token = token.reveal().decode() if isinstance(token, Secret) else token
    csr = csr or authority.make_request()[1]
    return request("POST", "/v1/enrol", json.dumps({"token": token, "csr": csr.decode()}).encode())


def test_every_bad_token_meets_the_same_refusal(tmp_path):
    async def scene(port):
        used, revoked = port.token(), port.token("ntp-2")
        good = await port.ask(enrolment_of(used))
        enrolment.revoke(port.store, "ntp-2", time.time())
        bad = [used, port.token(life=-1.0), revoked, "", "garbage", "ntspool1-" + "A" * 64, used.reveal().decode()[:-1]]
        return good, {await port.ask(enrolment_of(token)) for token in bad}

    port, (good, bad) = on_port(tmp_path, scene)
    assert status(good) == 200
    bodies = {answer.partition(b"\r\n\r\n")[2] for answer in bad}
    assert {status(answer) for answer in bad} == {403}
    assert bodies == {b'{"error": "refused"}'}
    assert port.reasons() == [
        "the token for ntp-1 was used before",
        "the token for ntp-1 has expired",
        *["the token is unknown"] * 5,
    ]


def test_of_two_who_use_a_token_at_the_same_time_one_gets_a_certificate(tmp_path):
    async def scene(port):
        token = port.token()
        return await asyncio.gather(*(port.ask(enrolment_of(token)) for _ in range(5)))

    _, answers = on_port(tmp_path, scene)
    assert sorted(map(status, answers)) == [200, 403, 403, 403, 403]


def test_a_request_that_cannot_be_signed_does_not_use_up_the_token(tmp_path):
    async def scene(port):
        token = port.token()
        return await port.ask(enrolment_of(token, b"nonsense")), await port.ask(enrolment_of(token))

    _, answers = on_port(tmp_path, scene)
    assert list(map(status, answers)) == [400, 200]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"{",
        b"[" * 10000,
        b'{"token": 1, "csr": ""}',
        b'{"token": "\\ud800", "csr": ""}',
        b'{"token": "' + b"9" * 5000 + b'"}',
        b'{"csr": ' + b"9" * 5000 + b"}",
    ],
)
def test_an_enrolment_that_is_none_is_refused(tmp_path, body):
    port, answer = on_port(tmp_path, lambda port: port.ask(request("POST", "/v1/enrol", body)))
    assert status(answer) == 400
    assert answer.endswith(b'{"error": "bad request"}')
    assert len(port.reasons()) == 1
    assert "999" not in repr(port.logs)


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/v1/report", b"no", 400),
        ("/v1/report", b'{"revision": "7", "proved": 5, "failure": null}', 400),
        ("/v1/report", b'{"revision": "7", "proved": [-1], "failure": null}', 400),
        ("/v1/report", b'{"revision": "7", "proved": [true], "failure": null}', 400),
        ("/v1/report", b'{"revision": "7", "proved": [4294967296], "failure": null}', 400),
        ("/v1/report", json.dumps({"revision": "7", "proved": [1] * 65}).encode(), 400),
        ("/v1/report", b'{"revision": 7, "proved": [], "failure": null}', 400),
        ("/v1/renew", b'{"csr": "x"}', 400),
        ("/v1/renew", b"{}", 400),
        ("/v2/report", b"{}", 404),
    ],
)
def test_what_an_agent_says_is_not_trusted(tmp_path, path, body, expected):
    port, answer = on_port(tmp_path, lambda port: port.ask(request("POST", path, body), port.identity()))
    assert status(answer) == expected
    assert dict(port.desk.reports) == {}


def test_an_agents_words_cannot_harm_a_terminal(tmp_path):
    body = json.dumps({"revision": "\x1b[2J", "proved": [1], "failure": "\x1b]0;x\x07\ud800" + "é" * 9000}).encode()
    port, answer = on_port(
        tmp_path, lambda port: port.ask(request("POST", "/v1/report", body[:16000]), port.identity())
    )
    assert status(answer) == 400
    body = json.dumps({"revision": "\x1b[2J", "proved": [1], "failure": "\x1b]0;x\x07\ud800" + "é" * 900}).encode()
    port, answer = on_port(tmp_path, lambda port: port.ask(request("POST", "/v1/report", body), port.identity()))
    assert status(answer) == 204
    report = port.desk.reports["ntp-1"]
    assert report.revision == "?[2J"
    assert report.failure.startswith("?]0;x??é")
    assert len(report.failure) == 500
    assert abs(report.time - time.time()) < 60


def test_garbage_instead_of_tls_is_cut_off(tmp_path):
    async def scene(port):
        reader, writer = await asyncio.open_connection(*port.server.addresses[0])
        writer.write(b"GET /v1/keyring HTTP/1.1\r\n\r\n")
        answer = await reader.read()
        writer.close()
        await until(lambda: port.logs)
        return answer

    port, answer = on_port(tmp_path, scene)
    assert b"HTTP" not in answer
    assert [line["event"] for line in port.logs] == ["control: no TLS"]


@pytest.mark.parametrize("sent", [b"\x00" * 50 + b"\r\n\r\n", b"ntspool1-secret\r\n\r\n", b"GET / HTTP/9\r\n\r\n"])
def test_garbage_instead_of_http_is_cut_off_and_not_logged(tmp_path, sent, caplog):
    async def scene(port):
        answer = await port.ask(sent)
        await until(lambda: port.logs)
        return answer

    port, answer = on_port(tmp_path, scene)
    assert status(answer) == 400
    assert answer.endswith(b"\r\n\r\n")
    assert b"Python" not in answer
    assert port.reasons() == ["no whole request came"]
    assert caplog.records == []


@pytest.mark.parametrize("tls", [ssl.TLSVersion.TLSv1_2])
def test_tls_before_1_3_is_refused(tmp_path, tls):
    async def scene(port):
        context = client_context(None, port.authority.pem)
        context.minimum_version = context.maximum_version = tls
        with pytest.raises((ssl.SSLError, OSError)):
            await port.connect(context=context)
        await until(lambda: port.logs)

    port, _ = on_port(tmp_path, scene)
    assert port.reasons() == ["UNSUPPORTED_PROTOCOL"]


async def silent_connection(port):
    return await asyncio.open_connection(*port.server.addresses[0])


async def slow_request(port):
    reader, writer = await port.connect()
    writer.write(KEYRING[:20])
    return reader, writer


async def slow_body(port):
    reader, writer = await port.connect()
    writer.write(b"POST /v1/enrol HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
    return reader, writer


async def idle_tls(port):
    return await port.connect()


@pytest.mark.parametrize("open_slowly", [silent_connection, idle_tls, slow_request, slow_body])
def test_a_slow_peer_is_cut_off(tmp_path, monkeypatch, open_slowly):
    monkeypatch.setattr(control, "HEAR_DEADLINE", 0.3)

    async def scene(port):
        reader, writer = await open_slowly(port)
        try:
            async with asyncio.timeout(10):
                return await reader.read()
        except OSError:
            return b""
        finally:
            writer.transport.abort()

    port, answer = on_port(tmp_path, scene)
    assert answer == b""
    assert port.reasons() == ["too slow"]


def test_a_peer_that_does_not_take_its_answer_is_cut_off(tmp_path, monkeypatch):
    monkeypatch.setattr(control, "_LIFE", 0.3)

    async def scene(port):
        async with asyncio.timeout(10):
            return await port.ask(request("GET", "/v1/keyring?after=7"), port.identity())

    port, answer = on_port(tmp_path, scene)
    assert status(answer) != 200
    assert port.reasons() == ["too slow"]


@pytest.mark.parametrize(
    "sent",
    [
        request("POST", "/v1/enrol", b"x" * 20000),
        b"POST /v1/enrol HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n",
        b"POST /v1/enrol HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        + (b"1000\r\n" + b"x" * 4096 + b"\r\n") * 5,
    ],
)
def test_an_oversized_body_is_refused(tmp_path, sent):
    port, answer = on_port(tmp_path, lambda port: port.ask(sent))
    assert status(answer) == 413
    assert port.reasons() == ["the request is too long"]


MANY = pytest.mark.skipif(aiohttp.__version__ < "3.14", reason="this aiohttp takes as many headers as there are")


@pytest.mark.parametrize("headers", ["X: " + "x" * 9000 + "\r\n", pytest.param("X: y\r\n" * 200, marks=MANY)])
def test_oversized_headers_are_refused(tmp_path, headers):
    async def scene(port):
        answer = await port.ask(request("GET", "/v1/ca", headers=headers))
        await until(lambda: port.logs)
        return answer

    port, answer = on_port(tmp_path, scene)
    assert status(answer) == 400
    assert port.reasons() == ["no whole request came"]


def test_a_compressed_body_is_not_unpacked(tmp_path):
    sent = request("POST", "/v1/enrol", b"\x1f\x8b" + b"x" * 100, "Content-Encoding: gzip\r\n")
    _, answer = on_port(tmp_path, lambda port: port.ask(sent))
    assert status(answer) == 400


def test_strangers_cannot_keep_an_agent_out(tmp_path, monkeypatch):
    monkeypatch.setattr(control, "STRANGERS", 4)

    async def scene(port):
        identity = port.identity()
        waiting = asyncio.create_task(port.ask(request("GET", "/v1/keyring?after=7"), identity))
        await until(lambda: port.desk.seen)
        strangers = [await silent_connection(port) for _ in range(12)]
        answer = await port.ask(KEYRING, identity)
        still = not waiting.done()
        port.desk.publish({"ntp-1": delivery("8")})
        for _, writer in strangers:
            writer.transport.abort()
        return answer, still, await waiting

    port, (answer, still, waited) = on_port(tmp_path, scene)
    assert status(answer) == status(waited) == 200
    assert still
    assert port.reasons().count("too many strangers") >= 8


def test_connections_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(control, "CONNECTIONS", 2)

    async def scene(port):
        held = [await silent_connection(port) for _ in range(2)]
        await until(lambda: len(port.server._peers) == 2)
        reader, writer = await silent_connection(port)
        answer = await reader.read()
        for _, each in [*held, (reader, writer)]:
            each.transport.abort()
        return answer

    port, answer = on_port(tmp_path, scene)
    assert answer == b""
    assert "control: too many connections" in [line["event"] for line in port.logs]


def test_calls_of_one_backend_are_bounded(tmp_path):
    async def scene(port):
        one, two = port.identity("ntp-1"), port.identity("ntp-2")
        poll = request("GET", "/v1/keyring?after=7")
        held = [asyncio.create_task(port.ask(poll, one)) for _ in range(controlcalls.CALLS_AT_ONCE)]
        await until(lambda: port.server._calls._under_way["ntp-1"] == controlcalls.CALLS_AT_ONCE)
        answers = await port.ask(KEYRING, one), await port.ask(KEYRING, two)
        for task in held:
            task.cancel()
        await asyncio.gather(*held, return_exceptions=True)
        await until(lambda: not port.server._calls._under_way["ntp-1"])
        return *answers, await port.ask(KEYRING, one)

    _, answers = on_port(tmp_path, scene)
    assert list(map(status, answers)) == [429, 200, 200]


def test_a_store_that_cannot_be_read_lets_nobody_in_and_cuts_nobody_off(tmp_path):
    async def scene(port):
        identity = port.identity()
        waiting = asyncio.create_task(port.ask(request("GET", "/v1/keyring?after=7"), identity))
        await until(lambda: port.desk.seen)
        (tmp_path / "state" / enrolment.ENTRY).chmod(0o644)
        port.server.recheck()
        answer = await port.ask(KEYRING, identity)
        still = not waiting.done()
        waiting.cancel()
        return answer, still

    port, (answer, still) = on_port(tmp_path, scene)
    assert status(answer) == 503
    assert answer.endswith(b'{"error": "not now"}')
    assert still
    assert any("open to others" in reason for reason in port.reasons())


def test_an_error_of_ours_is_logged_and_tells_the_peer_nothing(tmp_path, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError("inner words")

    monkeypatch.setattr(controlcalls, "agent_of", fail)
    port, answer = on_port(tmp_path, lambda port: port.ask(KEYRING, port.identity()))
    assert status(answer) == 503
    assert b"inner words" not in answer
    assert [line["event"] for line in port.logs] == ["control: an error of ours"]


def test_turns_go_round(tmp_path):
    async def scene(port):
        one, two = port.identity("ntp-1"), port.identity("ntp-2")
        turn, done = request("POST", "/v1/turn", b"{}"), request("POST", "/v1/turn/done", b"{}")
        steps = [(turn, one), (turn, two), (done, two), (turn, two), (done, one), (turn, two), (turn, one)]
        return [(await port.ask(call, who)).partition(b"\r\n\r\n")[2] for call, who in steps]

    _, answers = on_port(tmp_path, scene)
    yes, no = b'{"granted": true}', b'{"granted": false}'
    assert answers == [yes, no, b"", no, b"", yes, no]


def test_a_renewed_certificate_works_and_the_old_one_for_a_while(tmp_path):
    async def scene(port):
        old = port.identity()
        private, csr = authority.make_request()
        renewal = request("POST", "/v1/renew", json.dumps({"csr": csr.decode()}).encode())
        renewed = json.loads((await port.ask(renewal, old)).partition(b"\r\n\r\n")[2])["certificate"].encode()
        return [await port.ask(KEYRING, identity) for identity in (Secret(private.reveal() + renewed), old)]

    _, answers = on_port(tmp_path, scene)
    assert list(map(status, answers)) == [200, 200]


@pytest.mark.parametrize("ahead", [authority.CONTROL_LIFE / 2, -DAY / 2])
def test_the_control_port_renews_its_own_certificate(tmp_path, ahead):
    async def scene(port):
        before = port.server._context
        await port.ask(request("GET", "/v1/ca"))
        same = port.server._context is before
        port.ahead = ahead
        answer = await port.ask(request("GET", "/v1/ca"), trusting=True)
        return same, port.server._context is before, answer

    _, (same, still_same, answer) = on_port(tmp_path, scene)
    assert same
    assert not still_same
    assert status(answer) == 200


def test_a_process_short_of_descriptors_goes_on_when_it_has_some_again(tmp_path, monkeypatch):
    monkeypatch.setattr(control, "_EXHAUSTED_PAUSE", 0.01)

    async def scene(port):
        loop = asyncio.get_running_loop()
        accept, failures = loop.sock_accept, [OSError(24, "Too many open files")] * 3

        async def fail_first(listening):
            if failures:
                raise failures.pop()
            return await accept(listening)

        loop.sock_accept = fail_first
        # The accept that waits already is the real one.
        answers = [await port.ask(request("GET", "/v1/ca")) for _ in range(2)]
        del loop.sock_accept
        return answers, failures

    port, (answers, failures) = on_port(tmp_path, scene)
    assert list(map(status, answers)) == [200, 200]
    assert failures == []
    assert port.reasons() == ["Too many open files"] * 3


def test_a_look_at_who_was_revoked_needs_no_store_while_nobody_waits(tmp_path):
    async def scene(port):
        FileStore(tmp_path / "state").put_if(enrolment.ENTRY, b"torn", None)
        port.server.recheck()
        return port.logs

    assert on_port(tmp_path, scene)[1] == []


def test_stopping_ends_every_connection(tmp_path):
    async def scene():
        async with control_port(tmp_path) as port:
            waiting = asyncio.create_task(port.ask(request("GET", "/v1/keyring?after=7"), port.identity()))
            await until(lambda: port.desk.seen)
            address = port.server.addresses[0]
            before = time.monotonic()
        took = time.monotonic() - before
        with pytest.raises(OSError, match=r"refused|Connect"):
            await asyncio.open_connection(*address)
        return await waiting, took

    answer, took = asyncio.run(scene())
    assert not holds_keys(answer)
    assert took < 5


def test_a_port_in_use_is_told(tmp_path):
    async def scene():
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            server = ControlServer([("127.0.0.1", 0), taken.getsockname()], FileStore(tmp_path), KeyDesk())
            with pytest.raises(LocalError, match="cannot listen on 127"):
                await server.start()
            assert server.addresses == ()

    asyncio.run(scene())


def test_a_damaged_authority_is_told(tmp_path):
    FileStore(tmp_path).put_if(authority.ENTRY, b"torn", None)
    with pytest.raises(StateError):
        asyncio.run(ControlServer([("127.0.0.1", 0)], FileStore(tmp_path), KeyDesk()).start())


def test_it_listens_on_both_families(tmp_path):
    async def scene():
        server = ControlServer([("127.0.0.1", 0), ("::1", 0)], FileStore(tmp_path), KeyDesk())
        await server.start()
        trusted = authority.load_or_create(FileStore(tmp_path), time.time()).pem
        for host, port in server.addresses:
            _, writer = await asyncio.open_connection(
                host, port, ssl=client_context(None, trusted), server_hostname="ntspool-control"
            )
            writer.close()
            await writer.wait_closed()
        await server.stop()
        return [host for host, _ in server.addresses] or "none"

    assert asyncio.run(scene()) == "none"


def test_no_private_key_is_left_on_disk(tmp_path):
    ours = authority.load_or_create(FileStore(tmp_path), time.time())
    before = sorted(tmp_path.rglob("*"))
    server_context(ours.issue_control(time.time()), ours.pem)
    assert sorted(tmp_path.rglob("*")) == before
