"""A gateway as a process that cannot have what it needs of the system: log, descriptors, memory, DNS, certificate."""

import asyncio
import os
import resource
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ntspool.errors import LocalError, RemoteError
from tests.app.breakable import site
from tests.net.dnsserver import Zone, dns_server
from tests.processes import alive, workers_of

NAME = "ntp-1.backends.test"


@pytest.fixture
def zone(tmp_path):
    with dns_server(Zone({(NAME, "A"): (1, "127.0.0.20")})) as zone:
        yield zone


def test_what_a_process_lacks_for_a_while(tmp_path, pki, zone):
    async def scene():
        dns = f"dns: {{servers: ['127.0.0.1:{zone.port}'], timeout: 200ms}}"
        async with site(tmp_path, pki, interval="200ms", timeout="190ms") as place:
            place.configure(dns, interval="200ms", timeout="190ms")
            config = place.around.config
            config.write_text(config.read_text().replace("address: 127.0.0.20", f"address: {NAME}"))
            for name in place.around.names:
                await place.serve_time(name)
            gateway = await place.start()
            await _certificates(place, pki)
            await _descriptors_of_a_worker(place)
            await _descriptors_of_the_control_process(place, gateway)
            await _memory(place)
            place.check_that_nothing_broke()
            await _no_dns(place, zone)
            await _an_expired_certificate(place, pki)
            await _a_full_log(place)

    asyncio.run(scene())


