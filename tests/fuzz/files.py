"""What is read from disk: backends.yaml, and the files of the state directory."""

import re
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory

from ntspool import config
from ntspool.app.throwaway import Authority, utc_now
from ntspool.config import yamlfile
from ntspool.errors import ConfigError, StateError
from ntspool.pool import admin, keyring, keyringfile, resolvedfile, turns
from ntspool.pool.admin import Mode, Order
from ntspool.pool.keyring import Keyring
from ntspool.pool.resolving import Question, RecordType, recalled
from ntspool.pool.resolving import Target as ServiceTarget
from tests.fuzz.engine import Target

# Certificates are read with the file, from its folder.
FOLDER = TemporaryDirectory()
PATH = Path(FOLDER.name) / "backends.yaml"
Authority.make(utc_now()).issue(["*.example.com", "*.example.net"], [], PATH.parent, utc_now())
SAMPLE = (Path(__file__).parents[2] / PATH.name).read_bytes().replace(b"/etc/ntspool/tls/", b"")
SMALL = b"""\
pool: {names: [pool.example.com]}
listen: ["127.0.0.1:4460"]
tls: [{certificate: fullchain.pem, key: privkey.pem}]
backends:
  - {name: ntp-1, address: 192.0.2.1}
  - {name: ntp-2, address: [192.0.2.2, "2001:db8::2"], port: 4123, weight: 2, cookies: ntpsec}
"""
PLACED = re.compile(re.escape(str(PATH)) + r":[1-9][0-9]*: .", re.DOTALL)


def check_config(data, _):
    try:
        config.check(yamlfile.parse(PATH, data))
    except ConfigError as error:
        check_mistakes(error.mistakes, len(data))
        raise


def check_mistakes(mistakes, length):
    assert mistakes
    assert all(map(PLACED.match, mistakes))
    assert sum(map(len, mistakes)) < 1000 * (1 + length)


def ring():
    numbers = iter(range(1, 1000))
    return keyring.create(1.8e9, lambda length: next(numbers).to_bytes(length, "big"))


def check_keyring(data, _):
    found = keyringfile.decode(data)
    assert isinstance(found, Keyring)
    assert keyringfile.decode(keyringfile.encode(found)) == found


ORDERS = {"ntp-1": Order(Mode.DRAIN), "ntp-2": Order(Mode.READY, 0), "ntp-3": Order(Mode.MAINT, 256)}


def check_orders(data, _):
    found = admin.decode(data)
    assert admin.decode(admin.encode(found)) == found


RESOLVED = {
    Question.host("ntp.example"): recalled(
        {RecordType.A: (ip_address("192.0.2.1"),), RecordType.AAAA: (ip_address("2001:db8::1"),)}
    ),
    Question.service("_ntske._tcp.example"): recalled({RecordType.SRV: (ServiceTarget(1, 2, 4460, "a.example"),)}),
}


def check_resolved(data, _):
    found = resolvedfile.decode(data)
    resolvedfile.encode(found, found)


def check_turn(data, _):
    turns.decode(data)


TARGETS = [
    Target("backends.yaml", 1_000, [SMALL, SAMPLE], check_config, refusals=(ConfigError,)),
    Target("keyring file", 5_000, [keyringfile.encode(ring())], check_keyring, refusals=(StateError,)),
    Target("orders file", 5_000, [admin.encode(ORDERS)], check_orders, refusals=(StateError,)),
    Target("resolved file", 5_000, [resolvedfile.encode(RESOLVED, RESOLVED)], check_resolved, refusals=(StateError,)),
    Target("restart turn", 2_000, [turns.Turn("ntp-1", 1.8e9).encode()], check_turn, refusals=(StateError,)),
]
