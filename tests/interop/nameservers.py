"""Real authoritative DNS servers for tests: a zone that a TSIG key may update, on a loopback address of their own.

A test is skipped, saying why, where the program is missing.
"""

import base64
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import dns.exception
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import dns.update

from ntspool.net.tsig import read_key
from tests.interop.lab import find, free_port, here, running, wait_until, working_directory

ZONE = "example.com"
LOCALHOST = "127.0.0.1"
"""BIND listens on addresses only that an interface has by name."""

_ZONE_FILE = f"""\
$ORIGIN {ZONE}.
$TTL 300
@ SOA ns.{ZONE}. hostmaster.{ZONE}. 1 3600 600 86400 5
@ NS ns
ns A 192.0.2.53
"""


@dataclass
class NameServer:
    """A DNS server at `host` and `port`; its zone and its key are in `directory`. `run` runs it, as often as needed."""

    program: str
    directory: Path
    host: str
    port: int
    command: list[str] = field(default_factory=list)

    @property
    def key(self) -> Path:
        """The key file that a gateway is given."""
        return self.directory / "pool.key"

    @contextmanager
    def run(self) -> Iterator[None]:
        """Run it, from when it answers."""
        network = here()
        with running([*network.unprivileged, *self.command], self.directory / "log") as process:
            wait_until(f"{self.program} to answer", lambda: self._answers() or process.poll() is not None)
            assert process.poll() is None, (self.directory / "log").read_text()
            yield

    def _answers(self) -> bool:
        try:
            return bool(self.look_up(ZONE, "SOA"))
        except (OSError, dns.exception.DNSException):
            return False

    def look_up(self, name: str, kind: str) -> set[str]:
        """Return the records of a name, as anybody sees them: by UDP, and unsigned."""
        query = dns.message.make_query(name, kind)
        response = dns.query.udp(query, self.host, 2, self.port)
        assert response.rcode() in {dns.rcode.NOERROR, dns.rcode.NXDOMAIN}, response
        wanted = dns.rdatatype.from_text(kind)
        return {value.to_text() for each in response.answer if each.rdtype == wanted for value in each}

    def ttl(self, name: str, kind: str) -> int:
        """Return the TTL of a name's records."""
        return dns.query.udp(dns.message.make_query(name, kind), self.host, 2, self.port).answer[0].ttl

    def edit(self, change: Callable[[dns.update.UpdateMessage], None]) -> None:
        """Change the zone by hand, as its operator may."""
        update = dns.update.UpdateMessage(ZONE, keyring=read_key(self.key).opened())
        change(update)
        assert dns.query.tcp(update, self.host, 2, self.port).rcode() == dns.rcode.NOERROR


def write_key(path: Path, name: str = "pool", secret: bytes | None = None) -> None:
    """Write a TSIG key file as tsig-keygen does."""
    text = base64.b64encode(secret or os.urandom(32)).decode()
    path.write_text(f'key "{name}" {{\n\talgorithm hmac-sha256;\n\tsecret "{text}";\n}};\n')
    path.chmod(0o640)


@contextmanager
def _laid_out(program: str) -> Iterator[NameServer]:
    find(program)
    with working_directory() as directory:
        server = NameServer(program, directory, LOCALHOST, free_port(LOCALHOST))
        write_key(server.key)
        (directory / "zone").write_text(_ZONE_FILE)
        yield server


@contextmanager
def knot() -> Iterator[NameServer]:
    """Make a Knot DNS server."""
    with _laid_out("knotd") as server:
        where, secret = server.directory, server.key.read_text().split('"')[3]
        (where / "conf").write_text(f"""\
server:
  listen: {LOCALHOST}@{server.port}
  rundir: {where}/run
  udp-workers: 1
  tcp-workers: 1
  background-workers: 1
database:
  storage: {where}/db
log:
  - target: stderr
    any: info
key:
  - id: pool
    algorithm: hmac-sha256
    secret: {secret}
acl:
  - id: gateways
    key: pool
    action: update
zone:
  - domain: {ZONE}
    storage: {where}
    file: zone
    acl: gateways
    zonefile-sync: -1
    zonefile-load: difference
    journal-content: all
""")
        (where / "run").mkdir()
        (where / "db").mkdir()
        server.command = [find("knotd"), "--config", f"{where}/conf"]
        here().give(where)
        yield server


@contextmanager
def bind() -> Iterator[NameServer]:
    """Make a BIND server."""
    with _laid_out("named") as server:
        where = server.directory
        (where / "conf").write_text(f"""\
include "{server.key}";
options {{
    directory "{where}";
    pid-file none;
    session-keyfile none;
    listen-on port {server.port} {{ {LOCALHOST}; }};
    listen-on-v6 {{ none; }};
    recursion no;
    dnssec-validation no;
    allow-transfer {{ none; }};
    notify no;
}};
controls {{ }};
zone "{ZONE}" {{
    type primary;
    file "zone";
    update-policy {{ grant pool zonesub A AAAA SRV CNAME; }};
}};
""")
        server.command = [find("named"), "-g", "-n", "1", "-c", f"{where}/conf"]
        here().give(where)
        yield server
