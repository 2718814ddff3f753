"""Networks that cables join, which can be pulled, or lose all that comes from some addresses."""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from tests.interop.lab import Network, find, kept, namespace

_HUB, _CABLE = "hub", "cable"


@dataclass(frozen=True, slots=True)
class Cable:
    """A cable from the network `here`, which is at `addresses`, one of each family, to the network `there`."""

    here: Network
    there: Network
    addresses: tuple[str, str]

    def mute(self, *addresses: str) -> None:
        """Let nothing that is sent from these addresses `there` come here, without a word to anybody."""
        self._rule("add", addresses)

    def unmute(self, *addresses: str) -> None:
        """Undo `mute`."""
        self._rule("del", addresses)

    def pull(self) -> None:
        """Unplug the cable."""
        _ip(self.here, "link", "set", _CABLE, "down")

    def plug(self) -> None:
        """Plug it in again."""
        _ip(self.here, "link", "set", _CABLE, "up")
        # With its cable an interface loses its IPv6 addresses.
        _own(self.here, _CABLE, self.addresses[1:])

    def _rule(self, verb: str, addresses: Sequence[str]) -> None:
        for address in addresses:
            options, own = (["-6"], self.addresses[1]) if ":" in address else ([], self.addresses[0])
            _ip(self.there, *options, "rule", verb, "blackhole", "from", address, "to", own)


@contextmanager
def cable(*addresses: str) -> Iterator[Cable]:
    """Lay a cable to a network that has these addresses of 10.9.0.0/24 and fd09::/64, as `star` does."""
    with star(1, *addresses) as (laid,):
        yield laid


@contextmanager
def star(count: int, *addresses: str) -> Iterator[list[Cable]]:
    """Lay cables from so many networks to one; skips the test where that is not granted.

    That one has these addresses of 10.9.0.0/24 and fd09::/64, of which what is bound to none sends from the first; the
    others are at .1 and ::1, .2 and ::2, and so on.
    """
    with namespace() as hub, ExitStack() as stack:
        _ip(hub, "link", "add", "name", _HUB, "type", "bridge")
        _ip(hub, "link", "set", _HUB, "up")
        cables = []
        for number in range(1, count + 1):
            network, keeper = stack.enter_context(kept([*hub.inside, find("unshare"), "--net"]))
            ends = ("name", f"{_CABLE}{number}", "type", "veth", "peer", "name", _CABLE, "netns", str(keeper))
            _ip(hub, "link", "add", *ends)
            _ip(hub, "link", "set", f"{_CABLE}{number}", "master", _HUB, "up")
            _ip(network, "link", "set", _CABLE, "up")
            cables.append(Cable(network, hub, (f"10.9.0.{number}", f"fd09::{number}")))
            _own(network, _CABLE, cables[-1].addresses)
        _own(hub, _HUB, addresses)
        yield cables


def _own(network: Network, interface: str, addresses: Sequence[str]) -> None:
    for address in addresses:
        length = ["/64", "nodad"] if ":" in address else ["/24"]
        _ip(network, "address", "replace", address + length[0], "dev", interface, *length[1:])


def _ip(network: Network, *words: str) -> None:
    subprocess.run([*network.inside, find("ip"), *words], check=True)
