"""The agent's side of the control plane: enrolment, and the calls that an enrolled agent makes to its gateways."""

import asyncio
import random
import re
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

import aiohttp
from yarl import URL

from ntspool.errors import RemoteError, ShutOutError, StateError, WireError
from ntspool.net import agentstate, authority, enrolment
from ntspool.net import controlmessages as messages
from ntspool.net.agentstate import Identity
from ntspool.net.controlmessages import Enrolment, Report
from ntspool.net.keydesk import Delivery
from ntspool.net.mutualtls import client_context, stranger_context
from ntspool.wire.secret import NO_SECRET, Secret

ANSWER_DEADLINE: Final = 15.0
"""Seconds in which a gateway must have answered, those not counted for which it may hold a question open."""

LONGEST_PAUSE: Final = 60.0
"""Seconds that a call waits at most after calls that failed."""

T = TypeVar("T")

_FIRST_PAUSE = 0.5
_NOTHING = Secret(b"{}")
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252})")
_BRACKETED = re.compile(r"\[[0-9a-fA-F:.]+\]")


@dataclass(frozen=True, slots=True)
class Gateway:
    """Where a gateway's control port is; `host` is a DNS name or an IP literal without brackets."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Gateway":
        """Return the gateway of `HOST:PORT`, `[2001:db8::1]:PORT`; raises ValueError with what is expected."""
        host, _, port = text.rpartition(":")
        well_formed = (_HOST.fullmatch(host) or _BRACKETED.fullmatch(host)) and re.fullmatch("[1-9][0-9]{0,4}", port)
        if not well_formed or int(port) > 65535:
            raise ValueError(f"{text[:300]!r} is no gateway; expected HOST:PORT such as gateway.example.com:4461")
        return cls(host.strip("[]"), int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class _Question:
    method: str
    path: str
    body: Secret = NO_SECRET
    after: str | None = None
    patience: float = 0.0


async def enrol(gateways: Sequence[Gateway], token: Secret, directory: Path) -> str:
    """Exchange a token for a certificate and keep it, with the private key, in `directory`; return the backend's name.

    The gateways are tried in turn, and remembered for AgentClient. A second enrolment replaces the first. The token
    is sent only to who holds a certificate of the authority that it pins. Raises LocalError when it is no token or
    `directory` refuses, ShutOutError when it is not good (any more), RemoteError when no gateway of the pool that
    the token names could be reached.
    """
    pinned = enrolment.pinned_authority(token)
    private, csr = authority.make_request()

    async def exchange(gateway: Gateway) -> Identity:
        trusted = await _authority(gateway, pinned)
        body = Secret(Enrolment(token, csr).encode())
        answer = await _ask(gateway, client_context(None, trusted), _Question("POST", "/v1/enrol", body))
        certificate = messages.decode_pem(answer, "certificate")
        backend = authority.check_issued(certificate, private, trusted)
        names = tuple(map(str, gateways))
        return Identity(backend, names, trusted, private, certificate)

    agentstate.check_writable(directory)
    identity = await _first_answer(list(gateways), exchange)
    agentstate.write(directory, identity)
    return identity.backend


class AgentClient:
    """An enrolled agent's calls; every call tries the gateways in turn, first the one that answered last.

    After a call that failed, the next one waits first, longer each time and not as long as others: a loop may call
    again at once. `directory` is that of `enrol`; `gateways` None means those of the enrolment. Making one raises
    StateError when nobody enrolled here. Every call raises ShutOutError when a gateway refuses for good and none
    answers, and RemoteError, with what every gateway did, when none answers.
    """

    def __init__(
        self,
        directory: Path,
        gateways: Sequence[Gateway] | None = None,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._directory = directory
        self._identity = agentstate.read(directory)
        try:
            self._gateways = list(gateways or map(Gateway.parse, self._identity.gateways))
        except ValueError as error:
            raise StateError(f"{directory / agentstate.ENTRY} is damaged: {error}; enrol the agent again") from error
        self._clock = clock
        self._sleep = sleep
        self._chance = chance
        self._failures = 0

    @property
    def backend(self) -> str:
        """The backend that this agent was enrolled for."""
        return self._identity.backend

    @property
    def renewal_due(self) -> float:
        """When to call `renew`, in Unix seconds: at two thirds of the certificate's life."""
        return self.expires - authority.AGENT_LIFE / 3

    @property
    def expires(self) -> float:
        """When the certificate ends, in Unix seconds; an agent that has not renewed it must be enrolled again."""
        return self._identity.expires

    async def keyring(self, after: str | None) -> Delivery | None:
        """Return the delivery whose revision is not `after`; None when there is nothing new for 50 seconds."""
        question = _Question("GET", "/v1/keyring", after=after, patience=messages.POLL)

        async def fetch(gateway: Gateway) -> Delivery | None:
            answer = await self._ask(gateway, question)
            return messages.decode_delivery(answer) if answer else None

        return await self._call(fetch)

    async def report(self, revision: str, proved: Sequence[int], failure: str | None) -> None:
        """Tell which key ids of a delivery the daemon was proved to hold, and what does not work, in short words."""
        await self._tell(_Question("POST", "/v1/report", Secret(Report(revision, tuple(proved), failure).encode())))

    async def renew(self) -> None:
        """Get a new certificate for a new private key, and keep them; raises StateError when they cannot be kept.

        That there is room is made sure of first: each certificate that is issued puts an older one out of use.
        """
        agentstate.check_writable(self._directory)
        private, csr = authority.make_request()
        question = _Question("POST", "/v1/renew", Secret(messages.encode_certificates(csr=csr)))

        async def renewed(gateway: Gateway) -> Identity:
            certificate = messages.decode_pem(await self._ask(gateway, question), "certificate")
            if authority.check_issued(certificate, private, self._identity.authority) != self.backend:
                raise WireError("it sent a certificate for another backend")
            return replace(self._identity, private=private, certificate=certificate)

        fresh = await self._call(renewed)
        agentstate.write(self._directory, fresh)
        self._identity = fresh

    async def turn(self) -> bool:
        """Ask to be the one backend of the pool that may restart its daemon now; ask again a while later if not.

        A turn is good for net.turnstile.TURN_LIFE; asking again while it is held makes it last anew.
        """

        async def granted(gateway: Gateway) -> bool:
            return messages.decode_granted(await self._ask(gateway, _Question("POST", "/v1/turn", _NOTHING)))

        return await self._call(granted)

    async def turn_done(self) -> None:
        """Give the turn back, once the restarted daemon was proved to work."""
        await self._tell(_Question("POST", "/v1/turn/done", _NOTHING))

    async def _tell(self, question: _Question) -> None:
        await self._call(lambda gateway: self._ask(gateway, question))

    async def _ask(self, gateway: Gateway, question: _Question) -> bytes:
        identity = self._identity
        return await _ask(gateway, client_context(identity.pem, identity.authority), question)

    async def _call(self, ask: Callable[[Gateway], Awaitable[T]]) -> T:
        if self._failures:
            longest = min(_FIRST_PAUSE * 2.0 ** min(self._failures, 16), LONGEST_PAUSE)
            await self._sleep(longest * (1 + self._chance()) / 2)
        try:
            self._check_certificate()
            answer = await _first_answer(self._gateways, ask)
        except RemoteError:
            self._failures += 1
            raise
        self._failures = 0
        return answer

    def _check_certificate(self) -> None:
        """Say better than TLS would that the certificate has ended; not for good, as a wrong clock may be set."""
        if self.expires <= self._clock():
            words = "this agent's certificate has ended by this machine's clock"
            raise RemoteError(f"{words}: set the clock if that is wrong, else enrol the agent again")


