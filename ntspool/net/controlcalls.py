"""What a gateway answers on its control port: who may ask what, and what comes of it."""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

import structlog
from cryptography import x509

from ntspool.errors import LocalError, RemoteError, WireError
from ntspool.net import controlmessages as messages
from ntspool.net import enrolment, turnstile
from ntspool.net.authority import Authority, agent_of, read_csr
from ntspool.net.keydesk import AgentReport, KeyDesk
from ntspool.net.store import Store
from ntspool.wire.secret import NO_SECRET, Secret

CALLS_AT_ONCE: Final = 8
"""Calls of one backend that may be under way; an agent has one or two, and those that its last life left behind."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Call:
    """One request: `certificate` is the one that the TLS handshake verified, in DER; `peer` is for the log."""

    method: str
    path: str
    after: str | None
    certificate: bytes | None
    body: Secret
    peer: str


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP status and a JSON object, or nothing."""

    status: int
    body: Secret = NO_SECRET


@dataclass(frozen=True, slots=True)
class _Caller:
    backend: str
    serial: int


class Calls:
    """Answers calls; `recheck` has to be called from time to time, and after every revocation."""

    def __init__(self, store: Store, authority: Authority, desk: KeyDesk, clock: Callable[[], float]) -> None:
        self._store = store
        self._authority = authority
        self._desk = desk
        self._clock = clock
        self._under_way: Counter[str] = Counter()
        self._polls: dict[asyncio.Future[None], _Caller] = {}
        self._agents: Mapping[tuple[str, str], Callable[[_Caller, Call], Awaitable[Reply]]] = {
            ("GET", "/v1/keyring"): self._keyring,
            ("POST", "/v1/report"): self._report,
            ("POST", "/v1/renew"): self._renew,
            ("POST", "/v1/turn"): self._turn,
            ("POST", "/v1/turn/done"): self._turn_done,
        }

    async def answer(self, call: Call, trust: Callable[[], None]) -> Reply:
        """Return the reply to a call, whatever the call is; `trust` is called once an allowed agent is behind it.

        Why something was refused stands in the log and not in the reply.
        """
        notes = log.bind(peer=call.peer, call=call.path[:64])
        try:
            return await self._answer(call, trust)
        except WireError as error:
            notes.warning("control: bad request", reason=str(error))
            return _error(400, "bad request")
        except RemoteError as error:
            notes.warning("control: refused", reason=str(error))
            return _error(403, "refused")
        except LocalError as error:
            notes.error("control: cannot answer", reason=str(error))
        except Exception:
            notes.exception("control: an error of ours")
        return _error(503, "not now")

    def recheck(self) -> None:
        """Cut off, with 403, the waiting agents that were revoked since they asked."""
        if not self._polls:
            return
        try:
            roster = enrolment.read(self._store)
        except LocalError as error:
            # Those who wait get nothing without another look; so far they have done no harm.
            log.error("control: cannot see who was revoked", reason=str(error))
            return
        gone = {
            cut: caller.backend
            for cut, caller in self._polls.items()
            if not cut.done() and not roster.allows(caller.backend, caller.serial)
        }
        for backend in sorted(set(gone.values())):
            log.warning("agent revoked", backend=backend)
        for cut in gone:
            cut.set_result(None)

    async def _answer(self, call: Call, trust: Callable[[], None]) -> Reply:
        if (call.method, call.path) == ("GET", "/v1/ca"):
            return Reply(200, Secret(messages.encode_certificates(ca=self._authority.pem)))
        if (call.method, call.path) == ("POST", "/v1/enrol"):
            return await self._enrol(call)
        caller = self._caller(call)
        trust()
        do = self._agents.get((call.method, call.path))
        if do is None:
            return _error(404, "no such call")
        if self._under_way[caller.backend] >= CALLS_AT_ONCE:
            log.warning("control: too many calls at once", backend=caller.backend, peer=call.peer)
            return _error(429, "too many calls at once")
        self._desk.see(caller.backend, self._clock())
        self._under_way[caller.backend] += 1
        try:
            return await do(caller, call)
        finally:
            self._under_way[caller.backend] -= 1

    def _caller(self, call: Call) -> _Caller:
        if call.certificate is None:
            raise RemoteError("it shows no certificate")
        certificate = x509.load_der_x509_certificate(call.certificate)
        caller = _Caller(agent_of(certificate), certificate.serial_number)
        self._check(caller)
        if certificate.not_valid_after_utc.timestamp() <= self._clock():
            raise RemoteError(f"the certificate of {caller.backend} has expired")
        return caller

    def _check(self, caller: _Caller) -> None:
        if not enrolment.is_allowed(self._store, caller.backend, caller.serial):
            raise RemoteError(f"the certificate of {caller.backend} was revoked, or replaced long since")

    async def _enrol(self, call: Call) -> Reply:
        asked = messages.decode_enrolment(call.body.reveal())
        now, serial = self._clock(), x509.random_serial_number()
        # A request that cannot be signed must not use up the token.
        read_csr(asked.csr)
        backend = await asyncio.to_thread(enrolment.redeem, self._store, asked.token, serial, now)
        certificate = self._authority.sign_agent(asked.csr, backend, serial, now)
        log.info("agent enrolled", backend=backend, peer=call.peer, serial=f"{serial:x}")
        return Reply(200, Secret(messages.encode_certificates(certificate=certificate, ca=self._authority.pem)))

    async def _keyring(self, caller: _Caller, call: Call) -> Reply:
        cut = asyncio.get_running_loop().create_future()
        waiting = asyncio.create_task(self._desk.wait(caller.backend, call.after, messages.POLL))
        self._polls[cut] = caller
        try:
            await asyncio.wait({waiting, cut}, return_when=asyncio.FIRST_COMPLETED)
            # Asked again at the last moment: an agent may have been revoked while it waited.
            self._check(caller)
            delivery = waiting.result()
        finally:
            del self._polls[cut]
            waiting.cancel()
        if delivery is None:
            return Reply(204)
        log.info("keys fetched", backend=caller.backend, peer=call.peer, revision=delivery.revision)
        return Reply(200, Secret(messages.encode_delivery(caller.backend, delivery)))

    async def _report(self, caller: _Caller, call: Call) -> Reply:
        told = messages.decode_report(call.body.reveal())
        self._desk.record(caller.backend, AgentReport(self._clock(), told.revision, told.proved, told.failure))
        note = log.info if told.failure is None else log.warning
        note("agent reports", backend=caller.backend, proved=told.proved, failure=told.failure)
        return Reply(204)

    async def _renew(self, caller: _Caller, call: Call) -> Reply:
        csr = messages.decode_pem(call.body.reveal(), "csr")
        read_csr(csr)
        now, serial = self._clock(), x509.random_serial_number()
        await asyncio.to_thread(enrolment.add_certificate, self._store, caller.backend, caller.serial, serial, now)
        certificate = self._authority.sign_agent(csr, caller.backend, serial, now)
        log.info("agent's certificate renewed", backend=caller.backend, serial=f"{serial:x}")
        return Reply(200, Secret(messages.encode_certificates(certificate=certificate)))

    async def _turn(self, caller: _Caller, _call: Call) -> Reply:
        granted = await asyncio.to_thread(turnstile.ask, self._store, caller.backend, self._clock())
        if granted:
            log.info("turn to restart granted", backend=caller.backend)
        return Reply(200, Secret(messages.encode_granted(granted=granted)))

    async def _turn_done(self, caller: _Caller, _call: Call) -> Reply:
        await asyncio.to_thread(turnstile.give_back, self._store, caller.backend, self._clock())
        return Reply(204)


def _error(status: int, words: str) -> Reply:
    return Reply(status, Secret(json.dumps({"error": words}).encode()))
