"""Who may talk to the control port: one-time tokens, and the certificates that were issued for them.

Both live in the store's entry `agents`. A token is one word, `ntspool1-` and base64url of 16 random bytes and of the
SHA-256 of the authority's certificate: by the first the gateway knows the agent, by the second the agent the pool.
The store holds but the token's own SHA-256.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from typing import Final, TypeVar

from ntspool.errors import ConflictError, LocalError, RemoteError, StateError
from ntspool.net import authority
from ntspool.net.sealed import Seal
from ntspool.net.store import Store
from ntspool.wire.secret import Secret

ENTRY = "agents"

TOKEN_LIFE: Final = 3600.0
"""Seconds for which a token is good unless its maker says otherwise."""

TOKEN_RANDOM: Final = 16
"""Random bytes in a token."""

CERTIFICATES: Final = 4
"""Certificates of one backend that are good at the same time; a newer one puts the oldest out of use."""

_PREFIX = b"ntspool1-"
_HASH_LENGTH = 32
_FORMAT = 1
# Conflicts come from other processes that write the same entry; so many in a row do not.
_ATTEMPTS = 20
# An operator who enrols the wrong backend wants to read for some days what became of a token.
_REMEMBERED = 7 * 86400.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Token:
    """What is kept of a token; times are Unix seconds, `used` None until then."""

    backend: str
    expires: float
    used: float | None = None


@dataclass(frozen=True, slots=True)
class Roster:
    """Tokens by the SHA-256 of their text, and for every backend its certificates: serial number to their end."""

    tokens: Mapping[str, Token] = field(default_factory=dict)
    agents: Mapping[str, Mapping[int, float]] = field(default_factory=dict)

    def allows(self, backend: str, serial: int) -> bool:
        """Tell whether this certificate of a backend's agent was issued and not revoked since."""
        return serial in self.agents.get(backend, {})

    def with_token(self, text: Secret, token: Token) -> "Roster":
        """Return the roster with a new token."""
        return replace(self, tokens={**self.tokens, _digest(text): token})

    def redeem(self, text: Secret, serial: int, expires: float, now: float) -> tuple["Roster", str]:
        """Return the roster after a token was used for the certificate `serial`, and the backend that it is for.

        Raises RemoteError with the reason, which is for the log only, when the token is not good.
        """
        digest = _digest(text)
        token = self.tokens.get(digest)
        if token is None:
            raise RemoteError("the token is unknown")
        if token.used is not None:
            raise RemoteError(f"the token for {token.backend} was used before")
        if token.expires <= now:
            raise RemoteError(f"the token for {token.backend} has expired")
        used = replace(self, tokens={**self.tokens, digest: replace(token, used=now)})
        return used.with_certificate(token.backend, serial, expires), token.backend

    def with_certificate(self, backend: str, serial: int, expires: float) -> "Roster":
        """Return the roster with a new certificate of a backend, beside the newest of those that it had."""
        newest = list(self.agents.get(backend, {}).items())[-CERTIFICATES + 1 :]
        return replace(self, agents={**self.agents, backend: {**dict(newest), serial: expires}})

    def without(self, backend: str) -> "Roster":
        """Return the roster without the certificates and the tokens of a backend."""
        tokens = {digest: token for digest, token in self.tokens.items() if token.backend != backend}
        agents = {name: serials for name, serials in self.agents.items() if name != backend}
        return Roster(tokens, agents)

    def pruned(self, now: float) -> "Roster":
        """Return the roster without what has ended, tokens a week ago and certificates by Unix time `now`."""
        tokens = {digest: each for digest, each in self.tokens.items() if now < each.expires + _REMEMBERED}
        agents = {
            name: {serial: end for serial, end in each.items() if now < end} for name, each in self.agents.items()
        }
        return Roster(tokens, {name: each for name, each in agents.items() if each})


def create_token(
    store: Store, backend: str, now: float, life: float, random: Callable[[int], bytes], *, seal: Seal | None = None
) -> Secret:
    """Return a new token for a backend's agent, good once and for `life` seconds from Unix time `now`.

    `random` is os.urandom outside tests. The authority is made when there is none yet. Raises StateError.
    """
    pinned = authority.load_or_create(store, now, seal).fingerprint
    text = Secret(_PREFIX + base64.urlsafe_b64encode(random(TOKEN_RANDOM) + pinned))
    _change(store, now, lambda roster: (roster.with_token(text, Token(backend, now + life)), None))
    return text


