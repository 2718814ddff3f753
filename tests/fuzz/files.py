"""What operators write: backends.yaml, its values, and the files that it names."""

import re
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory

from structlog.testing import capture_logs

from ntspool import config
from ntspool.app.throwaway import Authority, utc_now
from ntspool.app.timeserving import read_tokens
from ntspool.config import admission, edit, history, publishing, values, yamlfile
from ntspool.errors import ConfigError, DatabaseError, LocalError, StateError
from ntspool.net.agentclient import Gateway
from ntspool.net.daemons import chronyconf
from ntspool.net.geo import Locator, open_database
from ntspool.net.peertoken import read_token
from ntspool.net.tsig import read_key
from tests.fuzz.engine import Target
from tests.net.mmdb import mmdb, place

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
FIXED_KEY = (
    SMALL
    + b"""\
  - {name: ntp-3, address: ntp.example.com, cookies: fixed-key, ke: {token: token, ca: fullchain.pem}}
"""
)
IN_BLOCKS = SMALL.replace(b"  - {name: ntp-1, address: 192.0.2.1}", b"  - name: ntp-1\n    address: 192.0.2.1 # old")
PLACED = re.compile(re.escape(str(PATH)) + r":[1-9][0-9]*: .", re.DOTALL)


def check_config(data, _):
    try:
        config.check(yamlfile.parse(PATH, data))
    except ConfigError as error:
        check_mistakes(error.mistakes, len(data))
        raise


def check_edits(data, _):
    document = yamlfile.parse(PATH, data)
    known = edit.names(document)
    refusals = []
    for do in (
        lambda: edit.change(document, known[0], {"weight": 7, "ke.token": None}),
        lambda: edit.remove(document, known[-1]),
        lambda: edit.add(document, {"name": "ntp-9", "address": "192.0.2.9"}),
    ):
        try:
            yamlfile.parse(PATH, do().encode())
        except LocalError as error:
            refusals.append(error)
    if len(refusals) == 3:
        raise refusals[0]


def check_mistakes(mistakes, length):
    assert mistakes
    assert all(map(PLACED.match, mistakes))
    assert sum(map(len, mistakes)) < 1000 * (1 + length)


VALUES = {
    "name": (values.name, "ntp-1"),
    "group": (values.group, "berlin"),
    "dns name": (values.dns_name, "pool.example.com"),
    "region": (values.region, "de"),
    "address": (values.address, "2001:db8::1"),
    "srv name": (values.srv_name, "_ntske._tcp.example.com"),
    "dns server": (values.dns_server, "[2001:db8::53]:5353"),
    "endpoint": (values.endpoint, "[::]:4460"),
    "etcd endpoint": (values.etcd_endpoint, "https://etcd-1.example.com:2379"),
    "prefix": (values.prefix, "/ntspool/pool-1/"),
    "user": (values.user, "ntspool"),
    "interval": (values.interval, "500ms"),
    "rotation": (values.rotation, "off"),
    "weight": (values.weight, "256"),
    "cookies": (values.cookies, "ntpsec"),
    "aead": (values.aead, "AES-SIV-CMAC-256"),
    "network": (admission.network, "2001:db8::/32"),
    "rate": (admission.rate, "10/s"),
    "sessions": (admission.sessions, "off"),
    "queue target": (admission.queue_target, "100ms"),
    "size": (history.byte_count, "500M"),
    "retention": (history.retention, "400d"),
    "published address": (publishing.address, "192.0.2.1"),
    "ttl": (publishing.ttl, "60s"),
    "gateway": (Gateway.parse, "[2001:db8::1]:4461"),
}


def check_value(data, _):
    which, _, text = data.decode("latin-1").partition("=")
    if which not in VALUES:
        raise ValueError(which)
    parse, _ = VALUES[which]
    # What YAML makes of it, and what it is in quotes.
    values_of = [text] if which == "gateway" else [yamlfile.plain(text), text]
    troubles = list(filter(None, (trouble(parse, value) for value in values_of)))
    assert all(each.isprintable() and len(each) < 1000 for each in troubles)
    if len(troubles) == len(values_of):
        raise ValueError(troubles[0])


