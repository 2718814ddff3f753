"""Proving what keys a time server holds: a cookie minted under each is spent as a client would spend it."""

import asyncio
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ntspool.errors import KissOfDeathError, NtsNakError, RemoteError
from ntspool.net.timequery import query_time
from ntspool.pool.cookies import NONCE_LENGTH, Association, CookieFormat, CookieKey, ServerKey
from ntspool.wire.aead import Aead
from ntspool.wire.secret import Secret

_AEAD = Aead.AES_SIV_CMAC_256  # mandatory, so every daemon serves it (RFC 8915 section 5.1)


@dataclass(frozen=True, slots=True)
class Proof:
    """The ids of the keys whose cookies were answered with a valid authenticator, and why the others were not.

    `refused` are those of `failures` that an NTS NAK came for: the server is there and has not that key.
    `synchronized` tells whether every answer brought time that a client would take.
    """

    proved: tuple[int, ...]
    failures: Mapping[int, str]
    refused: frozenset[int]
    synchronized: bool

    @property
    def complete(self) -> bool:
        """Whether every key was proved."""
        return not self.failures

    @property
    def silent(self) -> bool:
        """Whether nothing at all shows that the server holds some keys and is there to say so."""
        return not self.proved and not self.refused

    @property
    def failure(self) -> str | None:
        """What is wrong, in one line; None when the proof is complete."""
        return "; ".join(f"key {number}: {why}" for number, why in self.failures.items()) or None


async def prove(host: str, port: int, cookies: CookieFormat, keys: Iterable[ServerKey], *, timeout: float) -> Proof:
    """Ask the time server at an IP literal with a cookie under each of `keys`; each may take `timeout` seconds.

    An unsynchronised server proves its keys all the same, be it by an authenticated kiss-o'-death, as ntpsec's.
    """
    asked = tuple(keys)
    answers = await asyncio.gather(*(_ask(host, port, CookieKey(cookies, key), timeout) for key in asked))
    found = {key.id: answer for key, answer in zip(asked, answers, strict=True)}
    return Proof(
        proved=tuple(number for number, answer in found.items() if answer.failure is None),
        failures={number: answer.failure for number, answer in found.items() if answer.failure is not None},
        refused=frozenset(number for number, answer in found.items() if answer.refused),
        synchronized=bool(found) and all(answer.synchronized for answer in found.values()),
    )


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a request has brought; `failure` is None when it proved the key."""

    failure: str | None = None
    refused: bool = False
    synchronized: bool = False


async def _ask(host: str, port: int, key: CookieKey, timeout: float) -> _Answer:
    association = Association(_AEAD, Secret(os.urandom(_AEAD.key_length)), Secret(os.urandom(_AEAD.key_length)))
    cookie = key.mint(association, os.urandom(NONCE_LENGTH))
    try:
        answer = await query_time(host, port, association, cookie, timeout=timeout)
    except KissOfDeathError:
        # Only who opened the cookie has the key that authenticates even a refusal.
        return _Answer()
    except NtsNakError as error:
        return _Answer(str(error), refused=True)
    except RemoteError as error:
        return _Answer(str(error))
    except OSError as error:
        return _Answer(f"not sent ({error.strerror})")
    return _Answer(synchronized=answer.header.synchronized)
