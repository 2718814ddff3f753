"""A backend's NTS-KE server that does as it is told, and keeps what it was asked; in the test's own loop."""

import asyncio
import os
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from ntspool.errors import WireError
from ntspool.net.servertls import server_context
from ntspool.net.system import listen
from ntspool.net.tls import read_certificate
from ntspool.pool.backendke import BackendKe
from ntspool.wire import records
from ntspool.wire.exchange import MessageBuffer
from ntspool.wire.messages import encode_message
from ntspool.wire.poolexchange import BackendExchange
from ntspool.wire.poolprotocol import FixedKeyRequest, SupportQuery
from ntspool.wire.records import KEEP_ALIVE, Record, RecordType
from ntspool.wire.secret import Secret


class Link:
    """One connection: TLS, and below it TCP."""

    def __init__(self, context, reader, writer):
        self._tls = context()
        self._reader = reader
        self._writer = writer
        self._exchange = BackendExchange()

    async def question(self):
        """Return what the pool asks next; None once it has gone, whatever it said last."""
        with suppress(WireError, OSError):
            while data := await self._reader.read(65536):
                plaintext = self._tls.receive_data(data)
                await self._flush()
                while plaintext:
                    if (question := self._exchange.receive_data(plaintext)) is not None:
                        return question
                    plaintext = self._tls.receive_data(b"")
                if plaintext is None:
                    return None
        return None

    async def say(self, *data):
        """Say these bytes under TLS, in a record each and all in one flight."""
        for each in data:
            self._tls.send(each)
        await self._flush()

    async def say_raw(self, data):
        """Say these bytes without TLS."""
        self._writer.write(data)
        await self._writer.drain()

    async def end(self):
        """Say close_notify and close."""
        self._tls.send_last(b"")
        await self._flush()
        self._writer.close()

    def close(self):
        """Close without a word."""
        self._writer.close()

    def reset(self):
        """Have the connection reset."""
        self._writer.transport.abort()

    async def _flush(self):
        if data := self._tls.data_to_send():
            await self.say_raw(data)


async def honest(link, message):
    """Answer as one should."""
    await link.say(encode_message(message))


async def silent(_link, _message=None):
    """Say nothing, and keep the connection."""
    await asyncio.Event().wait()


async def welcome(_link):
    """Let a connection be."""


class ScriptedKe:
    """Answers at an address with the cookies of the time server `time`; use it with `async with`.

    What it does is looked up each time: `greet` on a connection, `on_list` and `on_keys` with the records of the
    honest answer. `asked` are all the Fixed Key Requests that came, and `connections` counts.
    """

    def __init__(self, address, authority, directory, time, port=0):
        self.token = Secret(os.urandom(32).hex().encode())
        self.greet, self.on_list, self.on_keys = welcome, honest, honest
        self.asked = []
        self.connections = 0
        self._authority = authority
        self._directory = directory
        self._time = time
        self._endpoint = address, port
        self._tasks = set()
        self.certify()

    @property
    def port(self):
        return self._socket.getsockname()[1]

    @property
    def token_file(self):
        path = self._directory / "token"
        path.touch(mode=0o600)
        path.write_bytes(self.token.reveal())
        return path

    def certify(self, names=("localhost",), addresses=None, now=None, authority=None):
        """Have another certificate from now on: by default a good one, for where it is."""
        addresses = [self._endpoint[0]] if addresses is None else addresses
        issuer = authority or self._authority
        pair = issuer.issue(list(names), addresses, self._directory, now or datetime.now(UTC))
        self._context = server_context([read_certificate(*pair)])

    def behave(self):
        """Do nothing but what one should."""
        self.greet, self.on_list, self.on_keys = welcome, honest, honest

    def hang_up(self):
        """Reset every connection that there is."""
        for each in tuple(self._tasks):
            each.cancel()

    async def __aenter__(self):
        self._socket = listen(*self._endpoint)
        self._server = await asyncio.start_server(self._serve, sock=self._socket)
        return self

    async def __aexit__(self, *_):
        self._server.close()
        self.hang_up()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader, writer):
        self.connections += 1
        task = asyncio.current_task()
        self._tasks.add(task)
        link = Link(self._context, reader, writer)
        try:
            await self._converse(link)
        except OSError:
            pass
        except asyncio.CancelledError:
            link.reset()
        finally:
            self._tasks.discard(task)
            link.close()

    async def _converse(self, link):
        await self.greet(link)
        while (question := await link.question()) is not None:
            answers = BackendKe(self._time.jar, (self.token,), self._time.addresses[0][1], os.urandom)
            message = MessageBuffer(4096).receive_data(answers.pool(question, keep_alive=question.keep_alive).encode())
            if isinstance(question, FixedKeyRequest):
                self.asked.append(question)
                await self.on_keys(link, message)
            elif isinstance(question, SupportQuery):
                await self.on_list(link, message)


