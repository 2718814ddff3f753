"""The demo's pool: certificate authority, backends and gateway, all on loopback and in one temporary directory."""

import asyncio
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ntspool.app.demo_backends import DemoBackend, OwnKe, free_port, has_ipv6
from ntspool.app.export import key_file
from ntspool.app.gateway import Gateway
from ntspool.app.throwaway import Authority, utc_now
from ntspool.net.atomic import write_atomically
from ntspool.net.keyexchange import DEFAULT_KE_PORT, Server
from ntspool.pool.cookies import CookieFormat

POOL_NAME = "localhost"
"""A name that resolves on every machine, so that the printed commands work as they stand."""

_NTP_PORT = 11123
_BACKENDS = 3


@dataclass
class DemoPool:
    """Everything that runs; `hosts` are the addresses that the gateway listens on."""

    directory: Path
    hosts: list[str]
    port: int
    backends: list[DemoBackend]
    gateway: Gateway = field(init=False)

    @property
    def ca(self) -> Path:
        """The file that clients trust."""
        return self.directory / "ca.pem"

    @property
    def config(self) -> Path:
        """The gateway's configuration."""
        return self.directory / "backends.yaml"

    @property
    def sharing(self) -> list[DemoBackend]:
        """The backends that the gateway mints cookies for; the others make their own."""
        return [each for each in self.backends if each.ke is None]

    def server(self, host: str) -> Server:
        """Return how a client finds the gateway at one of its addresses."""
        return Server(host, self.port, POOL_NAME, self.ca)

    async def give_keys(self) -> None:
        """Hand every backend that shares its keys the key file of the present keyring."""
        for backend in self.sharing:
            await backend.load_keys(await asyncio.to_thread(key_file, self.config, backend.name))

    async def stop_backends(self) -> None:
        """End every backend that runs."""
        for backend in self.backends:
            await backend.stop()


@asynccontextmanager
async def demo_pool(cookies: CookieFormat) -> AsyncIterator[DemoPool]:
    """Yield a pool whose backends run and whose gateway has not been started; leaves nothing behind."""
    directory = Path(tempfile.mkdtemp(prefix="ntspool-demo-"))
    try:
        pool = _lay_out(directory, cookies)
        try:
            await pool.give_keys()
            for backend in pool.backends:
                await backend.start()
            yield pool
        finally:
            await pool.stop_backends()
    finally:
        shutil.rmtree(directory)


def _lay_out(directory: Path, cookies: CookieFormat) -> DemoPool:
    # Clients that run as other users, chronyd among them, must get at ca.pem.
    directory.chmod(0o711)
    hosts = ["127.0.0.1", "::1"] if has_ipv6() else ["127.0.0.1"]
    authority = Authority.make(utc_now())
    authority.write(directory / "ca.pem")
    certificate, key = authority.issue([POOL_NAME], hosts, directory, utc_now())
    pool = DemoPool(directory, hosts, free_port(hosts, DEFAULT_KE_PORT), [])
    for number in range(1, _BACKENDS + 1):
        place = directory / f"ntp-{number}"
        place.mkdir()
        # Each has an IPv4 address of its own, as clients want it; there is one IPv6 loopback address only.
        addresses = (f"127.0.0.{10 + number}", *hosts[1:])
        # Another demo must not take the port of a backend that this one has stopped for a moment.
        port = free_port(list(addresses), _NTP_PORT + 10 * (os.getpid() % 1000) + number)
        pool.backends.append(DemoBackend(f"ntp-{number}", addresses, port, cookies, place))
    _keep_own_keys(pool.backends[-1], authority)
    pool.config.write_text(_configuration(pool, certificate, key))
    return pool


def _keep_own_keys(backend: DemoBackend, authority: Authority) -> None:
    """Make a backend one that shares no keys: the gateway asks it for each client's cookies."""
    certificate, key = authority.issue([backend.name], backend.addresses, backend.directory, utc_now())
    token = backend.directory / "token"
    write_atomically(token, secrets.token_hex(32).encode())
    backend.cookies = CookieFormat.NTSPOOL
    backend.ke = OwnKe(free_port(list(backend.addresses)), certificate, key, token)


def _configuration(pool: DemoPool, certificate: Path, key: Path) -> str:
    listen = ", ".join(f'"[{host}]:{pool.port}"' if ":" in host else f'"{host}:{pool.port}"' for host in pool.hosts)
    backends = "".join(
        f"  - {{name: {each.name}, address: [{', '.join(map(repr, each.addresses))}], port: {each.port}, "
        f"{_cookies(pool, each)}}}\n"
        for each in pool.backends
    )
    return (
        f"pool: {{names: [{POOL_NAME}]}}\nlisten: [{listen}]\nworkers: 2\n"
        f"tls: [{{certificate: {certificate}, key: {key}}}]\nstate: {pool.directory}/state\n"
        "health: {interval: 500ms, timeout: 250ms, rise: 2, fall: 2}\nlog: {level: error}\n"
        f"backends:\n{backends}"
    )


def _cookies(pool: DemoPool, backend: DemoBackend) -> str:
    if backend.ke is None:
        return f"cookies: {backend.cookies.value}"
    return f"cookies: fixed-key, ke: {{port: {backend.ke.port}, ca: {pool.ca}, token: {backend.ke.token}}}"