def trouble(parse, value):
    """Return what is wrong with a value, "" if nothing is."""
    try:
        parse(value)
    except (ValueError, StateError) as error:
        return str(error)
    return ""


def written(data):
    """Return a file that only its owner may read."""
    path = Path(FOLDER.name) / "file"
    path.write_bytes(data)
    path.chmod(0o600)
    return path


SECRET = "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IQ=="
TSIG = f'key "gw1.example.com" {{\n\talgorithm hmac-sha256; // what else\n\tsecret "{SECRET}";\n}};\n'


def check_tsig(data, _):
    path = written(data)
    told = trouble(read_key, path)
    assert SECRET[:8] not in told
    assert read_key(path).secret


TOKENS = b"0123456789abcdef0123456789abcdef\nfedcba9876543210fedcba9876543210\n"


def check_tokens(data, _):
    path = written(data)
    for token in read_tokens(path):
        assert token.reveal().isascii()
        assert token.reveal().decode().isprintable()
    read_token(path)


CHRONY = b"""\
# a backend
server ntp.example.com iburst nts
driftfile /var/lib/chrony/drift
ntsdumpdir /var/lib/chrony
ntsservercert /etc/chrony/cert.pem
ntsserverkey /etc/chrony/key.pem
ntsrotate 0
allow
bindcmdaddress /run/chrony/chronyd.sock
"""


def check_chrony(data, _):
    # What it includes are files of this machine.
    path = written(re.sub(rb"(?i)include|confdir", b"x", data))
    found = chronyconf.contradictions(path, chronyconf.ChronySetup())
    assert all(each.startswith(str(path)) for each in found)
    if found:
        raise StateError(found[0])


DATABASE = mmdb({"192.0.2.0/24": place("DE", "EU"), "2001:db8::/32": place("US", "NA")})
PLACES = [ip_address(each).packed for each in ("192.0.2.1", "198.51.100.1", "2001:db8::1", "::")]


def check_database(data, _):
    path = written(data)
    locate = Locator(path, lambda: 0.0)
    with capture_logs():
        for each in PLACES:
            assert all(isinstance(found, str) for found in locate(each))
    open_database(path)


TARGETS = [
    Target(
        "backends.yaml",
        "Gives a configuration, or ConfigError, whose every mistake has a line and whose length is bounded.",
        1_000,
        [SMALL, SAMPLE, FIXED_KEY],
        check_config,
        refusals=(ConfigError,),
    ),
    Target(
        "edited backends.yaml",
        "Gives a file with one backend changed, removed or added and nothing else, or LocalError.",
        300,
        [SMALL, IN_BLOCKS],
        check_edits,
        refusals=(LocalError,),
    ),
    Target(
        "value of backends.yaml",
        "Gives a value, or ValueError in printable words of bounded length.",
        5_000,
        [f"{name}={sample}".encode() for name, (_, sample) in VALUES.items()],
        check_value,
        refusals=(ValueError,),
    ),
    Target(
        "TSIG key file",
        "Gives a key, or StateError without the secret.",
        400,
        [TSIG.encode(), b"/* a\n * comment */ " + TSIG.encode()],
        check_tsig,
        refusals=(StateError,),
    ),
    Target(
        "tokens of pools",
        "Gives printable tokens, or StateError.",
        400,
        [TOKENS, TOKENS[:33]],
        check_tokens,
        refusals=(StateError,),
    ),
    Target(
        "chrony's configuration",
        "Gives what keeps it from being a backend, or StateError.",
        400,
        [CHRONY],
        check_chrony,
        refusals=(StateError,),
    ),
    Target(
        "region database",
        "Gives regions, or DatabaseError when it is opened; a look-up never raises.",
        400,
        [DATABASE],
        check_database,
        refusals=(DatabaseError,),
    ),
]
