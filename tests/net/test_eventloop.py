"""ntspool/net/eventloop.py: a connection that breaks closes no descriptor but its own."""

import asyncio
import contextlib
import gc
import os
import socket
import ssl
import struct
import threading

import aiohttp
import pytest

from ntspool.net import eventloop

ATTEMPTS = 200
"""Of uvloop's own loop, every tenth closes a descriptor twice."""


@pytest.fixture
def resetting():
    """Yield the port of a server that resets whoever comes."""
    with socket.create_server(("127.0.0.1", 0), backlog=ATTEMPTS) as listening:

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    with listening.accept()[0] as connected:
                        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_peer_that_dies_at_once_costs_no_other_descriptor(resetting, scheme):
    context = ssl.create_default_context()

    async def attempt():
        connector = aiohttp.TCPConnector(ssl=context, force_close=True)
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(30)) as session:
            with pytest.raises(aiohttp.ClientError):
                await session.get(f"{scheme}://127.0.0.1:{resetting}/")

    async def main():
        lost = 0
        for _ in range(ATTEMPTS):
            await attempt()
            others = [os.open("/dev/null", os.O_RDONLY) for _ in range(6)]
            await asyncio.sleep(0)
            gc.collect()
            for each in others:
                try:
                    os.close(each)
                except OSError:
                    lost += 1
        return lost

    before = len(os.listdir("/proc/self/fd"))
    # What there was before need not be looked through each time.
    gc.freeze()
    try:
        assert eventloop.run(main()) == 0
    finally:
        gc.unfreeze()
    # Nor does one of each connection stay open.
    assert len(os.listdir("/proc/self/fd")) < before + ATTEMPTS / 20
