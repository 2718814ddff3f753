"""The NTS-protected NTP client: authenticated answers, and every way of not getting one."""

import asyncio
import errno
import os
import socket
import time
from dataclasses import replace

import pytest

from ntspool.errors import RemoteError
from ntspool.net.timequery import ask, query_time
from ntspool.pool.cookies import Association, CookieFormat, CookieJar, ServerKey
from ntspool.pool.responder import Responder
from ntspool.wire.aead import Aead
from ntspool.wire.ntp import decode_packet, encode_packet
from ntspool.wire.secret import Secret
from tests.interop.lab import free_port
from tests.net.scripted import scripted

KEY = ServerKey(3, Secret(bytes(range(32))))
JAR = CookieJar(CookieFormat.NTSPOOL, [KEY], 0)
RESPONDER = Responder(JAR, 2, time.time, os.urandom)


def _association(aead=Aead.AES_SIV_CMAC_256):
    return Association(aead, Secret(os.urandom(aead.key_length)), Secret(os.urandom(aead.key_length)))


def _honest(request):
    return [RESPONDER.respond(request, time.time()).data]


def _ask(port, host="127.0.0.1", association=None, cookie=None, timeout=2.0, placeholders=0):
    association = association or _association()
    cookie = cookie or JAR.mint(association, os.urandom(16))
    return asyncio.run(query_time(host, port, association, cookie, timeout=timeout, placeholders=placeholders))


@pytest.mark.parametrize("aead", list(Aead))
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_an_honest_server_is_believed(host, aead):
    with scripted(_honest, host) as port:
        answer = _ask(port, host, _association(aead), placeholders=3)
    assert answer.header.stratum == 2
    assert abs(answer.measurement.offset) < 1
    assert 0 <= answer.measurement.delay < 2
    assert len(answer.cookies) == 4
    assert repr(answer).count("cookies") == 0


def test_an_unknown_cookie_is_told_as_nak():
    with scripted(_honest) as port, pytest.raises(RemoteError, match=r"^NTS NAK$"):
        _ask(port, cookie=bytes(104), timeout=0.3)


def test_silence_is_told():
    with scripted(lambda _: []) as port, pytest.raises(RemoteError, match=r"^no answer$"):
        _ask(port, timeout=0.2)


def test_an_icmp_refusal_is_told_at_once():
    began = time.monotonic()
    with pytest.raises(RemoteError, match="refused"):
        _ask(free_port("127.0.0.1"), timeout=10)
    assert time.monotonic() - began < 5


def test_a_bad_authenticator_is_told():
    def tamper(request):
        [good] = _honest(request)
        return [good[:-1] + bytes([good[-1] ^ 1])]

    with scripted(tamper) as port, pytest.raises(RemoteError, match="bad authenticator"):
        _ask(port, timeout=0.3)


def test_a_kiss_of_death_is_told_with_its_code():
    def kiss(request):
        packet = decode_packet(request)
        header = replace(packet.header, mode=4, stratum=0, reference_id=b"DENY")
        header = replace(header, origin_timestamp=packet.header.transmit_timestamp)
        return [encode_packet(replace(packet, header=header, extensions=packet.extensions[:1]))]

    with scripted(kiss) as port, pytest.raises(RemoteError, match=r"kiss-o'-death \(DENY\)"):
        _ask(port, timeout=0.3)


def test_forgeries_do_not_hide_the_answer_that_comes_after_them():
    def forge(request):
        nak = RESPONDER.respond(request[:100] + bytes([request[100] ^ 1]) + request[101:], time.time()).data
        return [b"", b"garbage", request, nak, *_honest(request)]

    with scripted(forge) as port:
        assert _ask(port).header.stratum == 2


def test_a_busy_process_does_not_make_a_bad_server():
    """The answer that came in time is found after the deadline."""

    async def busy(port):
        association = _association()
        cookie = JAR.mint(association, os.urandom(16))
        task = asyncio.create_task(query_time("127.0.0.1", port, association, cookie, timeout=0.2))
        await asyncio.sleep(0)
        time.sleep(0.6)  # noqa: ASYNC251
        return await task

    with scripted(_honest) as port:
        assert asyncio.run(busy(port)).header.stratum == 2


def _ask_without_socket(monkeypatch, error):
    def fail(*_):
        raise error

    async def run():
        with monkeypatch.context() as patch:
            patch.setattr(socket, "socket", fail)
            return await ask("::1", 123, _association(), bytes(104), timeout=1)

    return asyncio.run(run())


def test_what_lies_on_our_own_side_is_told_apart(monkeypatch):
    with pytest.raises(OSError, match="Too many open files"):
        _ask_without_socket(monkeypatch, OSError(errno.EMFILE, "Too many open files"))


def test_a_family_that_this_machine_has_not_is_unreachable(monkeypatch):
    failure = _ask_without_socket(monkeypatch, OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol"))
    assert str(failure) == "unreachable (Address family not supported by protocol)"


def test_malformed_answers_are_told():
    with scripted(lambda _: [b"garbage"]) as port, pytest.raises(RemoteError, match="malformed answer"):
        _ask(port, timeout=0.3)
