"""ntspool/net/timeserver.py over real UDP on loopback."""

import asyncio
import os
import socket
import time
from contextlib import asynccontextmanager, closing

import pytest
import uvloop
from structlog.testing import capture_logs

from ntspool.errors import ConfigError, StateError
from ntspool.net import timeserver
from ntspool.net.timeserver import TimeServer, TimeServerCounters, load_cookie_jar
from ntspool.pool import nts
from ntspool.pool.cookies import Association, CookieFormat, CookieJar, ServerKey
from ntspool.pool.keyfiles import KeySet, render
from ntspool.pool.nts import Refusal, Refused, Response
from ntspool.wire import ntp
from ntspool.wire.aead import Aead
from ntspool.wire.ntp import Header, Mode
from ntspool.wire.secret import Secret

DEADLINE = 60
ASSOCIATION = Association(Aead.AES_SIV_CMAC_256, Secret(b"\1" * 32), Secret(b"\2" * 32))
KEYS = KeySet(tuple(ServerKey(number, Secret(bytes([number]) * 32)) for number in (1, 2, 3, 4)), 2)
OTHER_KEYS = KeySet(tuple(ServerKey(number, Secret(bytes([number]) * 32)) for number in (11, 12, 13, 14)), 2)
PLAIN = ntp.encode_header(Header(Mode.CLIENT, transmit_timestamp=77))

# The first 2048 bytes alone would be a good request.
TOO_LONG = PLAIN + ntp.encode_field(ntp.ExtensionField(0x7777, bytes(1996))) + bytes(28)


def jar_of(keys):
    return CookieJar(CookieFormat.NTSPOOL, keys.keys, keys.current)


def write(path, data, mode=0o600):
    """Replace a file as the agent does, all at once."""
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(data)
    temporary.chmod(mode)
    temporary.rename(path)


def key_data(keys):
    return render(CookieFormat.NTSPOOL, keys, 0)


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "keys"
    write(path, key_data(KEYS))
    return path


def sent(data, address):
    sock = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.connect(address)
    sock.send(data)
    return sock


def asked(data, address):
    """Send a datagram at once; the answer can be awaited."""
    sock = sent(data, address)

    async def answer():
        with closing(sock):
            async with asyncio.timeout(DEADLINE):
                return await asyncio.get_running_loop().sock_recv(sock, 4096)

    return answer()


def nts_request(keys=KEYS, placeholders=0):
    return nts.build_request(
        ASSOCIATION,
        jar_of(keys).mint(ASSOCIATION, os.urandom(16)),
        unique_id=os.urandom(32),
        nonce=os.urandom(16),
        placeholders=placeholders,
        transmit_timestamp=77,
    )


async def volley(address, keys=KEYS, placeholders=0):
    request = nts_request(keys, placeholders)
    return nts.read_response(request, await asked(request.data, address))


async def until(condition):
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def serving(key_file, *hosts, stratum=5):
    listen = [(host, 0) for host in hosts or ("127.0.0.1",)]
    async with TimeServer(listen, key_file, stratum, poll_interval=0.01) as server:
        yield server


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_all_kinds_of_requests_on_both_address_families(key_file, loop_factory):
    async def main():
        async with serving(key_file, "127.0.0.1", "::1") as server:
            assert [host for host, _ in server.addresses] == ["127.0.0.1", "::1"]
            for address in server.addresses:
                header = ntp.decode_packet(await asked(PLAIN, address)).header
                assert (header.mode, header.stratum, header.origin_timestamp) == (4, 5, 77)
                before = time.time()
                response = await volley(address, placeholders=7)
                assert isinstance(response, Response)
                assert [jar_of(KEYS).open(cookie) for cookie in response.cookies] == [ASSOCIATION] * 8
                measurement = nts.measure(response.header, before, time.time())
                assert abs(measurement.offset) <= time.time() - before
                assert await volley(address, OTHER_KEYS) == Refused(Refusal.NAK, "NTSN", authentic=False)
            sent(b"nonsense", server.addresses[0]).close()
            sent(TOO_LONG, server.addresses[0]).close()
            await until(lambda: server.counters.requests == 8)
            assert server.counters == TimeServerCounters(requests=8, nts=2, naks=2, dropped=2)
        assert server.addresses == []

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())


def test_the_receive_timestamp_is_the_kernels(key_file):
    async def main():
        async with serving(key_file) as server:
            before = time.time()
            answer = asked(PLAIN, server.addresses[0])
            queued = time.time()
            # Nothing has run in this event loop since: a stamp taken by it would be later than `queued`.
            header = ntp.decode_packet(await answer).header
            received = ntp.unix_seconds(header.receive_timestamp, before)
            assert before - 1e-5 <= received <= queued + 1e-5
            assert ntp.unix_seconds(header.transmit_timestamp, before) >= received

    asyncio.run(main())


@pytest.mark.parametrize(("wildcard", "asked_address"), [("0.0.0.0", "127.0.0.77"), ("::", "::1")])
def test_the_answer_comes_from_the_address_that_was_asked(key_file, wildcard, asked_address):
    async def main():
        async with serving(key_file, wildcard) as server:
            # A connected socket takes datagrams from that address only.
            assert isinstance(await volley((asked_address, server.addresses[0][1])), Response)

    asyncio.run(main())


def test_a_kernel_that_tells_nothing_about_a_datagram(monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 1234.5)
    unknown = [(socket.SOL_SOCKET, 1, b""), (socket.IPPROTO_IP, 1, b"")]
    assert timeserver._received_at(unknown) == 1234.5
    assert timeserver._source(unknown) == []


def test_both_wildcards_can_share_a_port(key_file):
    async def main():
        async with serving(key_file, "0.0.0.0") as server:
            port = server.addresses[0][1]
            async with TimeServer([("::", port)], key_file, 5) as second:
                assert second.addresses == [("::", port)]

    asyncio.run(main())


