"""The pool's name at real DNS servers: it follows the gateways, and no mishap takes the last of them away."""

import asyncio
import re
import signal
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

import pytest

from ntspool.app.throwaway import Authority
from ntspool.errors import RemoteError
from ntspool.net.primary import connected
from ntspool.net.tsig import read_key
from ntspool.pool.publishing import ALONE, Gateway, Publication, plan, questions
from tests.interop.daemons import timeserver
from tests.interop.lab import wait_until
from tests.interop.nameservers import NameServer, bind, knot, write_key
from tests.interop.pool import Member, Pool, laid_out

NAME = "ntp-pool.example.com"
SERVICE = f"_ntske._tcp.{NAME}"
TTL = 5
ALERT = "{interval: 200ms, timeout: 180ms, rise: 1, fall: 3, panic: 100}"
"""Probes that find a gateway's only backend dead, and do not suspect the network."""


@pytest.fixture(params=[knot, bind])
def server(request):
    """Make a DNS server that does not run yet."""
    with request.param() as server:
        yield server


@dataclass
class Published:
    """A gateway that publishes itself, as number `number` of several."""

    pool: Pool
    number: int

    @property
    def addresses(self):
        return f"192.0.2.{self.number}", f"2001:db8::{self.number}"

    @property
    def target(self):
        return f"0 {self.number} {self.pool.port} gw{self.number}.{NAME}."

    def serves(self):
        return self.pool.given_out(1) == {"ntp-1"}


@contextmanager
def published(server, number):
    """Make a gateway with one backend; neither runs yet."""
    member = Member("ntp-1", ("127.0.0.1",), run=timeserver, cookies="ntspool")
    with laid_out([member], health=ALERT) as pool:
        authority = Authority.make(datetime.now(UTC))
        authority.write(pool.ca)
        names = ["localhost", "example.com", "*.example.com", f"*.{NAME}"]
        authority.issue(names, [], pool.directory, datetime.now(UTC))
        text = pool.config.read_text().replace("names: [localhost]", f"names: [{NAME}]")
        own = Published(pool, number)
        pool.config.write_text(
            f"{text}dns:\n  publish: {{server: '{server.host}:{server.port}', key: {server.key}, ttl: {TTL}s,"
            f" addresses: {list(own.addresses)}, host: gw{number}.{NAME}, weight: {number}}}\n"
        )
        yield own


def shown(server, *gateways):
    """Tell whether the name leads to these gateways and no others, by every type of record."""
    return (
        server.look_up(NAME, "A") == {each.addresses[0] for each in gateways}
        and server.look_up(NAME, "AAAA") == {each.addresses[1] for each in gateways}
        and server.look_up(SERVICE, "SRV") == {each.target for each in gateways}
    )


def test_the_name_follows_the_gateways_and_keeps_the_last(server):
    with ExitStack() as stack:
        stack.enter_context(server.run())
        one, two = (stack.enter_context(published(server, number)) for number in (1, 2))
        stack.enter_context(one.pool.daemon("ntp-1"))
        first = stack.enter_context(one.pool.gateway())
        wait_until("the first to be there", lambda: shown(server, one))
        assert server.ttl(NAME, "A") == TTL
        wait_until("its slots to be there", lambda: server.look_up(f"9.{NAME}", "CNAME") == {f"{NAME}."})
        assert server.look_up(f"0.{NAME}", "A") == {one.addresses[0]}
        assert server.look_up(f"gw1.{NAME}", "AAAA") == {one.addresses[1]}
        second = stack.enter_context(two.pool.gateway())
        with two.pool.daemon("ntp-1"):
            wait_until("both to be there", lambda: shown(server, one, two))
        wait_until("the second to go with its backend", lambda: shown(server, one))
        with two.pool.daemon("ntp-1"):
            wait_until("both to be there again", lambda: shown(server, one, two))
            first.send_signal(signal.SIGTERM)
            first.wait()
            assert shown(server, two)
            second.send_signal(signal.SIGTERM)
            second.wait()
        assert shown(server, two), "the last one was withdrawn"
        assert {each["type"] for each in two.pool.log("DNS publishing: last records stay")} == {"A", "AAAA", "SRV"}


