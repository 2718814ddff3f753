"""Handing over between tasks of one process: who gets which sockets, who is told to finish, and who is not believed."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys

import pytest
from structlog.testing import capture_logs

from ntspool.errors import LocalError
from ntspool.net import handover as handover_module
from ntspool.net import successor as successor_module
from ntspool.net.filelock import FileLock
from ntspool.net.handover import FINISH, OFFER, TAKEN, Handover, message_of, packet
from ntspool.net.successor import Successor
from ntspool.net.system import listen
from tests.waiting import until


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    monkeypatch.setattr(handover_module, "OFFER_INTERVAL", 0.01)
    monkeypatch.setattr(successor_module, "OFFER_DEADLINE", 0.3)


@pytest.fixture
def sockets():
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(listen("127.0.0.1", 0)) for _ in range(3)]


def _where(sockets):
    return {each.getsockname()[:2] for each in sockets}


def _is_locked(path):
    lock = FileLock(path)
    free = lock.take()
    lock.release()
    return not free


@contextlib.asynccontextmanager
async def started(directory):
    successor = Successor(directory)
    await successor.start()
    try:
        yield successor
    finally:
        await successor.stop()


@contextlib.contextmanager
def offering(directory, *offers):
    """Run workers' sides, one for each list of sockets; yield (task, handover) of each."""
    sides = [Handover(directory, offer) for offer in offers]
    tasks = [asyncio.create_task(side.run()) for side in sides]
    try:
        yield list(zip(tasks, sides, strict=True))
    finally:
        for task in tasks:
            task.cancel()


def _end(side):
    """End a worker's side as the end of its process does."""
    side.withdraw()
    side._connection.close()


async def _gathered(successor):
    gathered = await successor.gather()
    for each in gathered.values():
        each.close()
    return set(gathered)


def test_without_anybody_there_is_nothing_and_no_waiting(tmp_path, monkeypatch):
    monkeypatch.setattr(successor_module, "OFFER_DEADLINE", 3600)

    async def scene():
        async with started(tmp_path) as successor:
            return await successor.gather()

    assert asyncio.run(scene()) == {}
    assert not (tmp_path / "handover.sock").exists()


def test_each_address_comes_once_and_all_are_told_to_finish_when_others_serve(tmp_path, sockets, monkeypatch):
    monkeypatch.setattr(successor_module, "OFFER_DEADLINE", 3600)

    async def scene():
        with offering(tmp_path, sockets[:2], sockets[1:]) as workers:
            async with started(tmp_path) as successor:
                gathered = await _gathered(successor)
                assert not any(task.done() for task, _ in workers)
                successor.finish(20)
                for task, side in workers:
                    await task
                    _end(side)
                return gathered

    assert asyncio.run(scene()) == _where(sockets)


def test_what_was_handed_over_is_the_same_socket_and_closed_on_exec(tmp_path, sockets):
    async def scene():
        with offering(tmp_path, sockets[:1]):
            async with started(tmp_path) as successor:
                [(where, each)] = (await successor.gather()).items()
                with each, socket.create_connection(where) as client:
                    accepted, peer = sockets[0].accept()
                    accepted.close()
                    assert client.getsockname() == peer
                    return os.get_inheritable(each.fileno())

    assert asyncio.run(scene()) is False


def test_who_is_not_told_to_finish_offers_to_the_next(tmp_path, sockets):
    async def scene():
        with offering(tmp_path, sockets) as [(task, side)]:
            async with started(tmp_path) as first:
                seen = [await _gathered(first)]
            assert not task.done()
            await until(lambda: _is_locked(tmp_path / "workers.lock"))
            async with started(tmp_path) as second:
                seen.append(await _gathered(second))
                second.finish(20)
                await task
                _end(side)
            return seen

    assert asyncio.run(scene()) == [_where(sockets)] * 2


def test_a_worker_that_finishes_by_itself_is_not_waited_for(tmp_path, sockets, monkeypatch):
    monkeypatch.setattr(successor_module, "OFFER_DEADLINE", 3600)

    async def scene():
        with offering(tmp_path, sockets) as [(task, side)]:
            task.cancel()
            side.withdraw()
            async with started(tmp_path) as successor:
                return await _gathered(successor)

    assert asyncio.run(scene()) == set()


def test_one_that_keeps_silent_is_waited_for_no_longer_than_the_deadline_and_told_to_finish_when_it_comes(
    tmp_path, sockets
):
    async def scene():
        silent = Handover(tmp_path, sockets)
        with capture_logs() as logs:
            async with started(tmp_path) as successor:
                assert await _gathered(successor) == set()
                successor.finish(20)
                await silent.run()
                _end(silent)
        return [entry["event"] for entry in logs]

    assert asyncio.run(scene()) == [
        "workers of an earlier gateway keep silent",
        "worker of an earlier gateway finished",
    ]


