"""Conversations and visits that were never held, for those who judge them."""

from dataclasses import replace

from ntspool.pool.exam.conversation import Conversation, Ending, Reached
from ntspool.pool.exam.volleys import Purpose, Reply, Target, Visit, Volley
from ntspool.pool.nts import Measurement
from ntspool.wire import records
from ntspool.wire.aead import Aead
from ntspool.wire.ntp import Header, Mode
from ntspool.wire.records import END_OF_MESSAGE, Record

COOKIES = tuple(bytes([number]) * 100 for number in range(8))
PROTOCOL = records.next_protocol([0])
AEAD = records.aead_algorithm([15])

GOOD = Conversation(
    "192.0.2.1",
    "pool.test",
    Reached.TLS,
    connect=0.01,
    handshake=0.02,
    version="TLSv1.3",
    cipher="TLS_AES_128_GCM_SHA256",
    group="X25519",
    alpn="ntske/1",
    answered=0.01,
    pieces=1,
    ending=Ending.CLOSE_NOTIFY,
    unprompted=True,
)
CLOSED = replace(GOOD, data=b"", answered=None, ending=Ending.CLOSED, pieces=0)
HANGING = replace(CLOSED, ending=Ending.OPEN, elapsed=5.0)
UNREACHED = Conversation("192.0.2.1", "pool.test", Reached.TCP, "closed", connect=0.01, ending=Ending.CLOSED)


def said(*message: Record, **changes) -> Conversation:
    """Return a conversation in which the server said this."""
    return replace(GOOD, data=b"".join(each.encode() for each in message), **changes)


def answered(*more: Record, cookies=COOKIES, aead=15, **changes) -> Conversation:
    """Return a conversation in which the server gave cookies, with `more` records before its end."""
    given = [records.new_cookie(each) for each in cookies]
    return said(PROTOCOL, records.aead_algorithm([aead]), *given, *more, END_OF_MESSAGE, **changes)


TARGET = Target("192.0.2.9", "192.0.2.9", 123)
HEADER = Header(Mode.SERVER, stratum=2, reference_id=bytes([192, 0, 2, 1]), root_delay=655, root_dispersion=655)


def reply(offset=0.0, cookies=(100,), delay=0.01, **changes) -> Reply:
    """Return a good reply."""
    header = changes.pop("header", HEADER)
    return replace(Reply(header, Measurement(offset, delay), 0.0, tuple(cookies), 228, 228), **changes)


def visit(*results, target=TARGET, purpose=Purpose.COOKIE) -> Visit:
    """Return a visit in which requests had these results; a pair names the purpose of one too."""
    pairs = [each if isinstance(each, tuple) else (purpose, each) for each in results]
    return Visit(target, tuple(Volley(why, Aead.AES_SIV_CMAC_256, result) for why, result in pairs))


def ids(findings) -> dict[str, str]:
    """Return the verdicts by id, those of deviations with a mark."""
    return {each.id: each.verdict.value + ("!" if each.deviation else "") for each in findings}
