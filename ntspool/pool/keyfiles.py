"""Server key files: render and parse, one function pair per daemon format.

What is rendered here, stock daemons load. What is parsed is ours or a local daemon's, and untrusted all the same:
parsing raises WireError only, and takes no more than the daemon itself would. No message ever quotes a secret.
"""

import re
from binascii import unhexlify
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile
from typing import Final

from ntspool.errors import WireError
from ntspool.pool.cookies import SERVER_AEAD, CookieFormat, ServerKey
from ntspool.wire.aead import Aead
from ntspool.wire.reader import Reader
from ntspool.wire.secret import Secret

MAX_FILE_LENGTH: Final = 65536
"""A longer file is no key file of any daemon; `parse` refuses it unread."""

_ID_SPACE = 1 << 32
_CHRONY_KEYS = 4
_NTPSEC_KEYS = 10


@dataclass(frozen=True, slots=True)
class KeySet:
    """The keys of one server, oldest first; `current` is the index of the one that mints.

    Ours hold previous-2, previous-1, current and next, six of them two more future ones (pool/keyring.py). Raises
    ValueError when `current` is no index or two keys share an id.
    """

    keys: tuple[ServerKey, ...]
    current: int

    def __post_init__(self) -> None:
        if not 0 <= self.current < len(self.keys):
            raise ValueError(f"there is no key {self.current} among {len(self.keys)}")
        if len({key.id for key in self.keys}) < len(self.keys):
            raise ValueError("two keys share an id")


def render(cookie_format: CookieFormat, keys: KeySet, now: int) -> bytes:
    """Return the key file that a daemon of this format loads `keys` from; for chrony the form that all versions read.

    `now` is Unix time in seconds; ntpd-rs wants it. Raises ValueError for what the daemon could not load as it is
    meant: secrets of the wrong length, for chrony anything but four keys of which the third mints and ids that are not
    consecutive modulo four, for ntpd-rs ids that are not consecutive (mod 2^32), for ntpsec more than ten keys.
    """
    _check_renderable(cookie_format, keys)
    return _PAIRS[cookie_format][0](keys, now)


def render_chrony_nks1(keys: KeySet) -> bytes:
    """Return chrony's key file in the form that only chrony >= 4.4 reads and writes itself; otherwise as `render`."""
    _check_renderable(CookieFormat.CHRONY, keys)
    alg = SERVER_AEAD[CookieFormat.CHRONY].value
    return _lines("NKS1", "0.0", *(f"{key.id:08X} {key.secret.reveal().hex().upper()} {alg}" for key in keys.keys))


def parse(cookie_format: CookieFormat, data: bytes) -> KeySet:
    """Return the keys that a daemon of this format would load from `data`; raises WireError when it would not.

    The secrets have the length that the file gives them: chrony's of AEAD 30 and NTPsec's of 48 or 64 bytes are no
    keys for CookieKey.
    """
    if len(data) > MAX_FILE_LENGTH:
        raise WireError(f"a key file of {len(data)} bytes is too long")
    return _PAIRS[cookie_format][1](data)


def _check_renderable(cookie_format: CookieFormat, keys: KeySet) -> None:
    length = SERVER_AEAD[cookie_format].key_length
    if any(len(key.secret) != length for key in keys.keys):
        raise ValueError(f"{cookie_format} takes keys of {length} bytes")
    gaps = {(newer.id - older.id) % _ID_SPACE for older, newer in pairwise(keys.keys)}
    if cookie_format is CookieFormat.NTPD_RS and gaps - {1}:
        raise ValueError("the ids of ntpd-rs's keys are consecutive")
    if cookie_format is CookieFormat.CHRONY and any(gap % _CHRONY_KEYS != 1 for gap in gaps):
        raise ValueError("the ids of chrony's keys are consecutive modulo four")
    if cookie_format is CookieFormat.CHRONY and (len(keys.keys), keys.current) != (_CHRONY_KEYS, 2):
        raise ValueError("chrony takes four keys and mints under the third")
    if cookie_format is CookieFormat.NTPSEC and len(keys.keys) > _NTPSEC_KEYS:
        raise ValueError("ntpsec takes ten keys")


def _lines(*lines: str) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode("ascii")


def _match(pattern: re.Pattern[bytes], line: bytes, number: int) -> re.Match[bytes]:
    match = pattern.fullmatch(line)
    if match is None:
        raise WireError(f"line {number} of the key file is not what it must be")
    return match


