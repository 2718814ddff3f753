"""A client of etcd over its JSON gateway: one of several endpoints answers, with a deadline, or the store is away."""

import asyncio
import ssl
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self, TypeVar

import aiohttp

from ntspool.errors import ConflictError, RemoteError, StateError, StoreAwayError, WireError
from ntspool.wire import etcd as wire
from ntspool.wire.etcd import Kept, Refusal, Watched
from ntspool.wire.lines import LineBuffer
from ntspool.wire.secret import NO_SECRET, Secret

ATTEMPT: Final = 2.0
"""Seconds that one endpoint has to answer before another one is asked."""

DEADLINE: Final = 5.0
"""Seconds after which a call has failed, whoever was asked until then."""

LARGEST_ANSWER: Final = 16 * 1024 * 1024
"""Bytes; etcd takes no request above 1.5 MiB, but reads may return many keys."""

T = TypeVar("T")

_NO_END = aiohttp.ClientTimeout(total=None, sock_connect=ATTEMPT)
_PLAINLY_REFUSED = (400, 0)  # the answer to a certificate with a common name, which is no JSON
_UNAVAILABLE = frozenset({0, 4, 8, 14})  # no gRPC code, deadline exceeded, exhausted, unavailable: another may do


@dataclass(frozen=True, slots=True)
class EtcdSettings:
    """Where etcd is (URLs), below which `prefix` our keys are (it ends with a slash), and as whom to ask it.

    `user` is empty where etcd does not ask for one; `tls` is None for endpoints without TLS.
    """

    endpoints: tuple[str, ...]
    prefix: str
    user: str = ""
    password: Secret = NO_SECRET
    tls: ssl.SSLContext | None = None


@dataclass(slots=True)
class StoreCounts:
    """Calls by operation and result (`ok`, `conflict`, `refused`, `away`), and the seconds that they took."""

    calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))


