"""Visits NTP servers with the cookies of a key exchange, as a client would, and as no client would."""

import os
import socket
import time
from collections.abc import Sequence
from dataclasses import replace

from ntspool.net.exam.conversing import NO_WAY
from ntspool.net.exam.course import Course
from ntspool.net.exam.finding import find_host
from ntspool.net.timequery import TimeAnswer, ask
from ntspool.pool.causes import Cause, Failure
from ntspool.pool.cookies import Association
from ntspool.pool.exam.conversation import Conversation, Kind
from ntspool.pool.exam.response import named_port, named_server
from ntspool.pool.exam.volleys import Purpose, Reply, Target, Visit, Volley
from ntspool.pool.nts import MAXIMUM_PLACEHOLDERS
from ntspool.wire.messages import COOKIES, DEFAULT_NTP_PORT
from ntspool.wire.secret import Secret

_PATIENCE = 2.0
"""Seconds for an answer; a refusal is believed only when nothing better came in that time."""

_ENOUGH = 3
"""Failures in a row after which a server is left alone."""

_LARGEST_COOKIE = 65528
"""Bytes that an extension field can hold (RFC 7822 section 7.5)."""


async def targets(course: Course, seen: Conversation) -> tuple[Target, ...]:
    """Return where the NTP server is that an answer names: one address of each family that we can and may use."""
    if seen.outcome.kind is not Kind.COOKIES:
        return ()
    name, port = named_server(seen.answer) or seen.address, named_port(seen.answer) or DEFAULT_NTP_PORT
    found = (await find_host(course.plan, name)).addresses
    by_family = {":" in address: address for address in reversed(found) if _has_way(address)}
    return tuple(Target(name, address, port) for address in by_family.values())


async def visit(course: Course, target: Target, keys: Association, cookies: Sequence[bytes]) -> Visit:
    """Spend every cookie that a client keeps, one that came back, and then what no client would send."""
    visitor = _Visitor(course, target, keys)
    first, *others = cookies[:COOKIES]
    await visitor.send(Purpose.COOKIE, first)
    for number, cookie in enumerate(others):
        await visitor.send(Purpose.COOKIE if number else Purpose.PLACEHOLDERS, cookie)
    if visitor.returned:
        await visitor.send(Purpose.RETURNED, visitor.returned[0])
    if course.plan.odd and visitor.returned:
        await visitor.send(Purpose.REUSED, first)
        await visitor.send(Purpose.DAMAGED, first[:-1] + bytes([each ^ 1 for each in first[-1:]]))
        await visitor.send(Purpose.FORGED, visitor.returned[-1])
    return Visit(target, tuple(visitor.volleys))


async def try_keys(
    course: Course, target: Target, keys: Sequence[Association], cookies: Sequence[bytes]
) -> tuple[Reply | Failure, ...]:
    """Spend a cookie under each of `keys` until one is answered."""
    results: list[Reply | Failure] = []
    for association, cookie in zip(keys, cookies, strict=False):
        visitor = _Visitor(course, target, association)
        await visitor.send(Purpose.COOKIE, cookie)
        results.append(visitor.volleys[-1].result)
        if isinstance(results[-1], Reply):
            break
    return tuple(results)


class _Visitor:
    """Sends requests to one server, and gives up on one that does not answer."""

    def __init__(self, course: Course, target: Target, keys: Association) -> None:
        self._course = course
        self._target = target
        self._keys = keys
        self._failed = 0
        self.volleys: list[Volley] = []
        self.returned: list[bytes] = []

    async def send(self, purpose: Purpose, cookie: bytes) -> None:
        """Send a request and keep what became of it."""
        if self._failed >= _ENOUGH:
            return
        if len(cookie) > _LARGEST_COOKIE:
            self._fail(purpose, Failure(Cause.MALFORMED, f"a cookie of {len(cookie)} bytes fits into no packet"))
            return
        await self._course.request_turn(str(self._target), f"asking {self._target} for the time")
        answer = await ask(
            self._target.address,
            self._target.port,
            replace(self._keys, c2s=Secret(os.urandom(len(self._keys.c2s))))
            if purpose is Purpose.FORGED
            else self._keys,
            cookie,
            timeout=min(self._course.plan.timeout, _PATIENCE),
            placeholders=MAXIMUM_PLACEHOLDERS if purpose is Purpose.PLACEHOLDERS else 0,
        )
        if isinstance(answer, Failure):
            self._fail(purpose, answer)
            return
        self._failed = 0
        self.returned.extend(answer.cookies)
        self.volleys.append(Volley(purpose, self._keys.aead, _reply(answer)))

    def _fail(self, purpose: Purpose, failure: Failure) -> None:
        self._failed += 1
        self.volleys.append(Volley(purpose, self._keys.aead, failure))


def _has_way(address: str) -> bool:
    """Tell whether this machine has a route to an address; nothing is sent."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as udp:
        try:
            udp.connect((address, DEFAULT_NTP_PORT))
        except OSError as error:
            return error.errno not in NO_WAY
    return True


def _reply(answer: TimeAnswer) -> Reply:
    cookies = tuple(map(len, answer.cookies))
    return Reply(answer.header, answer.measurement, time.time(), cookies, answer.request_length, answer.reply_length)