def pinned_authority(token: Secret) -> bytes:
    """Return the SHA-256 of the authority's certificate that a token pins; raises LocalError when it is no token."""
    text = token.reveal()
    try:
        data = base64.b64decode(text.removeprefix(_PREFIX), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        data = b""
    if not text.startswith(_PREFIX) or len(data) != TOKEN_RANDOM + _HASH_LENGTH:
        raise LocalError("this is no token of `ntspool backend enroll`, or a part of one; copy all of it")
    return data[TOKEN_RANDOM:]


def redeem(store: Store, text: Secret, serial: int, now: float) -> str:
    """Use up a token for the certificate `serial`, about to be signed; return the backend that it is for.

    Raises RemoteError with the reason, which is for the log only, when the token is not good (any more).
    """
    return _change(store, now, lambda roster: roster.redeem(text, serial, now + authority.AGENT_LIFE, now))


def add_certificate(store: Store, backend: str, old: int, serial: int, now: float) -> None:
    """Allow a renewed certificate; raises RemoteError when the one it renews, `old`, was revoked meanwhile."""

    def renew(roster: Roster) -> tuple[Roster, None]:
        if not roster.allows(backend, old):
            raise RemoteError("the certificate was revoked")
        return roster.with_certificate(backend, serial, now + authority.AGENT_LIFE), None

    _change(store, now, renew)


def revoke(store: Store, backend: str, now: float) -> int:
    """Shut a backend's agent out: no certificate or token of it is good any more; return how many there were."""

    def shut_out(roster: Roster) -> tuple[Roster, int]:
        unused = sum(token.backend == backend and token.used is None for token in roster.tokens.values())
        return roster.without(backend), len(roster.agents.get(backend, {})) + unused

    return _change(store, now, shut_out)


def is_allowed(store: Store, backend: str, serial: int) -> bool:
    """Tell whether this certificate of a backend's agent was issued and not revoked since; raises StateError."""
    return read(store).allows(backend, serial)


def read(store: Store) -> Roster:
    """Return all tokens and certificates; raises StateError."""
    held = store.get(ENTRY)
    return Roster() if held is None else _decode(held[0])


def _change(store: Store, now: float, step: Callable[[Roster], tuple[Roster, T]]) -> T:
    for _ in range(_ATTEMPTS):
        held = store.get(ENTRY)
        before = Roster() if held is None else _decode(held[0])
        after, result = step(before.pruned(now))
        try:
            store.put_if(ENTRY, _encode(after), None if held is None else held[1])
        except ConflictError:
            continue
        return result
    raise ConflictError(f"the entry {ENTRY} of the state directory changes all the time; see who writes it")


def _digest(text: Secret) -> str:
    return hashlib.sha256(text.reveal()).hexdigest()


def _encode(roster: Roster) -> bytes:
    # Serial numbers have up to 159 bits: as strings, every reader of JSON keeps them whole.
    agents = {
        name: [{"serial": f"{serial:x}", "expires": end} for serial, end in serials.items()]
        for name, serials in roster.agents.items()
    }
    tokens = {digest: asdict(token) for digest, token in roster.tokens.items()}
    return json.dumps({"format": _FORMAT, "tokens": tokens, "agents": agents}, indent=1).encode() + b"\n"


# Every call of every agent looks at the roster, and that of thousands takes 10 ms to read.
@lru_cache(maxsize=1)
def _decode(data: bytes) -> Roster:
    try:
        kept = json.loads(data)
        if kept["format"] != _FORMAT:
            raise StateError(f"the list of agents has format {kept['format']}; this ntspool reads format {_FORMAT}")
        tokens = {digest: _token(each) for digest, each in kept["tokens"].items()}
        agents = {
            name: {int(each["serial"], 16): float(each["expires"]) for each in serials}
            for name, serials in kept["agents"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise StateError("the list of agents is damaged; restore it, or remove it and enrol all agents anew") from error
    return Roster(tokens, agents)


def _token(kept: Mapping[str, object]) -> Token:
    backend, expires, used = kept["backend"], kept["expires"], kept["used"]
    if not isinstance(backend, str) or not isinstance(expires, float | int) or not isinstance(used, float | int | None):
        raise TypeError("a token is not what it must be")
    return Token(backend, float(expires), None if used is None else float(used))
