"""One probe of one address: cookies minted and spent as a client's would be, under whatever epoch is accepted."""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ntspool.errors import WireError
from ntspool.net.spending import Answered, Spender
from ntspool.net.timequery import TimeAnswer
from ntspool.pool import proofs
from ntspool.pool.causes import Failure
from ntspool.pool.cookies import NONCE_LENGTH, SERVER_AEAD, Association, CookieKey, key_id
from ntspool.pool.fleet import Target
from ntspool.pool.keyring import Epoch, Keyring
from ntspool.pool.model import FixedKey
from ntspool.pool.proofs import Proof
from ntspool.pool.sample import Limits, Sample
from ntspool.wire.aead import Aead
from ntspool.wire.secret import Secret


@dataclass(frozen=True, slots=True)
class Finding:
    """An epoch that was accepted or refused; `mints` is the epoch of the cookies in the answer, if it is alive."""

    epoch: Epoch
    accepted: bool
    mints: int | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What a probe found: for each AEAD None or why it is no good, the epochs, and the best measurement if any.

    `cookies` are how many came with each AEAD's first answer.
    """

    outcomes: Mapping[Aead, Failure | None]
    findings: tuple[Finding, ...]
    sample: Sample | None
    cookies: Mapping[Aead, int]


class Prober:
    """Probes one target with every one of `aeads`; `proof` is what is known of it, `healthy` whether it is UP.

    Make one for each probe. `clock` is what its clock is measured against. `probe` raises OSError when this system has
    no socket to give.
    """

    def __init__(
        self,
        target: Target,
        aeads: Sequence[Aead],
        keyring: Keyring,
        proof: Proof,
        *,
        healthy: bool,
        limits: Limits,
        timeout: float,
        clock: Callable[[], float],
    ) -> None:
        if isinstance(target.cookies, FixedKey):
            raise TypeError("no cookies can be minted for a backend that keeps its own keys")
        self._target = target
        self._cookies = target.cookies
        self._aeads = aeads
        self._keyring = keyring
        self._proof = proof
        self._healthy = healthy
        self._spender = Spender(target, limits, timeout, clock)
        self._findings: list[Finding] = []

    async def probe(self) -> Result:
        """Probe under the current epoch, and as it turns out under others; then spend what cookies came back."""
        current = self._keyring.current
        answers = await self._ask_all(current, self._aeads)
        if not _any_opened(answers):
            answers = await self._ask_older(answers)
        outcomes = dict(
            zip(answers, await asyncio.gather(*map(self._spender.spend_returned, answers.values())), strict=True)
        )
        if any(finding.epoch is current and finding.accepted for finding in self._findings):
            await self._ask_next(answers)
        cookies = {aead: each.cookies for aead, each in answers.items()}
        return Result(outcomes, tuple(self._findings), self._spender.best, cookies)

    async def _ask_older(self, answers: dict[Aead, Answered]) -> dict[Aead, Answered]:
        """Probe under the epochs before the current one, for a backend whose key file is late.

        One that is UP and silent is asked no more than once: nothing says that its keys are the trouble.
        """
        current = self._keyring.current
        naks = any(each.nak for each in answers.values())
        if self._healthy and not naks and not proofs.lagging(self._proof, current):
            return answers
        for epoch in self._keyring.mintable[1:]:
            older = await self._ask_all(epoch, self._aeads)
            if _any_opened(older):
                return older if naks else await self._ask_again(older)
        return answers

    async def _ask_again(self, older: dict[Aead, Answered]) -> dict[Aead, Answered]:
        """Tell one that passes over the current epoch, as NTPsec does, from one that came back to life meanwhile."""
        current = self._keyring.current
        answers = await self._ask_all(current, self._aeads)
        if _any_opened(answers):
            return answers
        self._findings.append(Finding(current, accepted=False))
        return older

    async def _ask_next(self, answers: Mapping[Aead, Answered]) -> None:
        upcoming = self._keyring.next
        if proofs.lagging(self._proof, upcoming):
            await self._ask_all(upcoming, [next(aead for aead, each in answers.items() if each.opened)])

    async def _ask_all(self, epoch: Epoch, aeads: Sequence[Aead]) -> dict[Aead, Answered]:
        """Send one request with each AEAD, with cookies of `epoch`, and note what becomes of the epoch."""
        answers = dict(zip(aeads, await asyncio.gather(*(self._ask(epoch, aead) for aead in aeads)), strict=True))
        opened = [each.answer for each in answers.values() if each.opened]
        if opened:
            self._findings.append(Finding(epoch, accepted=True, mints=self._mints(opened)))
        elif any(each.nak for each in answers.values()):
            self._findings.append(Finding(epoch, accepted=False))
        return answers

    async def _ask(self, epoch: Epoch, aead: Aead) -> Answered:
        target = self._target
        association = Association(aead, Secret(os.urandom(aead.key_length)), Secret(os.urandom(aead.key_length)))
        key = CookieKey(self._cookies, epoch.key(target.key_group, SERVER_AEAD[self._cookies]))
        return await self._spender.spend(association, key.mint(association, os.urandom(NONCE_LENGTH)))

    def _mints(self, opened: Sequence[TimeAnswer | Failure]) -> int | None:
        """Return the epoch of the cookies that a backend hands out itself; a kiss brings none, and tells nothing."""
        answers = [each for each in opened if isinstance(each, TimeAnswer)]
        if not answers:
            return self._proof.mints
        minted = [self._minted_under(each) for each in answers]
        # A cookie must be good with every AEAD; it may load a key file between two answers.
        known = [each for each in minted if each is not None]
        return min(known) if len(known) == len(minted) else None

    def _minted_under(self, answer: TimeAnswer) -> int | None:
        try:
            named = key_id(self._cookies, answer.cookies[0]) if answer.cookies else None
        except WireError:
            return None
        return next((epoch.number for epoch in self._keyring.epochs if epoch.key_id == named), None)


def _any_opened(answers: Mapping[Aead, Answered]) -> bool:
    return any(each.opened for each in answers.values())