def _key_set(keys: Iterable[ServerKey], current: int) -> KeySet:
    try:
        return KeySet(tuple(keys), current)
    except ValueError as error:
        raise WireError(f"the key file makes no sense: {error}") from error


def _render_chrony(keys: KeySet, _now: int) -> bytes:
    alg = SERVER_AEAD[CookieFormat.CHRONY].value
    return _lines("NKS0", f"{alg} 0.0", *(f"{key.id:08X} {key.secret.reveal().hex().upper()}" for key in keys.keys))


_CHRONY_ID = re.compile(rb"(?:0[xX])?([0-9a-fA-F]{1,8})")
_CHRONY_SECRET = re.compile(rb"(?:[0-9a-fA-F]{2})+")
_CHRONY_ALG = re.compile(rb"[0-9]{1,5}")
_CHRONY_AGE = re.compile(rb"-?[0-9]+(?:\.[0-9]*)?")


def _parse_chrony(data: bytes) -> KeySet:
    """Read NKS0 and NKS1 alike; what follows the fourth key is chronyd's business no more than ours."""
    magic, *lines = data.split(b"\n")[: 2 + _CHRONY_KEYS]
    if magic not in (b"NKS0", b"NKS1") or len(lines) != 1 + _CHRONY_KEYS:
        raise WireError("chrony's key file starts with NKS0 or NKS1 and holds four keys")
    rows = [line.split() for line in lines]
    if magic == b"NKS0":
        # NKS0 names the AEAD of all keys on the line of the age, NKS1 the AEAD of each at the end of its line.
        alg = rows[0][:1]
        rows = [rows[0][1:], *(row + alg for row in rows[1:])]
    _match_row(rows[0], 2, _CHRONY_AGE)
    keys = [_chrony_key(row, number) for number, row in enumerate(rows[1:], 3)]
    # chronyd keeps a key in the slot of its id modulo four, and only that much of the id must be consecutive.
    if any((newer.id - older.id) % _CHRONY_KEYS != 1 for older, newer in pairwise(keys)):
        raise WireError("the ids in chrony's key file are not consecutive modulo four")
    return _key_set(keys, 2)


def _chrony_key(row: Sequence[bytes], number: int) -> ServerKey:
    identifier, secret, alg = _match_row(row, number, _CHRONY_ID, _CHRONY_SECRET, _CHRONY_ALG)
    aead = int(alg[0])
    if aead not in (Aead.AES_SIV_CMAC_256, Aead.AES_128_GCM_SIV):
        raise WireError(f"line {number}: chrony knows no cookie key of AEAD {aead}")
    if len(secret[0]) != 2 * Aead(aead).key_length:
        raise WireError(f"line {number}: the key has the wrong length")
    return ServerKey(int(identifier[1], 16), Secret(unhexlify(secret[0])))


def _match_row(row: Sequence[bytes], number: int, *patterns: re.Pattern[bytes]) -> list[re.Match[bytes]]:
    if len(row) != len(patterns):
        raise WireError(f"line {number} of the key file has not {len(patterns)} words")
    return [_match(pattern, word, number) for pattern, word in zip(patterns, row, strict=True)]


def _render_ntpsec(keys: KeySet, _now: int) -> bytes:
    """Put the current first, since ntpd mints under the first; then the next; then the others, newest first.

    T: 0 keeps ntpd from rotating the keys itself.
    """
    older, newer = keys.keys[: keys.current], keys.keys[keys.current :]
    length = SERVER_AEAD[CookieFormat.NTPSEC].key_length
    return _lines(
        "T: 0", f"L: {length}", *(f"I: {key.id}\nK: {key.secret.reveal().hex()}" for key in (*newer, *reversed(older)))
    )


_NTPSEC_TIME = re.compile(rb"T: [0-9]{1,20}")
_NTPSEC_LENGTH = re.compile(rb"L: (32|48|64)")
_NTPSEC_ID = re.compile(rb"I: ([0-9]{1,10})")
_NTPSEC_KEY = re.compile(rb"K: ([0-9a-fA-F]+)")


