"""An examination under way: how fast it may go, how far it is, and what it has cost so far."""

import asyncio
from collections.abc import Sequence

from ntspool.net.exam.conversing import Greeting, converse
from ntspool.pool.exam.conversation import Conversation, Ending, Reached
from ntspool.pool.exam.model import Progress
from ntspool.pool.exam.plan import Plan

_SESSIONS = "sessions"

_ENOUGH = 3
"""Connections in a row that come to no session: whoever limits us should not be pressed."""


class Course:
    """Paces sessions and requests, and tells the progress of both."""

    def __init__(self, plan: Plan, progress: Progress) -> None:
        self.plan = plan
        self.connections = 0
        self.requests = 0
        self._progress = progress
        self._expected = plan.most_sessions
        self._due: dict[str, float] = {}
        self._turned_away: dict[str, list[Conversation]] = {}

    def expect(self, steps: int) -> None:
        """Say how many sessions and requests there will be in all, done ones included."""
        self._expected = steps

    async def converse(self, address: str, greeting: Greeting, pieces: Sequence[bytes], what: str) -> Conversation:
        """Be a client of the service once, when it is time for that; see `conversing.converse`.

        An address that has turned us away a few times in a row is left alone: what it did last comes back.
        """
        turned_away = self._turned_away.setdefault(address, [])
        if len(turned_away) >= _ENOUGH:
            return turned_away[-1]
        await self._turn(_SESSIONS)
        self.tell(what)
        self.connections += 1
        seen = await converse(address, self.plan.port, greeting, pieces, self.plan.timeout)
        if seen.reached is Reached.TLS or seen.ending is Ending.ALERT:
            turned_away.clear()
        else:
            turned_away.append(seen)
        return seen

    async def request_turn(self, target: str, what: str) -> None:
        """Wait until it is time for one more request to an NTP server."""
        await self._turn(target)
        self.tell(what)
        self.requests += 1

    def tell(self, what: str) -> None:
        """Tell the progress, and what is done next."""
        done = self.connections + self.requests
        self._progress(done, max(self._expected, done), what)

    async def _turn(self, whose: str) -> None:
        now = asyncio.get_running_loop().time()
        due = max(now, self._due.get(whose, now))
        self._due[whose] = due + 1 / self.plan.rate
        await asyncio.sleep(due - now)