def test_who_does_not_end_in_time_is_killed(tmp_path):
    code = (
        "import asyncio, pathlib, sys\n"
        "from ntspool.net.handover import Handover\n"
        "from ntspool.net.system import listen\n"
        "async def run():\n"
        "    side = Handover(pathlib.Path(sys.argv[1]), [listen('127.0.0.1', 0)])\n"
        "    print(flush=True)\n"
        "    await side.run()\n"
        "    await asyncio.sleep(3600)\n"
        "asyncio.run(run())"
    )

    async def scene(worker):
        async with started(tmp_path) as successor:
            assert len(await _gathered(successor)) == 1
            successor.finish(0.05)
            await until(lambda: worker.poll() is not None)

    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as worker:
        try:
            worker.stdout.readline()
            asyncio.run(scene(worker))
            assert worker.returncode == -signal.SIGKILL
        finally:
            worker.kill()


def test_two_control_processes_are_one_too_many(tmp_path):
    async def scene():
        async with started(tmp_path):
            with pytest.raises(LocalError, match="another gateway runs with the state directory"):
                async with started(tmp_path):
                    pass
            assert (tmp_path / "handover.sock").is_socket()
        async with started(tmp_path):
            pass

    asyncio.run(scene())


def test_the_directory_may_have_a_long_name(tmp_path, sockets):
    directory = tmp_path / ("x" * 120)
    directory.mkdir()

    async def scene():
        with offering(directory, sockets):
            async with started(directory) as successor:
                return await _gathered(successor)

    assert asyncio.run(scene()) == _where(sockets)


# Whom it does not believe.


def test_the_socket_is_for_its_owner_alone(tmp_path):
    async def scene():
        async with started(tmp_path):
            return (tmp_path / "handover.sock").stat().st_mode & 0o777

    assert asyncio.run(scene()) == 0o600


def test_other_users_are_cut_off_by_both_sides(tmp_path, sockets, monkeypatch):
    async def scene():
        with offering(tmp_path, sockets) as [(task, _)]:
            async with started(tmp_path) as successor:
                monkeypatch.setattr(os, "geteuid", lambda: 12345)
                # What connects here is root in some environments, who is believed.
                monkeypatch.setattr(handover_module, "_ROOT", 54321)
                assert await successor.gather() == {}
                assert not task.done()

    asyncio.run(scene())


async def _strange(directory, data, descriptors=()):
    """Say something to a control process; return what it answers."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK) as strange:
        strange.connect(str(directory / "handover.sock"))
        socket.send_fds(strange, [data], descriptors)
        with contextlib.suppress(ConnectionResetError):
            return await asyncio.get_running_loop().sock_recv(strange, 4096)


@pytest.mark.parametrize(
    "data",
    [b"rubbish", b"\xff", b"{}", b"[" * 4000, b"9" * 4000, b'{"version": 2, "message": "offer"}', packet(TAKEN)],
)
def test_what_is_no_offer_is_cut_off_and_its_sockets_are_closed(tmp_path, sockets, data):
    async def scene():
        async with started(tmp_path) as successor:
            before = len(os.listdir("/proc/self/fd"))
            assert not await _strange(tmp_path, data, [sockets[0].fileno()])
            assert len(os.listdir("/proc/self/fd")) == before
            return await successor.gather()

    assert asyncio.run(scene()) == {}


def test_sockets_that_do_not_listen_are_refused(tmp_path):
    async def scene():
        async with started(tmp_path) as successor:
            with (
                socket.socket() as idle,
                socket.socket(socket.AF_UNIX) as unix,
                socket.socket(type=socket.SOCK_DGRAM) as udp,
            ):
                for each in (idle, unix, udp):
                    assert not await _strange(tmp_path, packet(OFFER), [each.fileno()])
            return await successor.gather()

    assert asyncio.run(scene()) == {}


def test_one_that_says_nothing_holds_nobody_up(tmp_path, sockets):
    async def scene():
        async with started(tmp_path) as successor:
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as silent, offering(tmp_path, sockets):
                silent.connect(str(tmp_path / "handover.sock"))
                gathered = await _gathered(successor)
                silent.settimeout(20)
                assert await asyncio.to_thread(silent.recv, 1) == b""
                return gathered

    assert asyncio.run(scene()) == _where(sockets)


def test_packets_are_of_this_version():
    assert message_of(packet(FINISH)) == FINISH
    assert message_of(b'{"version": 1, "message": "finish", "more": []}') == FINISH
    for other in (b"", b"[]", b'{"version": 2, "message": "finish"}', b'{"version": 1, "message": 7}'):
        assert message_of(other) is None
