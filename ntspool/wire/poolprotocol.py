"""The messages between a pool and a backend's own NTS-KE server (draft-ietf-ntp-nts-keyexchange-pool).

A pool asks what the backend supports, and for cookies that hold keys of the pool's choice: its client's. An answer
is read as a hostile peer's. Keys and tokens are left out of every repr.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ntspool.errors import WireError
from ntspool.wire import records
from ntspool.wire.aead import Aead
from ntspool.wire.messages import (
    COOKIES,
    MAX_RESPONSE,
    MAX_SERVER_NAME,
    Refusal,
    RefusalReason,
    Request,
    Response,
    decode_request,
    decode_response,
    encode_message,
    sort_records,
)
from ntspool.wire.records import END_OF_MESSAGE, KEEP_ALIVE, PROTOCOL_NTPV4, Record, RecordType
from ntspool.wire.secret import Secret
from ntspool.wire.servernames import check_server_name

_LISTS = (RecordType.SUPPORTED_NEXT_PROTOCOL_LIST, RecordType.SUPPORTED_ALGORITHM_LIST)
_ASIDE = (RecordType.AUTHENTICATION_TOKEN, RecordType.KEEP_ALIVE)

# What the gateway's response has besides cookies: protocol, AEAD, record 1024, the longest name, a port, the end.
_BESIDE_COOKIES = 6 + 6 + 4 + (4 + MAX_SERVER_NAME) + 6 + 4
_COOKIE_HEADER = 4


@dataclass(frozen=True, slots=True)
class SupportQuery:
    """A pool's question what a backend supports: its next protocols, its AEADs, or both.

    `token` is None for a peer that sent none, who gets no answer; `keep_alive` asks for another message's time.
    """

    token: Secret | None
    keep_alive: bool = True
    protocols: bool = True
    aeads: bool = True

    def encode(self) -> bytes:
        """Return the message."""
        message = _token(self.token)
        if self.aeads:
            message.append(records.supported_algorithms())
        if self.protocols:
            message.append(records.supported_next_protocols())
        return encode_message(message + _kept_alive(self.keep_alive))


@dataclass(frozen=True, slots=True)
class Support:
    """What a backend supports: next protocols, and AEADs with the lengths of their keys in bytes.

    A list that was not asked for is None. `keep_alive` says that another message may follow.
    """

    protocols: tuple[int, ...] | None
    aeads: tuple[tuple[int, int], ...] | None
    keep_alive: bool = False

    @property
    def usable_aeads(self) -> frozenset[Aead]:
        """The AEADs that we know as the backend does, with keys of our length; none for a server that lacks NTPv4."""
        if PROTOCOL_NTPV4 not in (self.protocols or ()):
            return frozenset()
        offered = self.aeads or ()
        return frozenset(aead for aead in Aead if (aead.value, aead.key_length) in offered)

    def encode(self) -> bytes:
        """Return the message."""
        message = []
        if self.aeads is not None:
            message.append(records.supported_algorithms(self.aeads))
        if self.protocols is not None:
            message.append(records.supported_next_protocols(self.protocols))
        return encode_message(message + _kept_alive(self.keep_alive))


@dataclass(frozen=True, slots=True)
class FixedKeyRequest:
    """A pool's request for cookies that hold these keys, both of the length that `aead` has.

    `token` and `keep_alive` as in SupportQuery. `protocol` and `aead` may be numbers that we do not know.
    """

    token: Secret | None
    aead: int
    c2s: Secret
    s2c: Secret
    keep_alive: bool = True
    protocol: int = PROTOCOL_NTPV4

    def encode(self) -> bytes:
        """Return the message."""
        asked = [
            records.fixed_key_request(self.c2s.reveal(), self.s2c.reveal()),
            records.next_protocol([self.protocol]),
            records.aead_algorithm([self.aead]),
        ]
        return encode_message(_token(self.token) + asked + _kept_alive(self.keep_alive))


@dataclass(frozen=True, slots=True)
class FixedKeyAnswer:
    """A backend's consent. `response` is nothing but what a client may see of it, with one to eight cookies.

    Its `server` and `port` are None when the backend named none: the pool then adds them. `keep_alive` says that
    another message may follow.
    """

    response: Response
    keep_alive: bool = False

    def encode(self) -> bytes:
        """Return the message; raises ValueError as Response does."""
        end = END_OF_MESSAGE.encode()
        return self.response.encode().removesuffix(end) + encode_message(_kept_alive(self.keep_alive))


def decode_query(message: Sequence[Record]) -> SupportQuery | FixedKeyRequest | Request:
    """Return what a peer asks of a backend: a pool one of two things, an ordinary client its cookies.

    Whether the token is right is not looked at. Raises WireError with the code to answer.
    """
    kinds = [record.type for record in message]
    if RecordType.FIXED_KEY_REQUEST in kinds:
        return _fixed_key_request(message)
    if any(kind in kinds for kind in _LISTS):
        # Anything negotiated beside a list is not answered, says the draft.
        found = sort_records(message, (*_LISTS, *_ASIDE, RecordType.NEXT_PROTOCOL, RecordType.AEAD_ALGORITHM))
        asked = [number in found for number in _LISTS]
        return SupportQuery(_token_before(message, found, _LISTS), RecordType.KEEP_ALIVE in found, *asked)
    return decode_request(message)


def decode_support(message: Sequence[Record], query: SupportQuery) -> Support | Refusal:
    """Return a backend's answer to `query`, from the records before its End of Message.

    Raises WireError for an answer that lacks, repeats or adds a critical record, and for a list that is none.
    """
    if refusal := _refusal(message):
        return refusal
    found = sort_records(message, (*_LISTS, RecordType.KEEP_ALIVE))
    protocols, aeads = (found.get(number) for number in _LISTS)
    if (protocols is not None, aeads is not None) != (query.protocols, query.aeads):
        raise WireError("the server did not list exactly what it was asked for")
    return Support(
        protocols=protocols.numbers() if protocols else None,
        aeads=aeads.pairs() if aeads else None,
        keep_alive=RecordType.KEEP_ALIVE in found,
    )


def decode_fixed_key_answer(message: Sequence[Record], request: FixedKeyRequest) -> FixedKeyAnswer | Refusal:
    """Return a backend's answer to `request`, from the records before its End of Message.

    Raises WireError unless protocol and AEAD are those of `request`, the cookies one to eight of one length that is
    a multiple of four and lets the pool's response fit NTPsec's 2048 bytes, and the server's name and port usable.
    """
    if refusal := _refusal(message):
        return refusal
    kept = [record for record in message if record.type == RecordType.KEEP_ALIVE]
    if len(kept) > 1:
        raise WireError(f"record {RecordType.KEEP_ALIVE} comes twice")
    others = [record for record in message if record.type != RecordType.KEEP_ALIVE]
    response = decode_response(others, Request((request.protocol,), (request.aead,)))
    if isinstance(response, Refusal):
        return response
    _check_cookies(response.cookies)
    if response.server is not None:
        check_server_name(response.server)
    if response.port == 0:
        raise WireError("the server's port is 0")
    # Record 1024 is between a client and the pool: with keys in the request nobody exports any.
    return FixedKeyAnswer(replace(response, compliant_128gcm=False), keep_alive=bool(kept))


def _fixed_key_request(message: Sequence[Record]) -> FixedKeyRequest:
    asked = (RecordType.FIXED_KEY_REQUEST, RecordType.NEXT_PROTOCOL, RecordType.AEAD_ALGORITHM)
    found = sort_records(message, (*asked, *_ASIDE))
    if not all(number in found for number in asked):
        raise WireError("a Fixed Key Request without exactly one next protocol and one AEAD")
    keys, protocol, aead = found[asked[0]].body, found[asked[1]].number(), found[asked[2]].number()
    half = len(keys) // 2
    if not keys or len(keys) % 2 or half != _KEY_LENGTHS.get(aead, half):
        raise WireError(f"a Fixed Key Request has {len(keys)} bytes of keys for AEAD {aead}")
    token = _token_before(message, found, asked)
    return FixedKeyRequest(
        token, aead, Secret(keys[:half]), Secret(keys[half:]), RecordType.KEEP_ALIVE in found, protocol
    )


_KEY_LENGTHS = {aead.value: aead.key_length for aead in Aead}


def _token_before(
    message: Sequence[Record], found: dict[int, Record], authorised: Sequence[RecordType]
) -> Secret | None:
    token = found.get(RecordType.AUTHENTICATION_TOKEN)
    if token is None:
        return None
    first = next(index for index, record in enumerate(message) if record.type in authorised)
    if message.index(token) > first:
        raise WireError("the Authentication Token comes after what it should authorise")
    return Secret(token.text().encode())


def _refusal(message: Sequence[Record]) -> Refusal | None:
    for record in message:
        if record.type == RecordType.ERROR:
            return Refusal(RefusalReason.ERROR, record.number())
        if record.type == RecordType.WARNING:
            raise WireError("the server sent a warning")
    return None


def _check_cookies(cookies: Sequence[bytes]) -> None:
    if len(cookies) > COOKIES:
        raise WireError(f"the server sent {len(cookies)} cookies")
    length = len(cookies[0])
    if any(len(cookie) != length for cookie in cookies):
        raise WireError("the server sent cookies of several lengths")
    # Clients put them into NTP extension fields unpadded (RFC 8915 section 5.4, RFC 7822 section 3).
    if length % 4:
        raise WireError(f"the server sent cookies of {length} bytes, which is not a multiple of four")
    if _BESIDE_COOKIES + len(cookies) * (_COOKIE_HEADER + length) > MAX_RESPONSE:
        raise WireError(f"the server sent {len(cookies)} cookies of {length} bytes, too much for a response")


def _token(token: Secret | None) -> list[Record]:
    return [] if token is None else [records.authentication_token(token.reveal().decode())]


def _kept_alive(keep_alive: bool) -> list[Record]:
    return [KEEP_ALIVE] if keep_alive else []