def _parse_ntpsec(data: bytes) -> KeySet:
    """Read up to ten pairs, as ntpd does; the file's order tells the roles, as ntpd mints under the first.

    Ids that go up from the first's are the next ones (ours do, ntpd's own are random); what stands after them is older
    the further down it stands.
    """
    lines = data.removesuffix(b"\n").split(b"\n")[: 2 + 2 * _NTPSEC_KEYS]
    if len(lines) < 4 or len(lines) % 2:
        raise WireError("ntpsec's key file is cut short")
    _match(_NTPSEC_TIME, lines[0], 1)
    length = int(_match(_NTPSEC_LENGTH, lines[1], 2)[1])
    keys = [_ntpsec_key(lines, number, length) for number in range(2, len(lines), 2)]
    rises = ((later.id - earlier.id) % _ID_SPACE < _ID_SPACE // 2 for earlier, later in pairwise(keys))
    newer = 1 + sum(1 for _ in takewhile(bool, rises))
    older = keys[: newer - 1 : -1]
    return _key_set((*older, *keys[:newer]), len(older))


def _ntpsec_key(lines: Sequence[bytes], number: int, length: int) -> ServerKey:
    identifier = int(_match(_NTPSEC_ID, lines[number], number + 1)[1])
    digits = _match(_NTPSEC_KEY, lines[number + 1], number + 2)[1]
    if identifier >= _ID_SPACE or len(digits) != 2 * length:
        raise WireError(f"line {number + 1}: the key's id or length is out of range")
    return ServerKey(identifier, Secret(unhexlify(digits)))


def _render_ntpd_rs(keys: KeySet, now: int) -> bytes:
    if not 0 <= now < 1 << 64:
        raise ValueError(f"{now} is no Unix time")
    numbers = (keys.keys[0].id, keys.current, len(keys.keys))
    header = now.to_bytes(8, "big") + b"".join(number.to_bytes(4, "big") for number in numbers)
    return header + b"".join(key.secret.reveal() for key in keys.keys)


def _parse_ntpd_rs(data: bytes) -> KeySet:
    reader = Reader(data)
    reader.u64()
    offset, primary, count = reader.u32(), reader.u32(), reader.u32()
    length = SERVER_AEAD[CookieFormat.NTPD_RS].key_length
    # Before anything is made of `count`, the file must be as long as it says.
    if reader.remaining != count * length:
        raise WireError(f"ntpd-rs's key file does not hold the {count} keys that it says")
    return _key_set(
        (ServerKey((offset + index) % _ID_SPACE, Secret(reader.take(length))) for index in range(count)), primary
    )


def _render_ntspool(keys: KeySet, _now: int) -> bytes:
    roles = ["previous"] * keys.current + ["current"] + ["next"] * (len(keys.keys) - keys.current - 1)
    pairs = zip(roles, keys.keys, strict=True)
    return _lines("ntspool-keys 1", *(f"{role} {key.id:08x} {key.secret.reveal().hex()}" for role, key in pairs))


_NTSPOOL_KEY = re.compile(rb"(previous|current|next) ([0-9a-f]{8}) ([0-9a-f]{64})")


def _parse_ntspool(data: bytes) -> KeySet:
    """Read our own format to the letter; a file without its last newline was cut short."""
    first, *lines = data.removesuffix(b"\n").split(b"\n")
    if first != b"ntspool-keys 1" or not data.endswith(b"\n"):
        raise WireError("this is no whole key file of ntspool")
    matches = [_match(_NTSPOOL_KEY, line, number) for number, line in enumerate(lines, 2)]
    roles = [match[1] for match in matches]
    if roles.count(b"current") != 1 or roles != sorted(roles, key=[b"previous", b"current", b"next"].index):
        raise WireError("the roles in the key file are out of order")
    keys = [ServerKey(int(match[2], 16), Secret(unhexlify(match[3]))) for match in matches]
    return _key_set(keys, roles.index(b"current"))


_Render = Callable[[KeySet, int], bytes]
_Parse = Callable[[bytes], KeySet]

_PAIRS: Final[Mapping[CookieFormat, tuple[_Render, _Parse]]] = {
    CookieFormat.CHRONY: (_render_chrony, _parse_chrony),
    CookieFormat.NTPSEC: (_render_ntpsec, _parse_ntpsec),
    CookieFormat.NTPD_RS: (_render_ntpd_rs, _parse_ntpd_rs),
    CookieFormat.NTSPOOL: (_render_ntspool, _parse_ntspool),
}
