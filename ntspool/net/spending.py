"""Cookies spent at one address as a client would: the answer judged, and a cookie that came back spent in turn."""

from collections.abc import Callable
from dataclasses import dataclass

from ntspool.net.timequery import TimeAnswer, ask
from ntspool.pool.causes import Cause, Failure
from ntspool.pool.cookies import Association
from ntspool.pool.fleet import Target
from ntspool.pool.sample import Limits, Sample, judge, sample


@dataclass(frozen=True, slots=True)
class Answered:
    """What one request has brought, and what it was sealed with."""

    association: Association
    answer: TimeAnswer | Failure

    @property
    def opened(self) -> bool:
        """Whether the server opened the cookie; NTPsec shows it by a kiss while it is not synchronised."""
        return isinstance(self.answer, TimeAnswer) or self.answer.authentic

    @property
    def cookies(self) -> int:
        """How many cookies came back."""
        return 0 if isinstance(self.answer, Failure) else len(self.answer.cookies)

    @property
    def nak(self) -> bool:
        """Whether the server said that it cannot open the cookie."""
        return isinstance(self.answer, Failure) and self.answer.cause is Cause.NAK


class Spender:
    """Spends cookies at one target; `samples` are the measurements so far. Make one for each probe.

    `clock` is what the target's clock is measured against. Raises OSError when this system has no socket to give.
    """

    def __init__(self, target: Target, limits: Limits, timeout: float, clock: Callable[[], float]) -> None:
        self.samples: list[Sample] = []
        self._target = target
        self._limits = limits
        self._timeout = timeout
        self._clock = clock

    @property
    def best(self) -> Sample | None:
        """The measurement with the least doubt."""
        return min(self.samples, key=lambda each: each.distance, default=None)

    async def spend(self, association: Association, cookie: bytes) -> Answered:
        """Send one request with a cookie."""
        host, port = str(self._target.address), self._target.port
        answer = await ask(host, port, association, cookie, timeout=self._timeout, clock=self._clock)
        return Answered(association, answer)

    async def spend_returned(self, first: Answered) -> Failure | None:
        """Return why an answer is no good, or why the cookie in it is not; None if a client would be served."""
        failure = self._judge(first.answer)
        # Whose answer brings no cookie, nothing is minted for: see Prober.
        if failure or isinstance(first.answer, Failure) or not first.answer.cookies:
            return failure
        second = (await self.spend(first.association, first.answer.cookies[0])).answer
        failure = self._judge(second)
        if failure is not None and failure.cause in {Cause.NAK, Cause.BAD_AUTHENTICATOR}:
            return Failure(Cause.COOKIE, str(failure))
        return failure

    def _judge(self, answer: TimeAnswer | Failure) -> Failure | None:
        if isinstance(answer, Failure):
            return answer
        found = sample(answer.header, answer.measurement, self._clock())
        self.samples.append(found)
        return judge(answer.header, found, self._limits)