class Etcd:
    """Use it as an asynchronous context manager; all calls raise StoreAwayError when no endpoint answers in time.

    They raise StateError, with etcd's words, when it refuses. Names of keys are those below the prefix.
    """

    def __init__(self, settings: EtcdSettings, counts: StoreCounts | None = None) -> None:
        self._settings = settings
        self._endpoints = list(settings.endpoints)
        self._token = NO_SECRET
        self._counts = counts or StoreCounts()
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(ssl=self._settings.tls or True, limit=16)
        self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def get(self, name: str) -> Kept | None:
        """Return a key, None when there is none."""
        found, _ = await self._call("get", "kv/range", wire.read(self._key(name)), wire.kept)
        return self._ours(found[0]) if found else None

    async def read_all(self) -> tuple[tuple[Kept, ...], int]:
        """Return all keys, and the revision that this is the state of: watch from the next one on."""
        found, revision = await self._call("get", "kv/range", wire.read_all(self._settings.prefix), wire.kept)
        return tuple(map(self._ours, found)), revision

    async def put(self, name: str, data: bytes, lease: int = 0) -> int:
        """Write a key, whatever it held; return its revision. With a `lease` it goes when that ends."""
        return await self._call("put", "kv/put", wire.put(self._key(name), data, lease), wire.written)

    async def put_if(self, name: str, data: bytes, revision: int, lease: int = 0) -> int:
        """Write a key if it still has `revision` (0: if there is none), and return its new one.

        Raises ConflictError when somebody else was faster.
        """

        def decided(answer: bytes) -> int:
            outcome = wire.outcome(answer)
            if outcome.done:
                return outcome.revision
            if outcome.held is not None and outcome.held.data == data and outcome.held.revision > revision:
                # It is what we wrote: an endpoint did it, fell silent before it said so, and another one was asked.
                return outcome.held.revision
            raise ConflictError(f"{name} was changed by another gateway")

        return await self._call("put_if", "kv/txn", wire.put_if(self._key(name), data, revision, lease), decided)

    async def delete(self, name: str) -> None:
        """Delete a key, if it is there."""
        await self._call("delete", "kv/deleterange", wire.delete(self._key(name)), wire.written)

    async def grant(self, seconds: int) -> int:
        """Return a new lease of so many seconds."""
        return await self._call("lease", "lease/grant", wire.grant(seconds), wire.granted)

    async def keep_alive(self, lease: int) -> bool:
        """Let a lease last anew; tell whether there still is one."""
        return await self._call("lease", "lease/keepalive", wire.lease(lease), wire.kept_alive) > 0

    async def revoke(self, lease: int) -> None:
        """End a lease, and with it the keys that it holds."""
        with suppress(_LeaseEndedError):
            await self._call("lease", "lease/revoke", wire.lease(lease), wire.written)

    async def watch(self, revision: int, patience: float) -> AsyncIterator[Watched]:
        """Yield what changes from `revision` on, the first message as soon as the watch stands.

        Raises StoreAwayError when no endpoint takes it, it ends, or nothing comes for `patience` seconds; the last
        message may tell that the changes are compacted: then `read_all` has to be called anew.
        """
        if not self._token:
            await self._authenticate()
        endpoint = self._endpoints[0]
        body = wire.watch(self._settings.prefix, revision)
        try:
            async with asyncio.timeout(patience):
                response = await self._session.post(
                    f"{endpoint}/v3/watch", data=body, headers=self._headers(), timeout=_NO_END
                )
            async with response:
                if response.status != 200:
                    raise self._refused(wire.refusal(await _read(response)))
                async for line in _lines(response, patience):
                    message = wire.watched(line)
                    yield self._stripped(message)
                    if message.ended:
                        self._token = NO_SECRET
                        raise StoreAwayError(f"etcd ended the watch: {message.ended}")
        except (aiohttp.ClientError, OSError, TimeoutError, WireError) as error:
            raise StoreAwayError(f"the watch at {endpoint} was lost: {_reason(error)}") from error
        finally:
            # Whoever fell silent is not the first to be asked again.
            self._endpoints.remove(endpoint)
            self._endpoints.append(endpoint)

    async def _call(self, operation: str, path: str, body: bytes, parse: Callable[[bytes], T]) -> T:
        began, result = time.monotonic(), "away"
        try:
            async with asyncio.timeout(DEADLINE):
                if not self._token:
                    await self._authenticate()
                answer = parse(await self._ask(path, body))
            result = "ok"
        except TimeoutError as error:
            raise StoreAwayError(f"the cluster's store does not answer: nothing in {DEADLINE:g} s") from error
        except WireError as error:
            raise StoreAwayError(f"the cluster's store does not answer as etcd does: {error}") from error
        except StateError as error:
            if not isinstance(error, StoreAwayError):
                result = "conflict" if isinstance(error, ConflictError) else "refused"
            raise
        else:
            return answer
        finally:
            self._counts.calls[operation, result] += 1
            self._counts.seconds[operation] += time.monotonic() - began

    async def _ask(self, path: str, body: bytes, *, again: bool = True) -> bytes:
        """Return the answer of the first endpoint that gives one; the others are asked after it from now."""
        silent = []
        for endpoint in tuple(self._endpoints):
            try:
                status, answer = await self._post(endpoint, path, body)
            except (aiohttp.ClientError, OSError, TimeoutError, RemoteError) as error:
                silent.append(f"{endpoint}: {_reason(error)}")
                continue
            if status == 200:
                self._prefer(endpoint)
                return answer
            refusal = wire.refusal(answer)
            if refusal.wants_token and again:
                await self._authenticate()
                return await self._ask(path, body, again=False)
            if refusal.code not in _UNAVAILABLE or (status, refusal.code) == _PLAINLY_REFUSED:
                raise self._refused(refusal)
            silent.append(f"{endpoint}: {refusal.words}")
        raise StoreAwayError(f"the cluster's store does not answer: {'; '.join(silent)}")

    def _prefer(self, endpoint: str) -> None:
        if self._endpoints[0] != endpoint and endpoint in self._endpoints:
            self._endpoints.remove(endpoint)
            self._endpoints.insert(0, endpoint)

    async def _authenticate(self) -> None:
        """Get a token, if there is a user to get one for."""
        self._token = NO_SECRET
        if not self._settings.user:
            return
        body = wire.authenticate(self._settings.user, self._settings.password)
        try:
            self._token = wire.token(await self._ask("auth/authenticate", body, again=False))
        except _AuthOffError:
            # The user is there before authentication is switched on, while a cluster is set up.
            self._token = NO_SECRET

    async def _post(self, endpoint: str, path: str, body: bytes) -> tuple[int, bytes]:
        async with (
            asyncio.timeout(ATTEMPT),
            self._session.post(f"{endpoint}/v3/{path}", data=body, headers=self._headers()) as response,
        ):
            return response.status, await _read(response)

    def _headers(self) -> dict[str, str]:
        # A member that is cut off from the others ends what it cannot serve, rather than be silent.
        common = {"Content-Type": "application/json", "Grpc-Metadata-hasleader": "true"}
        return {**common, "Authorization": self._token.reveal().decode()} if self._token else common

    def _refused(self, refusal: Refusal) -> StateError:
        kind = {wire.NOT_FOUND: _LeaseEndedError, wire.AUTH_OFF: _AuthOffError}.get(refusal.code, StateError)
        return kind(f"etcd refuses: {refusal.words or 'no reason'}")

    def _key(self, name: str) -> str:
        return self._settings.prefix + name

    def _ours(self, kept: Kept) -> Kept:
        return Kept(kept.key.removeprefix(self._settings.prefix), kept.data, kept.revision)

    def _stripped(self, message: Watched) -> Watched:
        prefix = self._settings.prefix
        changes = (wire.Change(each.key.removeprefix(prefix), each.data, each.revision) for each in message.changes)
        return Watched(message.revision, tuple(changes), message.ended, message.compacted)


class _LeaseEndedError(StateError):
    """The lease is no more."""


class _AuthOffError(StateError):
    """Authentication is not on."""


async def _read(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > LARGEST_ANSWER:
            raise WireError("etcd's answer is too long")
    return bytes(body)


async def _lines(response: aiohttp.ClientResponse, patience: float) -> AsyncIterator[bytes]:
    """Yield the lines of a stream; raises TimeoutError when none comes for `patience` seconds."""
    buffer = LineBuffer(LARGEST_ANSWER)
    while True:
        async with asyncio.timeout(patience):
            piece = await response.content.readany()
        if not piece:
            raise WireError("it ended")
        for line in buffer.receive_data(piece):
            yield line


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__
