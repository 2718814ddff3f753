"""A chronyd that comes while its network floods the gateway, and comes again when that is over."""

import time
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

from ntspool.pool.limits import TurnedAway
from tests.abuse.scenarios import Scenario
from tests.abuse.scene import Scene, attackers, attacking, scene
from tests.interop.clients import chrony_client
from tests.interop.lab import here, wait_until

NETWORK = "127.0.0.0/24"
FLOOD = Scenario("a flood from chronyd's network", "garbage", everywhere=False, rate=20_000)
LIMITS = "{per_network: {rate: 1, burst: 500}, per_address: {rate: 1, burst: 500}}"
"""Of every second's crowd one may come in; that it is chronyd is unlikely."""

PATIENCE = 60.0


def comes_again_after(directory: Path) -> float:
    """Return the seconds from when chronyd was turned away until it had its cookies; the flood ends after one."""
    # chronyd gives up its privileges, and must get at the authority's certificate all the same.
    directory.chmod(0o755)
    with scene(directory, LIMITS) as set_up, ExitStack() as stack:
        with attacking(attackers(set_up, FLOOD, 1, NETWORK)):
            wait_until("the network's limit", lambda: _turned_away(set_up), PATIENCE)
            gateway = SimpleNamespace(network=here(), port=set_up.port, ca=set_up.ca)
            client = stack.enter_context(chrony_client(gateway))
            wait_until("the first try", lambda: (auth := client.auth()) and auth.attempts, PATIENCE)
            began = time.monotonic()
            time.sleep(1.0)
            assert not client.auth().cookies, "chronyd was let in"
        wait_until("cookies", lambda: (auth := client.auth()) and auth.cookies, PATIENCE)
        return time.monotonic() - began


def _turned_away(set_up: Scene) -> int:
    return set_up.counters()["ntspool_clients_turned_away_total", TurnedAway.NETWORK_RATE.value]