# Deviations: what an answer to a Fixed Key Request may have wrong.


def changed(kind, *instead):
    """Put other records where those of a type are."""

    def change(message):
        at = next(index for index, each in enumerate(message) if each.type == kind)
        others = [each for each in message if each.type != kind]
        return [*others[:at], *instead, *others[at:]]

    return change


def cookies(change):
    """Have `change` make other cookies, records both."""

    def with_others(message):
        found = [each for each in message if each.type == RecordType.NEW_COOKIE]
        return [*(each for each in message if each.type != RecordType.NEW_COOKIE), *change(found)]

    return with_others


def more(*extra):
    return lambda message: [*message, *extra]


def of_length(length):
    return cookies(lambda found: [replace(each, body=bytes(length)) for each in found])


def server(name):
    return Record(RecordType.NTPV4_SERVER, name, critical=True)


DEVIATIONS = {
    "wrong protocol": changed(1, records.next_protocol([0x8001])),
    "two protocols": changed(1, records.next_protocol([0, 1])),
    "no common protocol": lambda _: [records.next_protocol([])],
    "wrong AEAD": changed(4, records.aead_algorithm([16])),
    "two AEADs": changed(4, records.aead_algorithm([15, 17])),
    "no common AEAD": lambda _: [records.next_protocol([0]), records.aead_algorithm([])],
    "no cookies": cookies(lambda _: []),
    "nine cookies": cookies(lambda found: [*found, found[0]]),
    "unequal cookies": cookies(lambda found: [*found[:-1], replace(found[-1], body=bytes(96))]),
    "oversized cookies": of_length(256),
    "odd cookies": of_length(101),
    "empty cookies": of_length(0),
    "a name that is none": more(server(b"-nonsense-")),
    "a name with a line break": more(server(b"ntp.example\nX")),
    "an unspecified address": more(server(b"0.0.0.0")),
    "an empty name": more(server(b"")),
    "two names": more(server(b"a.example"), server(b"b.example")),
    "port 0": changed(7, records.ntpv4_port(0, critical=True)),
    "a short port": changed(7, Record(7, b"\1", critical=True)),
    "an unknown critical record": more(Record(0x4321, b"", critical=True)),
    "a Fixed Key Request": more(records.fixed_key_request(bytes(32), bytes(32))),
    "Keep Alive twice": more(KEEP_ALIVE),
    "lists instead": lambda _: [records.supported_algorithms([(15, 32)]), records.supported_next_protocols([0])],
    "Error 0": lambda _: [records.error(0)],
    "Error 1": lambda _: [records.error(1)],
    "Error 2": lambda _: [records.error(2)],
    "a private Error": lambda _: [records.error(0x8ABC)],
    "an Error beside cookies": more(records.error(1)),
    "a Warning": more(Record(RecordType.WARNING, b"\0\1", critical=True)),
    "nothing but the end": lambda _: [],
}
"""Each makes of the records of an honest answer those of a bad one."""


def deviating(deviation):
    """Return what answers so."""

    async def answer(link, message):
        await link.say(encode_message(DEVIATIONS[deviation](message)))

    return answer


async def babble_behind(link, message):
    await link.say(encode_message(message) + b"\0")


async def answer_twice(link, message):
    await link.say(encode_message(message), encode_message(message))


async def end(link, _message):
    await link.end()


async def close(link, _message):
    link.close()


async def reset(link, _message):
    link.reset()


async def half_an_answer(link, message):
    await link.say(encode_message(message)[:300])
    link.close()


GARBAGE = b"\xff" * 4
"""What begins no record, neither of ours nor of TLS: one in twenty at random does, and we would wait for its end."""


async def garbage(link, _message):
    await link.say(GARBAGE + os.urandom(196))


async def garbage_below(link, _message):
    await link.say_raw(GARBAGE + os.urandom(196))


async def endless(link, _message):
    for _ in range(100):
        await link.say(Record(0x4000, bytes(60000), critical=False).encode())


BREAKDOWNS = {
    "bytes behind the end": babble_behind,
    "close_notify": end,
    "closed": close,
    "reset": reset,
    "half an answer": half_an_answer,
    "garbage in TLS": garbage,
    "garbage below TLS": garbage_below,
    "an endless answer": endless,
}
"""What else can become of a connection once the keys were sent; `answer_twice` and `silent` need more care."""