@pytest.mark.parametrize("server", [knot], indirect=True)
def test_a_dead_dns_server_hurts_nobody_and_is_caught_up_with(server):
    with published(server, 1) as one, one.pool.daemon("ntp-1"), one.pool.gateway():
        [trouble] = wait_until("the trouble to be told", lambda: one.pool.log("DNS publishing: trouble"))
        assert trouble["reason"] == "Connection refused"
        assert one.serves()
        with server.run():
            wait_until("it to be there", lambda: shown(server, one))
            wait_until("the end of it to be told", lambda: one.pool.log("DNS publishing: trouble is over"))
        assert one.serves()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("pool", "it has another secret or algorithm for the key pool (BADSIG)"),
        ("pol", "it does not know the key pol (BADKEY)"),
    ],
)
def test_a_wrong_key_is_told_as_such(server, name, reason):
    wrong = server.directory / "wrong"
    write_key(wrong, name)
    own = Gateway((ip_address("192.0.2.1"),))
    with server.run():
        with pytest.raises(RemoteError, match=re.escape(reason)):
            asyncio.run(_turn(server, Publication((NAME,), own, TTL), wrong))
        assert shown(server)


def test_what_the_key_may_not_change_is_told(server):
    with server.run():
        own = Gateway((ip_address("192.0.2.1"),))
        with pytest.raises(RemoteError, match="REFUSED: it does not let the key pool do that"):
            asyncio.run(_turn(server, Publication(("pool.example.net",), own, TTL)))


async def _turn(server: NameServer, publication: Publication, key: Path | None = None) -> int:
    """Let a gateway look and act once; return how many of its changes were overtaken."""
    async with connected((server.host, server.port), read_key(key or server.key), 60) as primary:
        todo = plan(publication, ALONE, frozenset(), await primary.read(questions(publication)))
        await asyncio.sleep(0)
        done = [await primary.change("example.com", each, publication.ttl) for each in todo.changes]
    return done.count(False)


def test_gateways_that_come_and_go_at_the_same_time_never_empty_the_name(server):
    gateways = [Gateway((ip_address(f"192.0.2.{number}"),), f"gw{number}.{NAME}") for number in (1, 2, 3)]
    publications = [Publication((NAME,), each, TTL, slots=False) for each in gateways]

    async def come_and_go():
        overtaken = 0
        for _ in range(15):
            for ready in (True, False):
                turns = [_turn(server, replace(each, own=replace(each.own, ready=ready))) for each in publications]
                overtaken += sum(await asyncio.gather(*turns))
                for kind, name in (("A", NAME), ("SRV", SERVICE)):
                    assert len(server.look_up(name, kind)) >= (3 if ready else 1)
        return overtaken

    with server.run():
        assert asyncio.run(come_and_go()), "they never came into each other's way"


def test_what_the_operator_has_there_stays(server):
    with server.run():
        server.edit(lambda update: update.add(f"{NAME}.", 300, "A", "192.0.2.200"))
        server.edit(lambda update: update.add(f"1.{NAME}.", 300, "A", "192.0.2.201"))
        publication = Publication((NAME,), Gateway((ip_address("192.0.2.1"),)), TTL)
        assert asyncio.run(_turn(server, publication)) == 0
        assert server.look_up(NAME, "A") == {"192.0.2.1", "192.0.2.200"}
        assert server.look_up(f"1.{NAME}", "A") == {"192.0.2.201"}
        gone = replace(publication, own=replace(publication.own, ready=False))
        assert asyncio.run(_turn(server, gone)) == 0
        assert server.look_up(NAME, "A") == {"192.0.2.200"}
