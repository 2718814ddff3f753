"""A control port on loopback, its store and its desk, and what agents and hostile peers need to reach it."""

import asyncio
import os
import ssl
import time
from contextlib import asynccontextmanager

from structlog.testing import capture_logs

from ntspool.net import authority, enrolment
from ntspool.net.agentclient import AgentClient, Gateway, enrol
from ntspool.net.control import ControlServer
from ntspool.net.keydesk import Delivery, KeyDesk
from ntspool.net.mutualtls import client_context
from ntspool.net.store import FileStore
from ntspool.pool.cookies import SERVER_AEAD, CookieFormat, ServerKey
from ntspool.pool.keyfiles import KeySet
from ntspool.wire.secret import Secret


def delivery(revision="7", cookies=CookieFormat.CHRONY, fill=0x5A):
    """Return a delivery of four keys; every secret is `fill` over and over, to be found wherever it leaks."""
    length = SERVER_AEAD[cookies].key_length
    keys = tuple(ServerKey(number, Secret(bytes([fill + number]) * length)) for number in range(4))
    return Delivery(revision, cookies, KeySet(keys, 2))


async def no_sleep(_seconds):
    await asyncio.sleep(0)


class ControlPort:
    """A running control port; `logs` is what it logged, `clock` what it takes for the time."""

    def __init__(self, directory):
        self.directory = directory
        self.store = FileStore(directory / "state")
        self.desk = KeyDesk()
        self.ahead = 0.0
        self.server = ControlServer([("127.0.0.1", 0)], self.store, self.desk, self.clock)

    def clock(self):
        return time.time() + self.ahead

    @property
    def gateway(self):
        return Gateway(*self.server.addresses[0])

    @property
    def authority(self):
        return authority.load_or_create(self.store, time.time())

    def token(self, backend="ntp-1", life=3600.0):
        return enrolment.create_token(self.store, backend, time.time(), life, os.urandom)

    async def agent(self, backend="ntp-1", **more):
        """Return the client of a newly enrolled agent."""
        directory = self.directory / f"agent-{backend}"
        await enrol([self.gateway], self.token(backend), directory)
        return AgentClient(directory, sleep=no_sleep, **more)

    def identity(self, backend="ntp-1", now=None, issuer=None, allowed=True):
        """Return private key and certificate of an agent, as this authority or another one makes them."""
        now = time.time() if now is None else now
        private, csr = authority.make_request()
        serial = int.from_bytes(os.urandom(8), "big") + 1
        if allowed:
            enrolment.redeem(self.store, self.token(backend), serial, time.time())
        return Secret(private.reveal() + (issuer or self.authority).sign_agent(csr, backend, serial, now))

    async def connect(self, identity=None, context=None):
        """Return a TLS connection as a peer makes it that is no agent of ours."""
        context = context or client_context(identity, self.authority.pem)
        host, port = self.server.addresses[0]
        return await asyncio.open_connection(host, port, ssl=context, server_hostname=authority.CONTROL_NAME)

    async def ask(self, request, identity=None, trusting=False):
        """Send bytes over TLS and return all that comes back until the end of the connection."""
        context = client_context(identity, self.authority.pem)
        if trusting:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        reader, writer = await self.connect(context=context)
        try:
            writer.write(request)
            return await reader.read()
        except (OSError, ssl.SSLError) as error:
            return type(error).__name__.encode()
        finally:
            writer.transport.abort()

    def reasons(self):
        """Return what the control port logged as the reasons of refusals and cuts."""
        return [str(line["reason"]) for line in self.logs if "reason" in line]


@asynccontextmanager
async def control_port(directory):
    port = ControlPort(directory)
    with capture_logs() as port.logs:
        await port.server.start()
        try:
            yield port
        finally:
            await port.server.stop()


def request(method, path, body=b"", headers=""):
    """Return the bytes of an HTTP request."""
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body