def test_changed_keys_are_loaded_and_bad_ones_are_not(key_file):
    async def main():
        async with serving(key_file) as server:
            (address,) = server.addresses
            with capture_logs() as logs:
                write(key_file, key_data(OTHER_KEYS))
                await until(lambda: logs)
                assert [entry["event"] for entry in logs] == ["new keys loaded"]
                assert isinstance(await volley(address, OTHER_KEYS), Response)
                assert await volley(address, KEYS) == Refused(Refusal.NAK, "NTSN", authentic=False)

                for number, (data, mode, words) in enumerate(
                    [
                        (b"nonsense", 0o600, "not a key file of ntspool"),
                        (key_data(KEYS), 0o604, "chmod o="),
                        (key_data(KEYS)[:-1], 0o600, "not a key file of ntspool"),
                    ],
                    2,
                ):
                    write(key_file, data, mode)
                    await until(lambda wanted=number: len(logs) == wanted)
                    assert logs[-1]["event"] == "new keys not loaded, the old ones stay"
                    assert words in logs[-1]["reason"]
                    assert isinstance(await volley(address, OTHER_KEYS), Response)
                key_file.unlink()
                await until(lambda: len(logs) == 5)
                assert "No such file" in logs[-1]["reason"]

                write(key_file, key_data(KEYS))
                await until(lambda: len(logs) == 6)
                assert isinstance(await volley(address, KEYS), Response)
            secrets = [key.secret.reveal().hex() for keys in (KEYS, OTHER_KEYS) for key in keys.keys]
            assert not any(secret in str(logs) for secret in secrets)

    asyncio.run(main())


def test_mending_the_permissions_alone_is_noticed(key_file):
    async def main():
        async with serving(key_file) as server:
            with capture_logs() as logs:
                write(key_file, key_data(OTHER_KEYS), 0o606)
                await until(lambda: len(logs) == 1)
                key_file.chmod(0o640)
                await until(lambda: len(logs) == 2)
            assert isinstance(await volley(server.addresses[0], OTHER_KEYS), Response)

    asyncio.run(main())


def test_reload_at_once(key_file):
    async def main():
        async with TimeServer([("127.0.0.1", 0)], key_file, 5, poll_interval=3600) as server:
            write(key_file, key_data(OTHER_KEYS))
            server.reload()
            assert isinstance(await volley(server.addresses[0], OTHER_KEYS), Response)

    asyncio.run(main())


def test_more_datagrams_than_fit_into_one_batch(key_file):
    async def main():
        async with serving(key_file) as server:
            answers = [asked(PLAIN, server.addresses[0]) for _ in range(150)]
            assert {len(data) for data in await asyncio.gather(*answers)} == {48}

    asyncio.run(main())


def test_an_answer_that_cannot_be_sent_is_a_drop(key_file, monkeypatch):
    class Unreachable(socket.socket):
        def sendmsg(self, *_):
            raise OSError(101, "Network is unreachable")

    async def main():
        async with serving(key_file) as server:
            sent(PLAIN, server.addresses[0]).close()
            await until(lambda: server.counters.dropped == 1)
            assert server.counters.requests == 1

    monkeypatch.setattr("ntspool.net.timeserver.socket.socket", Unreachable)
    asyncio.run(main())


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o601, 0o666])
def test_a_key_file_that_others_can_get_at_is_refused(key_file, mode):
    key_file.chmod(mode)
    with pytest.raises(StateError, match="open to every user; chmod o="):
        TimeServer([("127.0.0.1", 0)], key_file, 5)


def test_a_key_file_that_a_group_can_read_is_taken(key_file):
    key_file.chmod(0o640)
    assert load_cookie_jar(key_file).open(jar_of(KEYS).mint(ASSOCIATION, bytes(16))) == ASSOCIATION


def test_other_things_than_key_files_are_refused(key_file, tmp_path):
    with pytest.raises(StateError, match="No such file"):
        load_cookie_jar(tmp_path / "missing")
    with pytest.raises(StateError, match="not a regular file"):
        load_cookie_jar(tmp_path)
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(StateError, match="not a regular file"):
        load_cookie_jar(tmp_path / "pipe")
    write(key_file, b"x" * 100_000)
    with pytest.raises(StateError, match="too long"):
        load_cookie_jar(key_file)


@pytest.mark.parametrize("host", ["localhost", "192.0.2.1", "nonsense"])
def test_addresses_that_cannot_be_bound(key_file, host):
    async def main():
        server = TimeServer([("127.0.0.1", 0), (host, 0)], key_file, 5)
        with pytest.raises(ConfigError, match=f"cannot listen on {host} port 0"):
            await server.start()
        assert server.addresses == []

    asyncio.run(main())


def test_a_port_that_is_taken(key_file):
    async def main():
        async with serving(key_file) as server:
            with pytest.raises(ConfigError, match="in use"):
                await TimeServer(server.addresses, key_file, 5).start()

    asyncio.run(main())


def test_a_wrong_stratum(key_file):
    with pytest.raises(ValueError, match="stratum"):
        TimeServer([], key_file, 16)


def test_no_address_is_logged(key_file):
    async def main():
        async with serving(key_file, "127.0.0.1", "::1") as server:
            await volley(server.addresses[0])
            server.reload()

    with capture_logs() as logs:
        asyncio.run(main())
    assert [entry["event"] for entry in logs] == ["time server started", "new keys loaded", "time server stopped"]
    assert "127.0.0.1" not in str(logs)
    assert "::1" not in str(logs)
    assert (logs[-1]["requests"], logs[-1]["nts"], logs[-1]["naks"], logs[-1]["dropped"]) == (1, 1, 0, 0)
