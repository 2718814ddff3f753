"""What a checker costs: CPU share and memory while it probes many backends, answered by embedded responders.

    python benches/probes.py [--backends 1000] [--interval 16] [--rounds 2] [--aeads 1] [--dead 0]

The responders run in a process of their own, and what they cost is not counted. Every backend has an address of
127.0.0.0/8, so they need no network. The first round, as fast as PARALLEL allows, is measured for itself.
"""

import argparse
import asyncio
import multiprocessing
import os
import resource
import socket
import time
from dataclasses import replace
from ipaddress import ip_address

import structlog
import uvloop

from ntspool.net.checker import Checker
from ntspool.net.checksettings import CheckSettings
from ntspool.pool.cookies import CookieFormat, CookieJar
from ntspool.pool.health import Rules
from ntspool.pool.keyring import Keyring, create
from ntspool.pool.model import Backend
from ntspool.pool.responder import Responder
from ntspool.wire.aead import Aead

AEADS = (Aead.AES_SIV_CMAC_256, Aead.AES_128_GCM_SIV, Aead.AES_SIV_CMAC_512)
GROUP = "bench"


def serve(sockets: list[socket.socket], keyring: Keyring) -> None:
    """Answer on all of `sockets` until killed."""
    keys = keyring.keys(GROUP, CookieFormat.NTSPOOL)
    responder = Responder(CookieJar(CookieFormat.NTSPOOL, keys.keys, keys.current), 2, time.time, os.urandom)

    def answer(udp: socket.socket) -> None:
        request, peer = udp.recvfrom(2048)
        if reply := responder.respond(request, time.time()):
            udp.sendto(reply.data, peer)

    async def run() -> None:
        for udp in sockets:
            asyncio.get_running_loop().add_reader(udp, answer, udp)
        await asyncio.Event().wait()

    asyncio.run(run())


def bind(number: int, dead: int) -> tuple[list[socket.socket], list[Backend], list[int]]:
    """Return sockets that answer, and all backends; the first `dead` of those have a socket that nobody reads."""
    port, sockets, backends = 0, [], []
    for index in range(number):
        host = f"127.1.{index // 250}.{index % 250 + 1}"
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind((host, port))
        port = udp.getsockname()[1]
        sockets.append(udp)
        backends.append(Backend(f"ntp-{index}", (ip_address(host),), port, 10, CookieFormat.NTSPOOL, AEADS, GROUP))
    return sockets[dead:], backends, sockets[:dead]


def cpu() -> float:
    """Return the CPU seconds of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def resident() -> float:
    """Return this process's memory in MiB."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


async def measure(words: argparse.Namespace, keyring: Keyring, backends: list[Backend]) -> None:
    settings = CheckSettings(words.interval, 1.0, Rules(2, 3), fast_interval=2.0)
    checker = Checker(keyring, settings, lambda: None)
    idle, began, used = resident(), time.monotonic(), cpu()
    await checker.watch(backends)
    print(f"first round    {time.monotonic() - began:7.2f} s, {cpu() - used:6.2f} s of CPU")
    began, used, before = time.monotonic(), cpu(), checker.probes
    busiest, last = 0, before
    while time.monotonic() < began + words.rounds * words.interval:
        await asyncio.sleep(1)
        busiest, last = max(busiest, checker.probes - last), checker.probes
    elapsed, spent = time.monotonic() - began, cpu() - used
    up = sum(each.condition.health.up for each in checker.status())
    print(f"steady         {elapsed:7.2f} s, {spent:6.2f} s of CPU: {spent / elapsed:.1%} of a core")
    print(f"probes         {(last - before) / elapsed:7.1f} a second, {busiest} in the busiest one")
    print(f"a probe        {spent / max(1, last - before) * 1000:7.2f} ms of CPU")
    print(f"memory         {resident():7.1f} MiB, {resident() - idle:.1f} of it for {len(backends)} backends")
    print(f"UP             {up:7d} of {len(backends)}")
    await checker.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backends", type=int, default=1000)
    parser.add_argument("--interval", type=float, default=16.0)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--aeads", type=int, default=1, choices=(1, 2, 3))
    parser.add_argument("--dead", type=int, default=0, help="how many of them never answer")
    words = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4 * words.backends + 1024), hard))
    keyring = create(time.time(), os.urandom)
    sockets, backends, unread = bind(words.backends, words.dead)
    backends = [replace(each, aeads=AEADS[: words.aeads]) for each in backends]
    responders = multiprocessing.get_context("fork").Process(target=serve, args=(sockets, keyring), daemon=True)
    responders.start()
    for each in sockets:
        each.close()
    try:
        uvloop.run(measure(words, keyring, backends))
    finally:
        responders.kill()
        for each in unread:
            each.close()


if __name__ == "__main__":
    main()
