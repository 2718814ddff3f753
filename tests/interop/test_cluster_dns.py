"""The pool's name follows gateways that share a store: who lives takes out of the DNS who died without a word."""

from contextlib import ExitStack

from tests.interop.etcd import etcd
from tests.interop.lab import wait_until
from tests.interop.nameservers import knot
from tests.interop.test_dns_publishing import published, shown
from tests.processes import end_workers

PATIENCE = 80.0
"""Seconds: a lease of ten, the publisher's pauses, and a busy machine."""


def join(gateway, name, shared):
    """Have a gateway that does not run yet share the store."""
    key = gateway.pool.directory / "kek"
    key.write_text("the same key on every gateway of this test\n")
    key.chmod(0o600)
    with gateway.pool.config.open("a") as config:
        config.write(
            f"keys: {{encryption_key: {key}}}\nstore: {{etcd: [{', '.join(shared.endpoints)}]}}\n"
            f"gateway: {{name: {name}}}\n"
        )


def test_a_gateway_that_died_leaves_the_dns_and_comes_back():
    with ExitStack() as stack:
        server = stack.enter_context(knot())
        stack.enter_context(server.run())
        shared = stack.enter_context(etcd(1))
        one, two = (stack.enter_context(published(server, number)) for number in (1, 2))
        for each, name in ((one, "north"), (two, "south")):
            join(each, name, shared)
            stack.enter_context(each.pool.daemon("ntp-1"))
        stack.enter_context(one.pool.gateway())
        with two.pool.gateway() as process:
            wait_until("both to be there", lambda: shown(server, one, two), PATIENCE)
            process.kill()
            process.wait()
            end_workers(two.pool.directory / "state")
        wait_until("the dead one to be gone", lambda: shown(server, one), PATIENCE)
        stack.enter_context(two.pool.gateway())
        wait_until("both to be there again", lambda: shown(server, one, two), PATIENCE)