async def _certificates(place, pki):
    """What is half there, does not fit or has expired is refused whole, with the configuration beside it."""
    around, chain, key = place.around, pki.chain.read_bytes(), pki.key.read_bytes()
    _, other = _issued(around.directory / "other", pki, timedelta(0))
    old, olds = _issued(around.directory / "old", pki, timedelta(days=3))
    async with place.steady():
        for written, words in (
            ((chain, other), "is not the private key of the certificate in"),
            ((chain[: len(chain) // 2], key), "holds no certificate in PEM"),
            ((chain + pki.ca.read_bytes()[:-30], key), "written only in part"),
            ((chain, b""), "holds no unencrypted private key"),
            ((old, olds), "has expired, and what is served has not"),
        ):
            around.write_certificate(*written)
            await place.refused(words, "POST", "/v1/reload")
        around.write_certificate(*_issued(around.directory / "new", pki, timedelta(0)))
        await place.ask("POST", "/v1/reload")
        assert place.log("gateway", "certificates reloaded")
    assert place.log("gateway", "certificate expires soon")


async def _descriptors_of_a_worker(place):
    """Clients wait in the queue meanwhile."""
    [worker] = workers_of(place.around.state)
    limit = _leave_no_descriptors(worker)
    waiting = asyncio.create_task(place.session())
    await place.until(lambda: place.log("gateway", "accept paused"))
    assert not waiting.done()
    resource.prlimit(worker, resource.RLIMIT_NOFILE, limit)
    await waiting
    assert workers_of(place.around.state) == {worker}


async def _descriptors_of_the_control_process(place, gateway):
    """Sessions go on; keys stay as they are; a worker that dies meanwhile is replaced afterwards."""
    current, [worker] = await place.current(), workers_of(place.around.state)
    limit = _leave_one_descriptor(gateway.pid)
    async with place.steady():
        await place.until_told(lambda: _is_refused_for_descriptors(place))
    os.kill(worker, signal.SIGKILL)
    _leave_no_descriptors(gateway.pid)
    await place.until(lambda: any("not started" in each["reason"] for each in place.log("gateway", "worker died")))
    resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE, limit)
    await place.session()
    assert await place.current() == current
    await place.ask("POST", "/v1/keys/rotate")


async def _memory(place):
    """A worker goes on once there is memory again, or another one in its place."""
    [worker] = workers_of(place.around.state)
    pages = int(Path(f"/proc/{worker}/statm").read_text().split()[0])
    limit = resource.prlimit(worker, resource.RLIMIT_AS)
    resource.prlimit(worker, resource.RLIMIT_AS, (pages * resource.getpagesize(), limit[1]))
    told = await asyncio.gather(*(place.around.session() for _ in range(20)), return_exceptions=True)
    assert not [each for each in told if isinstance(each, Exception) and not isinstance(each, RemoteError)]
    if alive(worker):
        resource.prlimit(worker, resource.RLIMIT_AS, limit)
    # As the kernel does with one that takes more than there is.
    os.kill(worker, signal.SIGKILL)
    await place.until(lambda: workers_of(place.around.state) - {worker})
    await place.session()


async def _no_dns(place, zone):
    """The last good answers serve, after a restart too; without them, those backends that need none."""
    zone.rcodes[NAME] = "SERVFAIL"
    async with place.steady():
        await place.until(lambda: place.log("gateway", "DNS: trouble"))
        await place.ask("POST", "/v1/reload")
        assert await place.minting() == {"ntp-1": 4, "ntp-2": 4}
    await place.end("gateway")
    await place.start()
    assert (await place.minting()).keys() == {"ntp-1", "ntp-2"}
    # Servers that say nothing at all cost time, too.
    zone.mute = True
    async with place.steady():
        await place.ask("POST", "/v1/reload")
        assert (await place.minting()).keys() == {"ntp-1", "ntp-2"}
    await place.end("gateway")
    (place.around.state / "resolved").write_bytes(b"")
    await place.start()
    assert place.log("gateway", "DNS: last good answers lost")
    assert place.log("gateway", "DNS: not resolved yet")[0]["names"] == [NAME]
    await place.session()
    assert (await place.minting()).keys() == {"ntp-2"}
    await place.end("gateway")


async def _an_expired_certificate(place, pki):
    """It is served, for no clock is above doubt, and the gateway says what that means; the next one is found."""
    around = place.around
    around.write_certificate(*_issued(around.directory / "old", pki, timedelta(days=3)))
    await place.start()
    await place.until(lambda: place.log("gateway", "certificate has expired"))
    with pytest.raises(RemoteError, match="expired"):
        await around.session()
    assert any("the certificate for localhost expired" in each for each in await place.problems())
    around.write_certificate(pki.chain.read_bytes(), pki.key.read_bytes())
    await place.until(lambda: place.log("gateway", "certificates reloaded"))
    # Workers have it a moment later.
    await place.until_told(lambda: _is_trusted(place))
    await place.end("gateway")


async def _is_trusted(place):
    try:
        await place.around.session()
    except RemoteError:
        return False
    return True


async def _a_full_log(place):
    with Path("/dev/full").open("wb") as full:
        gateway = await place.start(stderr=full)
        await place.until_told(lambda: _is_ready(place))
        [worker] = workers_of(place.around.state)
        os.kill(worker, signal.SIGKILL)
        await place.until(lambda: workers_of(place.around.state) - {worker})
        await place.session()
        before = sum(each["probes"] for each in await _addresses(place))
        await place.until_told(lambda: _probes_beyond(place, before))
        code, _ = await place.ntspool("status", stdout=full)
        assert code == 1
        assert await place.end("gateway") == 0
        assert gateway.returncode == 0


async def _is_ready(place):
    try:
        return (await place.ask("GET", "/v1/status"))["ready"]
    except Exception:
        return False


async def _addresses(place):
    backends = (await place.ask("GET", "/v1/status"))["backends"]
    return [address for each in backends for address in each["addresses"]]


async def _probes_beyond(place, before):
    return sum(each["probes"] for each in await _addresses(place)) > before + 2


def _issued(directory, pki, ago):
    """Return a certificate of the pool that was issued so long ago, and its private key."""
    directory.mkdir(exist_ok=True)
    chain, key = pki.authority.issue(["localhost"], ["127.0.0.1"], directory, datetime.now(UTC) - ago)
    return chain.read_bytes(), key.read_bytes()


def _leave_no_descriptors(pid):
    """Let a process open nothing more, whatever it closes; return the limit that it had."""
    limit = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    # New ones would have to be smaller than that.
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, limit[1]))
    return limit


def _leave_one_descriptor(pid):
    """Let a process open one more; return the limit that it had."""
    limit = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    used = {int(each.name) for each in Path(f"/proc/{pid}/fd").iterdir()}
    free = next(number for number in range(len(used) + 1) if number not in used)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (free + 1, limit[1]))
    return limit


async def _is_refused_for_descriptors(place):
    try:
        await place.ask("POST", "/v1/keys/rotate")
    except LocalError as error:
        # A probe may just have had the one that the command needs.
        return "Too many open files" in str(error)
    return False
