"""Keeps the gateway's keys: rotates when that is due and safe, revokes, tells who has proved what."""

import asyncio
import os
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Protocol

import structlog

from ntspool.errors import ConflictError, NtspoolError, RefusedError
from ntspool.net.checker import Checker
from ntspool.net.keydesk import AgentReport, Delivery, KeyDesk
from ntspool.net.keystore import KeyStore
from ntspool.pool.cookies import CookieFormat
from ntspool.pool.keyring import STATES, Keyring
from ntspool.pool.model import Backend, FixedKey
from ntspool.pool.proofs import Proof, obstacles

LOOK_INTERVAL = 60.0
"""Seconds between two looks whether a rotation is due and safe."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class KeySettings:
    """Seconds from one rotation to the next (None: only by command), and for how long a cookie must be good."""

    rotate: float | None
    life: float


class Others(Protocol):
    """What other gateways have to do with the keys; a gateway that is alone has none (app/cluster.py)."""

    @property
    def leads(self) -> bool:
        """Whether this gateway is the one to rotate when that is due."""
        ...

    @property
    def away(self) -> str | None:
        """Why no key can be changed because the others cannot be asked; None if they can."""
        ...

    def obstacles(self, keyring: Keyring, life: float, now: float) -> dict[str, str]:
        """Return the gateways for which a rotation now would break a promise, each with the reason."""
        ...


class KeyKeeper:
    """Owns the keyring; whatever changes it is kept in the store before it is used.

    `on_change` is awaited after every change, and returns once the new keys are served; what the backends' agents are
    to fetch lies on `desk` by then. `backends` and `settings` may be replaced at any time; call `lay_out` after that.
    `minted` counts sessions by key id.
    """

    def __init__(
        self,
        store: KeyStore,
        checker: Checker,
        settings: KeySettings,
        *,
        desk: KeyDesk,
        clock: Callable[[], float],
        on_change: Callable[[], Awaitable[None]],
        minted: Counter[int],
        others: Others | None = None,
    ) -> None:
        self.settings = settings
        self.backends: tuple[Backend, ...] = ()
        self._desk = desk
        self._store = store
        self._checker = checker
        self._clock = clock
        self._on_change = on_change
        self._minted = minted
        self._others = others
        self._changing = asyncio.Lock()
        self._since = checker.keyring.current, checker.steady()

    @property
    def keyring(self) -> Keyring:
        """The keyring that is served from now."""
        return self._checker.keyring

    async def rotate(self) -> None:
        """Rotate now; raises RefusedError, and changes nothing, when clients would pay for it with NTS NAKs."""
        async with self._changing:
            if waits := self._waits() | self._others_wait():
                reasons = "; ".join(f"{name}: {reason}" for name, reason in sorted(waits.items()))
                raise RefusedError(f"not rotated, to spare clients NTS NAKs: {reasons}")
            before = self.keyring.current.number
            await self._change(lambda keyring: keyring.rotate(self._clock(), os.urandom))
        log.info("keys rotated", epoch=self.keyring.current.number, before=before)

    async def revoke(self, number: int) -> None:
        """Drop an epoch at once; raises RefusedError when it is not alive."""
        async with self._changing:
            try:
                await self._change(lambda keyring: keyring.revoke(number, self._clock(), os.urandom))
            except KeyError as error:
                raise RefusedError(f"epoch {number} is not alive; see `ntspool keys status`") from error
        log.warning("epoch revoked", epoch=number, current=self.keyring.current.number)

    async def follow(self) -> None:
        """Serve from the store's keyring, which another gateway may have changed; raises StateError."""
        async with self._changing:
            before, fresh = self.keyring, await self._newest()
            if fresh == before:
                return
            self._checker.keyring = fresh
            self.lay_out()
            await self._on_change()
        log.info("keys taken over", epoch=fresh.current.number, before=before.current.number)

    async def reload(self) -> None:
        """Take over the store's keyring, which another command may have restored; raises StateError."""
        async with self._changing:
            self._checker.keyring = await self._newest()
            self.lay_out()

    async def _newest(self) -> Keyring:
        """Return the store's keyring, or ours where a cluster's store holds one from before a rotation: it gets ours.

        Only a store that was emptied or restored goes back, and clients have cookies that it knows no keys for.
        """
        found, ours = self._store.load(), self.keyring
        if self._others is None or not ours.comes_after(found):
            return found
        await asyncio.to_thread(self._store.change, found, lambda _: ours)
        log.warning("older keys in the store overwritten", epoch=ours.current.number, found=found.current.number)
        return ours

    def lay_out(self) -> None:
        """Lay out the present keys for the agents."""
        shared = ((each.name, each.key_group, each.cookies) for each in self.backends)
        self._desk.publish(
            {
                name: self._delivery(group, cookies)
                for name, group, cookies in shared
                if not isinstance(cookies, FixedKey)
            }
        )

    def _delivery(self, key_group: str, cookies: CookieFormat) -> Delivery:
        keys = self.keyring.keys(key_group, cookies)
        held = b"".join(key.id.to_bytes(4, "big") + key.secret.reveal() for key in keys.keys)
        digest = sha256(cookies.encode() + b"\0" + held)
        return Delivery(digest.hexdigest()[:16], cookies, keys)

    async def rotate_when_due(self) -> None:
        """Rotate for ever, whenever the interval is over and nobody would pay for it."""
        while True:
            await asyncio.sleep(LOOK_INTERVAL)
            if not self._due():
                continue
            if self._others is not None and self._others.away is None and not self._others.leads:
                continue
            try:
                await self.rotate()
            except NtspoolError as error:
                log.warning("rotation is due but waits", reason=str(error))

    def _due(self) -> bool:
        """Tell whether the interval is over: by the time of day, or by how long this epoch has been seen to be current.

        The one alone would wait for years when the clock was years ahead at the last rotation. Neither rotates before
        it is safe.
        """
        interval, current = self.settings.rotate, self.keyring.current
        if current != self._since[0]:
            self._since = current, self._checker.steady()
        if interval is None:
            return False
        return self._clock() >= self.keyring.rotated + interval or self._checker.steady() >= self._since[1] + interval

    def status(self) -> dict[str, Any]:
        """Return the epochs and, for every address of a backend, which of them it proved and when; no secrets."""
        now = self._clock()
        # Proofs are dated by a clock that nobody sets; what is shown is compared with `now`.
        stepped = now - self._checker.steady()
        waits = self._waits()
        revoked = {epoch.number for epoch in self.keyring.epochs if epoch.revoked}
        return {
            "now": now,
            "rotated": self.keyring.rotated,
            "rotate": self.settings.rotate,
            "life": self.settings.life,
            "epochs": [
                {
                    "epoch": epoch.number,
                    "created": epoch.created,
                    "state": "revoked" if epoch.revoked else state.value,
                    "sessions": self._minted[epoch.key_id],
                }
                for epoch, state in zip(self.keyring.epochs, STATES, strict=True)
            ],
            "ended": [
                {"epoch": past.number, "ended": past.ended, "state": "revoked" if past.revoked else "retired"}
                for past in self.keyring.ended
            ],
            "backends": [
                {
                    "backend": backend.name,
                    "address": str(address),
                    "state": state,
                    "minting": proof.mints,
                    "proved": {
                        str(number): since + stepped
                        for number, since in sorted(proof.accepts.items())
                        if number not in revoked
                    },
                    "waits": waits.get(backend.name),
                }
                for backend, address, state, proof in self._checker.proofs()
            ],
            "agents": [
                {"backend": name, "seen": seen, **_told(self._desk.reports.get(name))}
                for name, seen in sorted(self._desk.seen.items())
            ],
            **({"cluster": {"away": self._others.away, "waits": self._others_wait()}} if self._others else {}),
        }

    def _waits(self) -> dict[str, str]:
        known: list[tuple[str, Proof]] = [(backend.name, proof) for backend, _, _, proof in self._checker.proofs()]
        return obstacles(self.keyring, known, self.settings.life, self._checker.steady())

    def _others_wait(self) -> dict[str, str]:
        return self._others.obstacles(self.keyring, self.settings.life, self._clock()) if self._others else {}

    async def _change(self, step: Callable[[Keyring], Keyring]) -> None:
        try:
            # A store that other gateways share may have to be asked over a network.
            self._checker.keyring = await asyncio.to_thread(self._store.change, self.keyring, step)
        except ConflictError as error:
            raise RefusedError(str(error)) from error
        self.lay_out()
        await self._on_change()


def _told(report: AgentReport | None) -> dict[str, Any]:
    """Return what an agent said last; None for what it has not said."""
    if report is None:
        return {"reported": None, "proved": [], "failure": None}
    return {"reported": report.time, "proved": list(report.proved), "failure": report.failure}
