"""What `ntspool bench` has found, as text and as JSON."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ntspool.net.load import Outcome, Plan, Tally
from ntspool.pool.histogram import Histogram

PERCENTILES = (50, 90, 99)

BUSY = 0.9
"""From this share of a core on, running or waiting to run, it is the client that sets the pace."""


@dataclass(frozen=True, slots=True)
class BenchReport:
    """The sum of all client processes.

    `seconds` is the length of the run, `rate` the good sessions in each of these; `ran` and `waited` are shares of a
    core: how much the busiest process ran, and waited for its turn to run.
    """

    plan: Plan
    processes: int
    seconds: float
    rate: float
    outcomes: Counter[Outcome]
    reasons: dict[Outcome, str]
    latency: Histogram
    sent: int
    received: int
    ran: float
    waited: float

    @classmethod
    def of(cls, plan: Plan, tallies: Sequence[Tally]) -> "BenchReport":
        """Return what the processes' tallies add up to."""
        outcomes: Counter[Outcome] = Counter()
        reasons: dict[Outcome, str] = {}
        latency = Histogram()
        for tally in tallies:
            outcomes += tally.outcomes
            reasons = tally.reasons | reasons
            latency.merge(tally.latency)
        busiest = max(tallies, key=lambda each: (each.busy.ran + each.busy.waited) / (each.seconds or 1))
        return cls(
            plan=plan,
            processes=len(tallies),
            seconds=max(each.seconds for each in tallies),
            rate=sum(each.in_time / each.seconds for each in tallies if each.seconds),
            outcomes=outcomes,
            reasons=reasons,
            latency=latency,
            sent=sum(each.sent for each in tallies),
            received=sum(each.received for each in tallies),
            ran=busiest.busy.ran / (busiest.seconds or 1),
            waited=busiest.busy.waited / (busiest.seconds or 1),
        )

    @property
    def good(self) -> int:
        """How many sessions brought eight cookies."""
        return self.outcomes[Outcome.OK]

    @property
    def client_bound(self) -> bool:
        """Whether a client process was as busy as it can be, so that the server may well bear more."""
        return self.ran + self.waited >= BUSY

    def lines(self) -> list[tuple[str, str]]:
        """Return it as labels and values."""
        lines = [
            ("Sessions", f"{self.good} good in {self.seconds:.1f} s, {self.rate:.1f} per second"),
            ("Failed", str(self.outcomes.total() - self.good)),
        ]
        for outcome in Outcome:
            if outcome is not Outcome.OK and (number := self.outcomes[outcome]):
                reason = self.reasons.get(outcome, "")
                lines.append((f"- {outcome}", f"{number}, the first: {reason}"))
        if self.good:
            parts = [f"p{percent} {_ms(self.latency.percentile(percent))}" for percent in PERCENTILES]
            lines.append(("Time to cookies", ", ".join([*parts, f"max {_ms(self.latency.longest)}"])))
        lines += [
            ("TCP payload", f"{self.sent} bytes sent, {self.received} received"),
            ("Client's CPU", f"{self.ran:.0%} of a core busy, {self.waited:.0%} waiting for one (the busiest process)"),
        ]
        if self.client_bound:
            lines.append(("Bottleneck", "this client: add --processes, or run it on a machine with idle cores"))
        return lines

    def as_json(self) -> dict[str, Any]:
        """Return it for machines; times are in seconds, shares of one core between 0 and 1."""
        return {
            "host": self.plan.host,
            "port": self.plan.port,
            "name": self.plan.name,
            "connections": self.plan.connections,
            "rate": self.plan.rate,
            "processes": self.processes,
            "seconds": self.seconds,
            "sessions": self.good,
            "sessions_per_second": self.rate,
            "outcomes": {outcome.value: self.outcomes[outcome] for outcome in Outcome},
            "reasons": {outcome.value: reason for outcome, reason in self.reasons.items()},
            "latency": {f"p{percent}": self.latency.percentile(percent) for percent in PERCENTILES}
            | {"max": self.latency.longest if self.good else None},
            "bytes_sent": self.sent,
            "bytes_received": self.received,
            "client_ran": self.ran,
            "client_waited": self.waited,
            "client_bound": self.client_bound,
        }


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.2f} ms"
