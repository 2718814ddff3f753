"""Backends by name: clients follow what the DNS says, and nothing changes for them while it is down."""

import asyncio
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from ntspool.app.export import key_file
from ntspool.errors import LocalError
from ntspool.net.keyexchange import Server, exchange_keys
from ntspool.wire.messages import Request, Response
from tests.interop.clients import chrony_client
from tests.interop.daemons import chronyd
from tests.interop.lab import free_port, wait_until
from tests.interop.pool import PATIENT, Member, laid_out
from tests.net.dnsserver import Zone, dns_server

FIRST, SECOND, THIRD = "127.0.0.31", "127.0.0.32", "127.0.0.33"
SERVICE = "_ntske._tcp.example.com"
BRIEF = 1
"""A TTL in seconds, far below the least that a gateway heeds."""


@dataclass
class Named(Member):
    """A backend that is declared by a name in place of its addresses."""

    host: str = "ntp.example.com"

    def declaration(self):
        discovered = f"  - {{srv: {SERVICE}, port: {self.port}}}\n"
        return f"  - {{name: {self.name}, address: {self.host}, port: {self.port}}}\n{discovered}"


@contextmanager
def named_pool(zone):
    """Make a pool whose backend `ntp-1` has the addresses that `zone` says; its gateway does not run yet."""
    member = Named("ntp-1", (FIRST,), port=free_port(FIRST, SECOND, THIRD))
    with dns_server(zone), laid_out([member], health=PATIENT) as pool:
        with pool.config.open("a") as file:
            file.write(f"dns: {{servers: ['127.0.0.1:{zone.port}'], timeout: 250ms}}\n")
        yield pool


@contextmanager
def daemon_at(pool, address, name="ntp-1"):
    """Run a chronyd with the keys of a backend."""
    port = pool.members["ntp-1"].port
    with chronyd(key_file(pool.config, name), addresses=[address], port=port, network=pool.network) as daemon:
        yield daemon


def given_out(pool):
    """Return the address that a client gets now, None for nobody's."""
    request = Request((0,), (15,))
    reply = asyncio.run(exchange_keys(Server("127.0.0.1", pool.port, "localhost", pool.ca), request, 10)).reply
    return reply.server if isinstance(reply, Response) else None


def zone_of(address):
    return Zone({("ntp.example.com", "A"): (BRIEF, address)}, soa_ttl=BRIEF)


def test_clients_follow_a_backend_whose_address_changes():
    zone = zone_of(FIRST)
    with ExitStack() as stack:
        pool = stack.enter_context(named_pool(zone))
        for address in (FIRST, SECOND):
            stack.enter_context(daemon_at(pool, address))
        stack.enter_context(pool.gateway())
        client = stack.enter_context(chrony_client(pool))
        traffic = client.settle()
        assert traffic.address == FIRST
        zone.records["ntp.example.com", "A"] = (BRIEF, SECOND)
        before = set()
        wait_until("the new address to be given out", lambda: before.add(given_out(pool)) or SECOND in before)
        assert before == {FIRST, SECOND}, "a client was left without an answer"
        client.come_again(traffic)
        assert client.settle().address == SECOND


def test_nothing_changes_while_the_dns_is_down_even_over_a_restart():
    zone = zone_of(FIRST)
    with ExitStack() as stack:
        pool = stack.enter_context(named_pool(zone))
        stack.enter_context(daemon_at(pool, FIRST))
        with pool.gateway():
            wait_until("the backend to be given out", lambda: given_out(pool) == FIRST)
            zone.mute = True
            [trouble] = wait_until(
                "the gateway to notice",
                lambda: [each for each in pool.log("DNS: trouble") if each["name"] == "ntp.example.com"],
            )
            assert trouble["kept"] == [FIRST]
            asked = len(zone.asked)
            wait_until("it to have asked once more", lambda: len(zone.asked) > asked + 4)
            assert given_out(pool) == FIRST
        with pool.gateway():
            wait_until("the backend to be given out", lambda: given_out(pool) == FIRST)


def test_a_backend_that_the_dns_adds_is_given_out():
    zone = zone_of(FIRST)
    with ExitStack() as stack:
        pool = stack.enter_context(named_pool(zone))
        stack.enter_context(daemon_at(pool, FIRST))
        stack.enter_context(pool.gateway())
        wait_until("the first to be given out", lambda: given_out(pool) == FIRST)
        zone.records[SERVICE, "SRV"] = (BRIEF, "0 0 4460 ntp-3.example.com.")
        zone.records["ntp-3.example.com", "A"] = (BRIEF, THIRD)

        def is_known():
            try:
                return key_file(pool.config, "ntp-3.example.com")
            except LocalError:
                return None

        wait_until("the new backend to have keys", is_known)
        with daemon_at(pool, THIRD, "ntp-3.example.com"):
            wait_until("both to be given out", lambda: {given_out(pool) for _ in range(20)} == {FIRST, THIRD})
            del zone.records[SERVICE, "SRV"]
            zone.records[SERVICE, "SRV"] = (BRIEF, "0 0 0 .")
            wait_until("the service to be gone", lambda: {given_out(pool) for _ in range(20)} == {FIRST})
