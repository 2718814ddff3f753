"""One NTS-KE connection as it was seen from outside, and what the server's answer in it is."""

from dataclasses import dataclass, field
from enum import Enum, IntEnum, StrEnum

from ntspool.pool.cookies import Association
from ntspool.wire.records import CRITICAL_BIT, Record, RecordType


class Reached(IntEnum):
    """How far a connection came."""

    NOTHING = 0
    TCP = 1
    TLS = 2


class Ending(StrEnum):
    """How the server ended a connection."""

    CLOSE_NOTIFY = "close_notify"
    CLOSED = "closed without close_notify"
    RESET = "reset"
    ALERT = "TLS alert"
    OPEN = "still open"


@dataclass(frozen=True, slots=True)
class Conversation:
    """What was seen on one connection to `address`, where the server was called `name`.

    `failure` says why it came no further than `reached`, or what ended it. `trouble` is what is wrong with the
    certificates in `chain` (DER, leaf first) according to the authorities. `early` counts bytes that the server sent
    before any request, `data` is all of its application data, in `pieces` TLS records. `unprompted` tells that it ended
    the connection before we did. `keys` are what both ends export for the AEAD that it chose: as RFC 8915 says, then
    as chrony before 4.6.1 does, if that is something else. Durations are seconds: `answered` from our request to the
    whole answer, `elapsed` from there, or from the request, to the end.
    """

    address: str
    name: str
    reached: Reached = Reached.NOTHING
    failure: str = ""
    unroutable: bool = False
    connect: float | None = None
    handshake: float | None = None
    version: str = ""
    cipher: str = ""
    group: str | None = None
    alpn: str = ""
    chain: tuple[bytes, ...] = field(default=(), repr=False)
    trouble: tuple[str, ...] = ()
    early: int = 0
    data: bytes = field(default=b"", repr=False)
    pieces: int = 0
    answered: float | None = None
    elapsed: float = 0.0
    ending: Ending = Ending.OPEN
    unprompted: bool = False
    keys: tuple[Association, ...] = ()

    @property
    def answer(self) -> "Answer":
        """The records of the server's answer."""
        return read_answer(self.data)

    @property
    def outcome(self) -> "Outcome":
        """What the answer comes to."""
        return _outcome(self)


@dataclass(frozen=True, slots=True)
class Answer:
    """Records as they stand, End of Message included if it is there; `rest` is what comes after it, or is no record."""

    records: tuple[Record, ...]
    rest: bytes = b""

    @property
    def complete(self) -> bool:
        """Whether there is an End of Message."""
        return bool(self.records) and self.records[-1].type == RecordType.END_OF_MESSAGE

    def all(self, kind: RecordType) -> tuple[Record, ...]:
        """Return all records of one type."""
        return tuple(each for each in self.records if each.type == kind)

    def numbers(self, kind: RecordType) -> tuple[int, ...] | None:
        """Return what the first record of a type lists; None if there is none, or its length is odd."""
        found = self.all(kind)
        if not found or len(found[0].body) % 2:
            return None
        return found[0].numbers() if found[0].body else ()

    @property
    def cookies(self) -> tuple[bytes, ...]:
        """The cookies, in the server's order."""
        return tuple(each.body for each in self.all(RecordType.NEW_COOKIE))


class Kind(Enum):
    """What a server did about a request."""

    COOKIES = "gives cookies"
    ERROR = "answers with an Error record"
    NO_PROTOCOL = "finds no common next protocol"
    NO_AEAD = "finds no common AEAD algorithm"
    MALFORMED = "answers with something that is no NTS-KE message"
    CLOSED = "closes the connection without an answer"
    HANGS = "neither answers nor closes the connection"
    UNREACHED = "does not come to a session"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A kind, and the code of an error; `str` of it completes a sentence that begins with the server."""

    kind: Kind
    code: int | None = None

    def __str__(self) -> str:
        return self.kind.value if self.code is None else f"answers with NTS-KE error {self.code}"


def read_answer(data: bytes | bytearray) -> Answer:
    """Return the records in a server's bytes, however wrong they are."""
    found, at = [], 0
    while len(data) - at >= 4:
        head, length = int.from_bytes(data[at : at + 2], "big"), int.from_bytes(data[at + 2 : at + 4], "big")
        if len(data) - at - 4 < length:
            break
        body = bytes(data[at + 4 : at + 4 + length])
        at += 4 + length
        found.append(Record(head & ~CRITICAL_BIT, body, critical=head >= CRITICAL_BIT))
        if found[-1].type == RecordType.END_OF_MESSAGE:
            break
    return Answer(tuple(found), bytes(data[at:]))


def _outcome(seen: Conversation) -> Outcome:
    if seen.reached < Reached.TLS:
        return Outcome(Kind.UNREACHED)
    if not seen.data:
        return Outcome(Kind.HANGS if seen.ending is Ending.OPEN else Kind.CLOSED)
    return _read(seen.answer)


def _read(answer: Answer) -> Outcome:
    if not answer.complete:
        return Outcome(Kind.MALFORMED)
    errors = answer.numbers(RecordType.ERROR)
    if errors is not None:
        return Outcome(Kind.ERROR, errors[0]) if len(errors) == 1 else Outcome(Kind.MALFORMED)
    if answer.cookies:
        return Outcome(Kind.COOKIES)
    protocols, aeads = answer.numbers(RecordType.NEXT_PROTOCOL), answer.numbers(RecordType.AEAD_ALGORITHM)
    if protocols == ():
        return Outcome(Kind.NO_PROTOCOL)
    return Outcome(Kind.NO_AEAD if protocols and aeads == () else Kind.MALFORMED)
