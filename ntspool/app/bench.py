"""`ntspool bench`: what a gateway bears, told by real sessions from processes of their own."""

import contextlib
import multiprocessing
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_address
from multiprocessing.connection import Connection, wait

from ntspool.app.benchreport import BenchReport
from ntspool.errors import LocalError, RemoteError, UnreachableError
from ntspool.net import eventloop
from ntspool.net.load import PATIENCE, Load, Outcome, Plan, Tally
from ntspool.net.tls import client_context

POLITE_RATE = 100.0
"""Sessions a second by default, and the most that any server is given without the user's word that it is theirs."""

POLITE_CONNECTIONS = 16

_START_UP = 10.0


def resolve(host: str, port: int) -> str:
    """Return the address that a load on `host` goes to, the first; raises UnreachableError when there is none."""
    try:
        return str(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise UnreachableError(f"{host} does not resolve: {error.strerror}") from error


def is_polite(plan: Plan) -> bool:
    """Tell whether a plan is no burden for anybody, or its target is in a private network or on this machine."""
    modest = plan.rate is not None and plan.rate <= POLITE_RATE and plan.connections <= POLITE_CONNECTIONS
    return modest or not ip_address(plan.host.partition("%")[0]).is_global


def try_once(plan: Plan) -> None:
    """Be one client, so that no load goes to what is no NTS-KE server of that name.

    Raises UnreachableError when nothing answers, RemoteError when there are no cookies, CertificateError when the
    plan's `ca` cannot be used.
    """
    tally = _run(replace(plan, connections=1, rate=None, duration=0.0))
    for outcome, reason in tally.reasons.items():
        words = f"{plan.host} port {plan.port}: {reason}"
        raise UnreachableError(words) if outcome in {Outcome.UNREACHABLE, Outcome.TIMEOUT} else RemoteError(words)


def run(plan: Plan, processes: int, tell: Callable[[float, int], None]) -> BenchReport:
    """Run a plan, shared evenly by `processes`; Ctrl-C ends it early.

    `tell` gets the seconds since the start and the sessions so far, several times a second.
    """
    tallies: dict[Connection, Tally] = {}
    with _shares(plan, processes) as pipes:
        began = time.monotonic()
        with contextlib.suppress(KeyboardInterrupt):
            _follow(pipes, tallies, lambda: tell(time.monotonic() - began, _sessions(tallies)))
    if len(tallies) < processes:
        raise LocalError("a client process died before it began")
    return BenchReport.of(plan, list(tallies.values()))


def _sessions(tallies: dict[Connection, Tally]) -> int:
    return sum(sum(each.outcomes.values()) for each in tallies.values())


def _follow(pipes: list[Connection], tallies: dict[Connection, Tally], news: Callable[[], None]) -> None:
    """Keep the newest tally of every pipe until all have ended."""
    while pipes:
        ready = wait(pipes, _START_UP + PATIENCE)
        if not ready:
            raise LocalError("the client processes do not answer")
        for pipe in pipes[:]:
            if pipe in ready:
                try:
                    tallies[pipe] = pipe.recv()
                except EOFError:
                    pipes.remove(pipe)
        news()


@contextlib.contextmanager
def _shares(plan: Plan, processes: int) -> Iterator[list[Connection]]:
    """Start the processes; yield a pipe from each, which brings tallies until it ends."""
    # A child forked from this process would have its threads' locks but not its threads.
    spawning = multiprocessing.get_context("spawn")
    pipes, children = [], []
    for index in range(processes):
        ours, theirs = spawning.Pipe(duplex=False)
        child = spawning.Process(target=_work, args=(_share(plan, index, processes), theirs), daemon=True)
        child.start()
        theirs.close()
        pipes.append(ours)
        children.append(child)
    try:
        yield pipes
    finally:
        for child in children:
            child.terminate()
            child.join()


def _share(plan: Plan, index: int, processes: int) -> Plan:
    """Return what one of the processes has to do."""
    connections = plan.connections // processes + (index < plan.connections % processes)
    return replace(plan, connections=connections, rate=None if plan.rate is None else plan.rate / processes)


def _work(plan: Plan, pipe: Connection) -> None:
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError), pipe:
        pipe.send(_run(plan, pipe.send))


def _run(plan: Plan, tell: Callable[[Tally], None] = lambda _: None) -> Tally:
    context = client_context(plan.ca)

    async def load() -> Tally:
        return await Load(plan, context).run(tell)

    return eventloop.run(load())
