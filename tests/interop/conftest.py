"""The pool that most clients are tried against."""

import pytest

from tests.interop.pool import HOSTS, Member, running_pool


@pytest.fixture(scope="session")
def chrony_pool():
    """Three chronyd of Debian bookworm behind a gateway, IPv4 and IPv6."""
    # Each has an IPv4 address of its own, as clients want it; of IPv6's there is one only, so their ports differ.
    with running_pool([Member(f"ntp-{n}", (f"127.0.0.{10 + n}", *HOSTS[1:])) for n in (1, 2, 3)]) as pool:
        yield pool
