"""When workers get a Snapshot, and what becomes of one that cannot be made."""

import asyncio
import contextlib

from structlog.testing import capture_logs

from ntspool.app import snapshots
from ntspool.app.snapshots import Snapshots


class Takers:
    """Stands for the workers: keeps what it is given."""

    def __init__(self):
        self.given = []
        self.taken = asyncio.Event()

    async def publish(self, snapshot):
        self.given.append(snapshot)
        self.taken.set()


def test_one_that_cannot_be_made_is_told_and_the_next_one_is_published(monkeypatch):
    monkeypatch.setattr(snapshots, "RETRY", 0)

    def make(revision):
        if revision == 1:
            raise ValueError("our own mistake")
        return revision

    async def run():
        takers = Takers()
        published = Snapshots(make, takers)
        published.request()
        following = asyncio.create_task(published.publish_on_change())
        async with asyncio.timeout(10):
            await takers.taken.wait()
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following
        return takers.given, published.served

    with capture_logs() as logs:
        assert asyncio.run(run()) == ([2], 2)
    assert [each["event"] for each in logs] == ["snapshot not published"]