async def _first_answer(gateways: list[Gateway], ask: Callable[[Gateway], Awaitable[T]]) -> T:
    """Return what the first of the gateways answers, and put it in front of the others."""
    failures: list[str] = []
    refused = False
    for gateway in tuple(gateways):
        try:
            answer = await ask(gateway)
        except RemoteError as error:
            refused = refused or isinstance(error, ShutOutError)
            failures.append(f"{gateway}: {error}")
            continue
        gateways.remove(gateway)
        gateways.insert(0, gateway)
        return answer
    raise (ShutOutError if refused else RemoteError)("; ".join(failures))


async def _authority(gateway: Gateway, pinned: bytes) -> bytes:
    """Return the authority's certificate (PEM) that has the SHA-256 `pinned`, from somebody not known yet."""
    pem = messages.decode_pem(await _ask(gateway, stranger_context(), _Question("GET", "/v1/ca")), "ca")
    return authority.check_pinned(pem, pinned)


async def _ask(gateway: Gateway, context: ssl.SSLContext, question: _Question) -> bytes:
    """Return what a gateway answers to one question; raises RemoteError, ShutOutError for its 403."""
    url = URL.build(scheme="https", host=gateway.host, port=gateway.port, path=question.path)
    if question.after is not None:
        url = url.with_query(after=question.after)
    timeout = aiohttp.ClientTimeout(total=ANSWER_DEADLINE + question.patience, connect=ANSWER_DEADLINE)
    connector = aiohttp.TCPConnector(ssl=context, force_close=True)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as session,
            session.request(
                question.method,
                url,
                data=question.body.reveal() or None,
                server_hostname=authority.CONTROL_NAME,
                allow_redirects=False,
                headers={"User-Agent": "ntspool"},
            ) as response,
        ):
            return _answer(response.status, await _read(response.content))
    except TimeoutError as error:
        raise RemoteError("no answer in time") from error
    except (aiohttp.ClientError, OSError) as error:
        raise RemoteError(_describe(error)) from error


async def _read(content: aiohttp.StreamReader) -> bytes:
    body = b""
    async for piece in content.iter_any():
        body += piece
        if len(body) > messages.MAX_LENGTH:
            raise WireError("its answer is too long")
    return body


def _answer(status: int, body: bytes) -> bytes:
    if status == 403:
        raise ShutOutError("it refuses; the reason stands in the gateway's log")
    if status not in (200, 204):
        raise RemoteError(f"it answers with HTTP status {status}")
    return body if status == 200 else b""


def _describe(error: Exception) -> str:
    """Return why a gateway was not reached, in words for operators."""
    cause = error.__cause__ or error
    if isinstance(error, aiohttp.ClientConnectorCertificateError) or isinstance(cause, ssl.SSLCertVerificationError):
        return "its certificate is not of this pool's authority, or has ended by this machine's clock"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        # What asyncio's server does on a certificate that it does not take; the alert never comes.
        return "it hung up; the reason stands in the gateway's log"
    if isinstance(cause, ssl.SSLError):
        return f"TLS failed ({cause.reason or 'the connection was lost'}); the gateway's log may tell more"
    return f"not reachable ({cause})"
