"""The client of etcd, where an endpoint takes a connection and says nothing, or no."""

import asyncio

import pytest

from ntspool.errors import ConflictError, StoreAwayError
from ntspool.net.etcd import Etcd, EtcdSettings, StoreCounts


def test_a_watch_that_nobody_answers_ends_and_the_silent_endpoint_is_asked_last():
    asked = asyncio.Event()

    async def silent(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await reader.read()
        writer.close()

    async def run():
        async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
            mute = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            async with Etcd(EtcdSettings((mute, "http://127.0.0.1:1"), "/ntspool/")) as etcd:
                watch = asyncio.create_task(anext(etcd.watch(1, 0.2)))
                await asked.wait()
                # Another call has found out in the meantime.
                etcd._prefer("http://127.0.0.1:1")
                with pytest.raises(StoreAwayError, match="was lost: no answer in time"):
                    async with asyncio.timeout(20):
                        await watch
                assert etcd._endpoints == ["http://127.0.0.1:1", mute]

    asyncio.run(run())


def test_a_conflict_is_counted_as_one_and_not_as_a_write():
    async def refusing(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        body = b'{"header":{"revision":"5"}}'
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        await reader.read()
        writer.close()

    async def run():
        counts = StoreCounts()
        async with await asyncio.start_server(refusing, "127.0.0.1", 0) as server:
            where = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            async with Etcd(EtcdSettings((where,), "/ntspool/"), counts) as etcd:
                with pytest.raises(ConflictError):
                    await etcd.put_if("orders", b"ours", 3)
        assert counts.calls == {("put_if", "conflict"): 1}

    asyncio.run(run())
