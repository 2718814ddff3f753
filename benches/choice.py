"""What a choice costs, by the number of backends. Run it as `python -m benches.choice`."""

from collections.abc import Callable, Iterator
from ipaddress import ip_address
from random import Random
from time import process_time
from typing import Any

from ntspool.pool.balance import Balancer
from ntspool.pool.cookies import CookieFormat, ServerKey
from ntspool.pool.model import Backend, Balance, Client, Selection, Serving, UpAddress
from ntspool.pool.names import Names
from ntspool.wire.aead import Aead
from ntspool.wire.messages import Request
from ntspool.wire.secret import Secret

SIZES = (10, 32, 100, 1000, 5000)
CLIENTS = 2000
POOL = "pool.example"
REQUEST = Request((0,), (Aead.AES_SIV_CMAC_256,))
NAMES = Names(pools=(POOL,))


def fleet(size: int) -> Iterator[Serving]:
    """Return `size` backends, all UP, with the default weight."""
    aeads, key = (Aead.AES_SIV_CMAC_256,), ServerKey(1, Secret(bytes(32)))
    for number in range(size):
        addresses = ip_address((10 << 24) + number), ip_address((0x20010DB8 << 96) + number)
        name = f"ntp-{number}"
        backend = Backend(name, addresses, 123, 10, CookieFormat.CHRONY, aeads, name)
        yield Serving(backend, tuple(UpAddress(address, aeads, 10) for address in addresses), key)


def best_of(runs: int, work: Callable[[], object]) -> float:
    """Return the least seconds that `work` took."""
    spent = []
    for _ in range(runs):
        begin = process_time()
        work()
        spent.append(process_time() - begin)
    return min(spent)


def measure(size: int, name: str, balance: Balance = "random", request: Request = REQUEST) -> tuple[float, float]:
    """Return microseconds for a choice, and milliseconds for the first one, which makes the tables."""
    draws = Random(size)
    clients = [Client(draws.randbytes(4), name) for _ in range(CLIENTS)]
    balancer = Balancer(fleet(size), Selection(balance, NAMES))
    first = best_of(1, lambda: balancer.choose(request, clients[0], 0.5))

    def choose() -> None:
        for client in clients:
            balancer.choose(request, client, draws.random())

    return best_of(3, choose) / CLIENTS * 1e6, first * 1e3


def main() -> None:
    """Print a table."""
    ways: dict[str, tuple[Any, ...]] = {
        "random": (POOL,),
        "sticky": (POOL, "sticky"),
        "slot 0": (f"0.{POOL}",),
        "slot 3": (f"3.{POOL}",),
        "slot 9": (f"9.{POOL}",),
        "4 denied": (POOL, "random", Request((0,), (15,), denied=("ntp-1", "ntp-2", "ntp-3", "ntp-4"))),
    }
    print("backends  " + "".join(f"{way:>10}" for way in ways) + "  us; ms: new Balancer, first random, first slot")
    for size in SIZES:
        figures = {way: measure(size, *arguments) for way, arguments in ways.items()}
        row = "".join(f"{spent:10.1f}" for spent, _ in figures.values())
        every = list(fleet(size))
        fresh = best_of(3, lambda every=every: Balancer(every, Selection("random", NAMES))) * 1e3
        slowest = max(first for _, first in figures.values())
        print(f"{size:8}  {row}  {fresh:.1f}, {figures['random'][1]:.1f}, {slowest:.1f}")


if __name__ == "__main__":
    main()
