"""Backends of a pool that keep their own keys: real daemons whose NTS-KE servers the gateway asks for cookies."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

from ntspool.app.throwaway import Authority
from ntspool.pool.model import FIXED_KEY
from tests.interop.daemons import Daemon, OwnKe, endpoint, ntpd_rs
from tests.interop.lab import free_port, wait_until, working_directory
from tests.interop.pool import Member

MEASUREMENTS = 10
"""After so many ntpd-rs knows how fast its clock runs; before, it tells of a great root dispersion now and then."""


def following(member: Member) -> Callable[..., AbstractContextManager[Daemon]]:
    """Return what runs an ntpd-rs that has the time of another member: without any, it calls itself unsynchronised."""

    @contextmanager
    def run(*places: Any, **settings: Any) -> Iterator[Daemon]:
        with ntpd_rs(*places, source=endpoint(member.addresses[0], member.port), **settings) as daemon:
            wait_until("ntpd-rs to know its clock", lambda: daemon.log().count("Offset:") >= MEASUREMENTS)
            yield daemon

    return run


def own_ke(*addresses: str) -> OwnKe:
    """Return a new NTS-KE server for a daemon at `addresses`, with an authority and a token of its own."""
    return OwnKe(Authority.make(datetime.now(UTC)), secrets.token_hex(32), free_port(*addresses))


@contextmanager
def own_keys(
    name: str, *addresses: str, run: Callable[..., AbstractContextManager[Daemon]], weight: int = 10
) -> Iterator[Member]:
    """Yield a member of a pool that keeps its own keys; an authority of its own vouches for it, by its addresses."""
    with working_directory() as directory:
        ke = own_ke(*addresses)
        ke.authority.write(directory / "ca.pem")
        token = directory / "token"
        token.touch(mode=0o600)
        token.write_text(ke.token)
        more = f", weight: {weight}, ke: {{port: {ke.port}, ca: {directory}/ca.pem, token: {token}}}"
        yield Member(name, addresses, partial(run, ke=ke), FIXED_KEY, more=more)
