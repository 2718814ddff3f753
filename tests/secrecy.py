"""Looks for secrets where they must not be, however they are written there."""

import base64
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, suppress
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote, quote_from_bytes

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ntspool.errors import StateError
from ntspool.net.keystore import KeyStore
from ntspool.net.sealed import Seal
from ntspool.net.store import FileStore
from ntspool.pool.cookies import SERVER_AEAD
from ntspool.pool.keyring import Keyring

PIECE = 12
"""Bytes of a secret that are a leak: what is cut off after so many, or wrapped behind them, is found all the same."""

_HEAD = 8
_CHUNK = 65536


class Search:
    """A search for `secrets`; make one for many places."""

    def __init__(self, secrets: Mapping[str, bytes]) -> None:
        self._by_head: dict[bytes, list[tuple[str, bytes]]] = {}
        for name, secret in secrets.items():
            for form, written in forms(secret):
                self._by_head.setdefault(written[:_HEAD], []).append((f"{name} as {form}", written))

    def found(self, data: bytes) -> set[str]:
        """Return which of the secrets are in `data`, each as `name as form`."""
        # A look at each place of the data costs less than one look for each of thousands of forms.
        heads: set[bytes] = set()
        for start in range(0, len(data), _CHUNK):
            chunk = data[start : start + _CHUNK + _HEAD - 1]
            heads |= self._by_head.keys() & {chunk[at : at + _HEAD] for at in range(len(chunk) - _HEAD + 1)}
        return {name for head in heads for name, written in self._by_head[head] if written in data}


def found(secrets: Mapping[str, bytes], data: bytes) -> set[str]:
    """Return which of `secrets` are in `data`; see Search."""
    return Search(secrets).found(data)


@lru_cache(maxsize=4096)
def forms(secret: bytes) -> tuple[tuple[str, bytes], ...]:
    """Return how `secret` could be written: its first and last bytes in each way, and the whole as a number."""
    if len(secret) < PIECE:
        raise ValueError("so little is found anywhere")
    pieces = {secret[:PIECE], secret[-PIECE:]}
    written = {(form, each) for piece in pieces for form, each in _of_bytes(piece)}
    for order in ("big", "little"):
        number = int.from_bytes(secret, order)
        written |= {
            (f"{order}-endian number", str(number).encode()),
            (f"{order}-endian number", f"{number:x}".encode()),
        }
    return tuple(sorted(written))


def _of_bytes(piece: bytes) -> Iterator[tuple[str, bytes]]:
    yield "raw bytes", piece
    digits = piece.hex()
    yield from (("hex", digits.encode()), ("HEX", digits.upper().encode()))
    for between in (":", " "):
        yield from (("hex", piece.hex(between).encode()), ("HEX", piece.hex(between).upper().encode()))
    for shift in range(3):
        core = _base64_core(piece, shift)
        yield from (("base64", core), ("base64url", core.translate(bytes.maketrans(b"+/", b"-_"))))
    yield "Python's repr", repr(piece)[2:-1].encode()
    text = piece.decode("latin-1")
    for ascii_only in (True, False):
        yield "JSON", json.dumps(text, ensure_ascii=ascii_only)[1:-1].encode()
        yield "JSON in JSON", json.dumps(json.dumps(text, ensure_ascii=ascii_only)[1:-1])[1:-1].encode()
    percents = "".join(f"%{byte:02X}" for byte in piece)
    for each in (quote_from_bytes(piece), quote_from_bytes(piece, safe=""), quote(text), percents):
        yield from (("percent", each.encode()), ("percent", _lower_percents(each).encode()))
    yield "list of numbers", repr(list(piece))[1:-1].encode()


def _base64_core(piece: bytes, shift: int) -> bytes:
    """Return the digits that belong to `piece` alone when `shift` bytes of something else stand before it."""
    digits = base64.b64encode(bytes(shift) + piece)
    return digits[-(-shift * 8 // 6) : (shift + len(piece)) * 8 // 6]


def _lower_percents(text: str) -> str:
    head, *rest = text.split("%")
    return head + "".join(f"%{each[:2].lower()}{each[2:]}" for each in rest)


def private_key(pem: bytes) -> bytes:
    """Return the number that a private key in PEM is about."""
    key = load_pem_private_key(pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey)
    numbers = key.private_numbers()
    value = numbers.private_value if isinstance(numbers, ec.EllipticCurvePrivateNumbers) else numbers.d
    return value.to_bytes(key.key_size // 8, "big")


def of_keyring(keyring: Keyring, key_groups: Iterable[str]) -> dict[str, bytes]:
    """Return the roots of a keyring and every cookie key that is made of them for these key groups."""
    secrets = {f"root {epoch.number}": epoch.root.reveal() for epoch in keyring.epochs}
    for epoch in keyring.epochs:
        for group in key_groups:
            for aead in set(SERVER_AEAD.values()):
                secrets[f"key {epoch.number} of {group} for {aead.name}"] = epoch.key(group, aead).secret.reveal()
    return secrets


def of_state(state: Path, key_groups: Iterable[str], seal: Seal | None = None) -> dict[str, bytes]:
    """Return what a gateway's state directory holds that is secret."""
    seal, store = seal or Seal(None), FileStore(state)
    secrets = of_keyring(KeyStore(store, seal).load(), key_groups)
    if held := store.get("authority"):
        secrets["authority"] = private_key(seal.open("authority", held[0]))
    return secrets


def of_files(paths: Iterable[Path], but: Iterable[Path]) -> dict[str, bytes]:
    """Return what is in every file among `paths`, and below those that are directories, but not in those of `but`."""
    kept, read = {each.resolve() for each in but}, {}
    for path in (each for top in paths for each in (top, *top.rglob("*"))):
        # Others may be at work in a directory that all share.
        with suppress(OSError):
            if path.is_file() and path.resolve() not in kept:
                read[str(path)] = path.read_bytes()
    return read


def check_gateway(directory: Path, key_groups: Iterable[str], more: Mapping[str, bytes] | None = None) -> None:
    """Fail if a gateway that ran in `directory`, where its state and log are, has written a secret; `more` are others.

    Nothing is said where the keyring is gone, damaged or encrypted: then that is what the test was about.
    """
    state = directory / "state"
    try:
        secrets = {**of_state(state, key_groups), **(more or {})}
    except StateError:
        return
    written = [path for path in state.iterdir() if not path.name.startswith(("keyring", "authority", ".keyring"))]
    check(secrets, of_files([*directory.glob("*log*"), *written], but=[]))


def of_process(pid: int) -> dict[str, bytes]:
    """Return what every user sees of a process, and what its own user does: title, arguments, environment."""
    process = Path(f"/proc/{pid}")
    return {f"{each} of {pid}": (process / each).read_bytes() for each in ("cmdline", "comm", "environ", "status")}


def of_database(path: Path) -> bytes:
    """Return all that is in a database of SQLite, as text: a file may hold values in pieces."""
    with closing(sqlite3.connect(path)) as database:
        return "\n".join(database.iterdump()).encode()


def check(secrets: Mapping[str, bytes], places: Mapping[str, bytes]) -> None:
    """Fail with every place that one of the secrets is in, and which; never with the secret."""
    search = Search(secrets)
    leaks = {where: sorted(names) for where, data in places.items() if (names := search.found(data))}
    if leaks:
        raise AssertionError("\n".join(f"{where}: {', '.join(names)}" for where, names in sorted(leaks.items())))
