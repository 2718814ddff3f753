"""What a cluster costs its etcd, and how fast news spreads.    usage: python -m benches.cluster [--gateways 20] ...

Gateways are the real code from the store up, without sessions and probes: each follows the store, keeps its lease, and
reports every two seconds; now and then a backend changes its state everywhere. A new keyring is written at one of them,
again and again, and the time until each of the others has it on disk is measured. Needs etcd (NTSPOOL_DAEMONS).
"""

import argparse
import asyncio
import os
import random
import statistics
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from ntspool.app.cluster import HEARTBEAT
from ntspool.app.sharing import SHARED
from ntspool.net.etcd import EtcdSettings
from ntspool.net.membership import Membership
from ntspool.net.mirror import Mirror
from ntspool.net.remote import Remote
from ntspool.net.sealed import MARK
from ntspool.net.store import FileStore
from ntspool.pool.cluster import GatewayReport
from ntspool.pool.quorum import Opinion
from tests.interop.etcd import EtcdCluster, etcd
from tests.waiting import until

TICK = os.sysconf("SC_CLK_TCK")
KEYRING = 2048


@dataclass
class Gateway:
    """One gateway of the bench; `seen` is when its copy of the keyring was last replaced, by the steady clock."""

    name: str
    remote: Remote
    mirror: Mirror
    membership: Membership
    seen: float = 0.0

    def note(self, names: frozenset[str]) -> None:
        if "keyring" in names:
            self.seen = time.monotonic()


def join(number: int, shared: EtcdCluster, folder: Path) -> Gateway:
    remote = Remote(EtcdSettings(shared.endpoints, "/bench/"))
    mirror = Mirror(remote, FileStore(folder / str(number)), SHARED, "/bench/")
    mirror.start(30.0)
    gateway = Gateway(f"gateway-{number}", remote, mirror, Membership(remote, mirror, f"gateway-{number}"))
    mirror.listen(gateway.note)
    return gateway


async def report(gateway: Gateway, backends: int) -> None:
    """Report for ever, as app/cluster.py does; once a minute what a probe finds has changed."""
    names = [f"ntp-{number}.example.com" for number in range(backends)]
    down = 0
    while True:
        now = time.time()
        opinion = Opinion(frozenset(names[down:]), dict.fromkeys(names[:down], "no answer"))
        told = GatewayReport(gateway.name, now, now, "bench", ready=True, epoch=3, reached={3: now})
        await gateway.membership.tell(
            {f"opinions/{gateway.name}": opinion.encode(), f"gateways/{gateway.name}": told.encode()}
        )
        down = (int(now) // 60) % 3
        await asyncio.sleep(HEARTBEAT * random.uniform(0.9, 1.1))


def used(shared: EtcdCluster) -> tuple[float, float]:
    """Return the seconds of CPU that etcd's members have used, and the MiB that the largest of them holds."""
    seconds, memory = 0.0, 0.0
    for each in shared.members.values():
        fields = Path(f"/proc/{each.process.pid}/stat").read_text().rpartition(")")[2].split()
        seconds += (int(fields[11]) + int(fields[12])) / TICK
        memory = max(memory, int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 2**20)
    return seconds, memory


async def measure(gateways: list[Gateway], shared: EtcdCluster, stated: argparse.Namespace) -> None:
    reporting = [asyncio.create_task(report(each, stated.backends)) for each in gateways]
    await asyncio.sleep(5.0)
    cpu, _ = used(shared)
    own, began = time.process_time(), time.monotonic()
    spread = []
    for _ in range(stated.rotations):
        await asyncio.sleep(1.0)
        writer = random.choice(gateways)
        held = writer.mirror.get("keyring")
        ring = MARK + os.urandom(KEYRING)
        written = time.monotonic()
        await asyncio.to_thread(writer.mirror.put_if, "keyring", ring, held and held[1])
        others = [each for each in gateways if each is not writer]
        await until(lambda others=others, written=written: all(each.seen >= written for each in others))
        spread.append(max(each.seen for each in gateways) - written)
    seconds = time.monotonic() - began
    after, memory = used(shared)
    for task in reporting:
        task.cancel()
    calls = sum(sum(each.remote.counts.calls.values()) for each in gateways)
    print(f"{len(gateways)} gateways, {stated.backends} backends, {seconds:.0f} s")
    print(f"  until all have a new keyring: {statistics.median(spread):.3f} s median, {max(spread):.3f} s worst")
    print(f"  etcd: {(after - cpu) / seconds:.3f} cores over three members, {memory:.0f} MiB the largest of them")
    print(f"  gateways: {(time.process_time() - own) / seconds / len(gateways):.4f} cores each, {calls} calls in all")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gateways", type=int, default=20)
    parser.add_argument("--backends", type=int, default=2000)
    parser.add_argument("--rotations", type=int, default=20)
    stated = parser.parse_args()
    with ExitStack() as stack:
        shared = stack.enter_context(etcd(3))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        gateways = [join(number, shared, folder) for number in range(stated.gateways)]
        for each in gateways:
            stack.callback(each.remote.close)
        asyncio.run(measure(gateways, shared, stated))


if __name__ == "__main__":
    main()
