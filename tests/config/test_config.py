import dataclasses
import json
import os
import re
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ntspool.config import SHARED_BACKENDS, Backend, Config, Endpoint, load, yamlfile
from ntspool.config.models import DEFAULT_AEADS, KeyExchange
from ntspool.errors import ConfigError
from ntspool.pool.cookies import CLIENT_AEADS, CookieFormat
from ntspool.wire.aead import Aead
from tests.conftest import Pki

HERE = Path(__file__).parent
SAMPLE = Path(__file__).parents[2] / "backends.yaml"
PYDANTIC_ENGLISH = re.compile("Input should|Value error|Field required|Extra inputs|pydantic|Undefined")

MINIMAL = """\
pool:
  names: [ntp-pool.example.com]
tls:
  - {certificate: fullchain.pem, key: privkey.pem}
backends:
  - name: ntp-1
    address: 192.0.2.1
"""


@pytest.fixture(scope="module")
def folder(pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("etc")
    pki.authority.issue(["*.example.com", "*.example.net", "example.com"], [], path, datetime.now(UTC))
    return path


def load_text(folder: Path, text: str | bytes) -> Config:
    path = folder / "backends.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return load(path)


def mistakes_of(folder: Path, text: str | bytes) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_text(folder, text)
    return [mistake.replace(f"{folder}/", "") for mistake in caught.value.mistakes]


def test_the_least_configuration_gets_the_defaults(folder: Path) -> None:
    config = load_text(folder, MINIMAL)
    assert config.pool.names == ("ntp-pool.example.com",)
    assert [each.address for each in config.listen] == [Endpoint("0.0.0.0", 4460), Endpoint("::", 4460)]
    assert not any(each.proxy_from for each in config.listen)
    assert config.workers is None
    assert [(pair.certificate, pair.key) for pair in config.tls] == [(folder / "fullchain.pem", folder / "privkey.pem")]
    assert config.state == Path("/var/lib/ntspool")
    assert config.keys.rotate == 7 * 86400
    assert dict(config.health) == {
        "interval": 16,
        "timeout": 1,
        "fast_interval": 2,
        "down_interval": 16,
        "rise": 2,
        "fall": 3,
        "slow_start": 0,
        "max_offset": 0.1,
        "max_distance": 1.5,
        "max_stratum": 15,
        "panic": 50,
    }
    assert config.balance == "random"
    assert config.limits.model_dump() == {
        "session_timeout": 5,
        "sessions": 10000,
        "per_address": {"sessions": 500, "rate": 50, "burst": 1000},
        "per_network": {"sessions": 2000, "rate": 200, "burst": 4000},
        "queue": {"target": 0.1, "interval": 1},
        "allow": (),
        "deny": (),
    }
    assert dict(config.log) == {"level": "info", "format": "auto", "client_addresses": False}
    assert [dict(backend) for backend in config.backends] == [
        {
            "name": "ntp-1",
            "address": (ip_address("192.0.2.1"),),
            "srv": "",
            "port": 123,
            "weight": 10,
            "cookies": CookieFormat.CHRONY,
            "ke": KeyExchange(),
            "aeads": (Aead.AES_SIV_CMAC_256,),
            "key_group": "ntp-1",
            "region": (),
        }
    ]
    assert (config.pins, config.groups, config.regions.database) == ((), (), None)


def test_every_key_is_read(folder: Path) -> None:
    config = load_text(
        folder,
        """\
pool: {names: [NTP.Example.COM, time.example.net]}
listen:
  - "127.0.0.1:14460"
  - {address: "[::1]:14460", proxy_from: [10.0.0.0/8, "2001:db8::1"]}
workers: 3
tls:
  - {certificate: fullchain.pem, key: privkey.pem}
  - {certificate: ./fullchain.pem, key: ./privkey.pem}
state: state
keys: {rotate: off}
health:
  {interval: 500ms, timeout: 0.25, fast_interval: 400ms, down_interval: 1m, rise: 1, fall: 7, slow_start: 2m,
   max_offset: 50ms, max_distance: 1s, max_stratum: 4, panic: 100}
balance: sticky
pins: {NTP-1.example.com: a}
groups: {one.example.net: b, two.example.net: [a, b]}
regions: {}
limits:
  session_timeout: 2s
  sessions: 17
  per_address: {sessions: 3, rate: 0.5, burst: 4}
  per_network: {sessions: off, rate: off}
  queue: {target: off, interval: 200ms}
  allow: [192.0.2.0/24, "2001:db8::/32"]
  deny: [192.0.2.7]
log: {level: debug, format: json, client_addresses: true}
backends:
  - {name: a, address: [192.0.2.1, "2001:DB8::1"], port: 4123, weight: 0, cookies: ntspool, key_group: both, region: DE}
  - {name: b, address: 192.0.2.1, cookies: ntspool, aeads: [30, aes-siv-cmac-512], key_group: both, region: [fr, Asia]}
""",
    )
    assert config.pool.names == ("ntp.example.com", "time.example.net")
    assert [each.address for each in config.listen] == [Endpoint("127.0.0.1", 14460), Endpoint("::1", 14460)]
    assert [each.proxy_from for each in config.listen] == [(), (ip_network("10.0.0.0/8"), ip_network("2001:db8::1"))]
    assert config.workers == 3
    assert len(config.tls) == 2
    assert config.state == folder / "state"
    assert config.keys.rotate is None
    assert dict(config.health) == {
        "interval": 0.5,
        "timeout": 0.25,
        "fast_interval": 0.4,
        "down_interval": 60,
        "rise": 1,
        "fall": 7,
        "slow_start": 120,
        "max_offset": 0.05,
        "max_distance": 1,
        "max_stratum": 4,
        "panic": 100,
    }
    assert config.balance == "sticky"
    assert config.pins == (("ntp-1.example.com", "a"),)
    assert config.groups == (("one.example.net", ("b",)), ("two.example.net", ("a", "b")))
    assert [backend.region for backend in config.backends] == [("de",), ("fr", "asia")]
    assert config.limits.model_dump() == {
        "session_timeout": 2,
        "sessions": 17,
        "per_address": {"sessions": 3, "rate": 0.5, "burst": 4},
        "per_network": {"sessions": None, "rate": None, "burst": 4000},
        "queue": {"target": None, "interval": 0.2},
        "allow": (ip_network("192.0.2.0/24"), ip_network("2001:db8::/32")),
        "deny": (ip_network("192.0.2.7"),),
    }
    assert dict(config.log) == {"level": "debug", "format": "json", "client_addresses": True}
    first, second = config.backends
    assert first.address == (ip_address("192.0.2.1"), ip_address("2001:db8::1"))
    assert (first.port, first.weight, first.key_group) == (4123, 0, "both")
    assert first.aeads == (Aead.AES_SIV_CMAC_256, Aead.AES_SIV_CMAC_512, Aead.AES_128_GCM_SIV)
    assert second.aeads == (Aead.AES_128_GCM_SIV, Aead.AES_SIV_CMAC_512)


NAMES = """\
pins:
  ntp-pool.example.com: ntp-1
  3.ntp-pool.example.com: ntp-1
  bad_name: ntp-1
  x.example.com: ntp-2
  y.example.com: [ntp-1]
  z.example.org: ntp-1
groups:
  X.example.com: [ntp-1]
  g.example.com: []
  h.example.com: [ntp-1, ntp-1]
  "7.h.example.com": ntp-1
"""


MISTAKES_IN_NAMES = """\
9: pins.'ntp-pool.example.com': ntp-pool.example.com stands in pool.names[0] (line 2) already; expected each only once
10: pins.'3.ntp-pool.example.com': 3.ntp-pool.example.com is a slot of ntp-pool.example.com by itself; expected a name \
that does not begin with a digit and a dot
10: pins.'3.ntp-pool.example.com': no certificate is for 3.ntp-pool.example.com; expected one under tls that names it
11: pins.bad_name: 'bad_name' is not a DNS name; expected a mapping from DNS names to backends, such as \
{ntp-1.example.com: ntp-1}
12: pins.'x.example.com': 'ntp-2' is no backend; did you mean ntp-1?
13: pins.'y.example.com': a list is no backend; expected the name of one under backends
14: pins.'z.example.org': no certificate is for z.example.org; expected one under tls that names it
16: groups.'X.example.com': x.example.com stands in pins.'x.example.com' (line 12) already; expected each only once
17: groups.'g.example.com': an empty list; expected at least one backend
18: groups.'h.example.com'[1]: ntp-1 stands in this list already; expected each only once
19: groups.'7.h.example.com': 7.h.example.com is a slot of h.example.com by itself; expected a name that does not \
begin with a digit and a dot
19: groups.'7.h.example.com': no certificate is for 7.h.example.com; expected one under tls that names it
"""


def test_mistakes_in_names(folder: Path) -> None:
    expected = [f"backends.yaml:{line}" for line in MISTAKES_IN_NAMES.splitlines()]
    assert mistakes_of(folder, MINIMAL + NAMES) == expected


def test_slots_need_no_certificate(folder: Path) -> None:
    # Certificates of *.example.com do not cover 0.ntp-pool.example.com; slots are an offer, not a duty.
    assert load_text(folder, MINIMAL + "groups: {g.example.com: [ntp-1]}\n").groups


def test_a_configuration_is_a_value(folder: Path) -> None:
    config = load_text(folder, MINIMAL)
    assert config == load_text(folder, MINIMAL)
    assert hash(config) == hash(load_text(folder, MINIMAL))
    assert config != load_text(folder, MINIMAL.replace("ntp-1", "ntp-2"))
    with pytest.raises(ValidationError):
        config.workers = 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.listen[0].address.port = 1  # type: ignore[misc]


def test_relative_paths_start_in_the_folder_of_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_text(folder, MINIMAL + "state: ../state\n")
    monkeypatch.chdir(folder)
    config = load(Path("backends.yaml"))
    assert config.state == folder / "../state"
    assert config.tls[0].key == folder / "privkey.pem"


@pytest.mark.parametrize("cookies", CookieFormat)
def test_every_cookie_format_has_aeads_that_it_carries(folder: Path, cookies: CookieFormat) -> None:
    config = load_text(folder, MINIMAL + f"    cookies: {cookies}\n")
    assert config.backends[0].aeads == DEFAULT_AEADS[cookies]
    assert set(DEFAULT_AEADS[cookies]) <= set(CLIENT_AEADS[cookies])


def test_all_mistakes_are_told_at_once_in_the_order_of_their_lines() -> None:
    with pytest.raises(ConfigError) as caught:
        load(HERE / "mistakes.yaml")
    assert str(caught.value).replace(str(HERE), "HERE").splitlines() == (HERE / "mistakes.txt").read_text().splitlines()


ALL_KEYS = (
    "pool, listen, workers, tls, state, store, gateway, keys, control, admin, status, health, dns, balance, pins, "
)
ALL_KEYS += "groups, regions, history, limits, log, backends"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", f"1: the file holds nothing; expected a mapping with the keys {ALL_KEYS}"),
        ("# nothing\n---\n\n", f"4: the file holds nothing; expected a mapping with the keys {ALL_KEYS}"),
        ("\n- a\n", f"2: the file holds a list; expected a mapping with the keys {ALL_KEYS}"),
        ("\n\n'a'\n", f"3: the file holds 'a'; expected a mapping with the keys {ALL_KEYS}"),
        ("\n*x\n", "2: the file: the alias *x is not followed; expected the value written out"),
    ],
)
def test_a_file_that_is_no_mapping(folder: Path, text: str, expected: str) -> None:
    assert mistakes_of(folder, text) == [f"backends.yaml:{expected}"]


def test_what_is_missing_stands_at_the_line_of_the_mapping_that_lacks_it(folder: Path) -> None:
    assert mistakes_of(folder, "\nworkers: auto\nlog: {}\n") == [
        "backends.yaml:2: pool: missing; expected a mapping with the keys names",
        "backends.yaml:2: tls: missing; expected a list of {certificate: FILE, key: FILE} with at least one item",
        "backends.yaml:2: backends: missing; expected a list of {name: NAME, address: ADDRESS} with at least one item",
    ]
    text = "\npool: {}\ntls:\n  - key: privkey.pem\n  - certificate: fullchain.pem\nbackends:\n\n  - weight: 3\n"
    assert [mistake.partition(" expected ")[0] for mistake in mistakes_of(folder, text)] == [
        "backends.yaml:2: pool.names: missing;",
        "backends.yaml:4: tls[0].certificate: missing;",
        "backends.yaml:5: tls[1].key: missing;",
        "backends.yaml:8: backends[0].name: missing;",
        "backends.yaml:8: backends[0].address: missing;",
    ]


NO_BACKENDS = MINIMAL[: MINIMAL.index("backends:")]
NO_TLS = MINIMAL.replace("tls:\n  - {certificate: fullchain.pem, key: privkey.pem}\n", "")


@pytest.mark.parametrize(
    ("text", "line", "place", "wrong"),
    [
        (MINIMAL.replace("[ntp-pool.example.com]", "[]"), 2, "pool.names", "an empty list"),
        (MINIMAL.replace("[ntp-pool.example.com]", ""), 2, "pool.names", "nothing"),
        (MINIMAL.replace("[ntp-pool.example.com]", "a.example"), 2, "pool.names", "'a.example'"),
        (MINIMAL + "listen: []\n", 8, "listen", "an empty list"),
        (MINIMAL + "listen: '[::]:4460'\n", 8, "listen", "'[::]:4460'"),
        (MINIMAL + "workers: many\n", 8, "workers", "'many' is not a whole number"),
        (NO_TLS + "tls: []\n", 6, "tls", "an empty list"),
        (NO_TLS + "tls: {certificate: fullchain.pem, key: privkey.pem}\n", 6, "tls", "a mapping"),
        (NO_TLS + "tls: [fullchain.pem]\n", 6, "tls[0]", "'fullchain.pem'"),
        (MINIMAL.replace("privkey.pem", "3"), 4, "tls[0].key", "3 is not a path"),
        (MINIMAL.replace("privkey.pem", "no.pem"), 4, "tls[0].key", "no.pem cannot be read: No such file or directory"),
        (MINIMAL + "state: ''\n", 8, "state", "'' is not a path"),
        (MINIMAL + "keys: {rotate: never}\n", 8, "keys.rotate", "'never' is not a duration"),
        (MINIMAL + "health: {rise: 0}\n", 8, "health.rise", "0 is below 1"),
        (MINIMAL + "health: {fall: 1.5}\n", 8, "health.fall", "1.5 is not a whole number"),
        (MINIMAL + "health: {timeout: 1ms}\n", 8, "health.timeout", "'1ms' is shorter than 10ms"),
        (MINIMAL + "health: {interval: -1s}\n", 8, "health.interval", "'-1s' is not a duration"),
        (MINIMAL + "health: {panic: 101}\n", 8, "health.panic", "101 is above 100"),
        (MINIMAL + "health: {max_stratum: 16}\n", 8, "health.max_stratum", "16 is above 15"),
        (MINIMAL + "health: {max_offset: 0}\n", 8, "health.max_offset", "0 is shorter than 1ms"),
        (MINIMAL + "health:\n", 8, "health", "nothing"),
        (MINIMAL + "balance: [random]\n", 8, "balance", "a list is not known"),
        (MINIMAL + "pins: [ntp-1]\n", 8, "pins", "a list"),
        (MINIMAL + "pins:\n", 8, "pins", "nothing"),
        (MINIMAL + "groups: {a.example.com: [ntp-1, 7]}\n", 8, "groups.'a.example.com'[1]", "7 is no backend"),
        (MINIMAL + "groups: {a.example.com: {ntp-1: 1}}\n", 8, "groups.'a.example.com'", "a mapping is no backend"),
        (MINIMAL + "groups: {a.example.com: }\n", 8, "groups.'a.example.com'", "nothing is no backend"),
        (
            MINIMAL + "regions: {database: no.mmdb}\n",
            8,
            "regions.database",
            "no.mmdb cannot be read: No such file or directory",
        ),
        (MINIMAL + "regions: {database: /dev/null}\n", 8, "regions.database", "/dev/null is not a regular file"),
        (
            MINIMAL + "regions:\n  database: privkey.pem\n",
            9,
            "regions.database",
            "privkey.pem is not a MaxMind database, or is damaged",
        ),
        (MINIMAL + "    region: eu\n", 8, "backends[0].region", "'eu' is not a region"),
        (MINIMAL + "limits: {sessions: 0}\n", 8, "limits.sessions", "0 is below 1"),
        (MINIMAL + "limits:\n  session_timeout: 50ms\n", 9, "limits.session_timeout", "'50ms' is shorter than 100ms"),
        (MINIMAL + "limits: {sessions: off}\n", 8, "limits.sessions", "'off' is not a whole number"),
        (MINIMAL + "limits: {per_address: off}\n", 8, "limits.per_address", "'off'"),
        (MINIMAL + "limits: {per_address: {rate: 0}}\n", 8, "limits.per_address.rate", "0 is too low"),
        (MINIMAL + "limits: {per_network: {rate: 1e7}}\n", 8, "limits.per_network.rate", "10000000.0 is too high"),
        (MINIMAL + "limits: {per_network: {rate: true}}\n", 8, "limits.per_network.rate", "true is not a number"),
        (
            MINIMAL + "limits: {per_network: {burst: off}}\n",
            8,
            "limits.per_network.burst",
            "'off' is not a whole number",
        ),
        (MINIMAL + "limits: {queue: {target: 1ms}}\n", 8, "limits.queue.target", "'1ms' is shorter than 10ms"),
        (MINIMAL + "limits: {allow: 10.0.0.0/8}\n", 8, "limits.allow", "'10.0.0.0/8'"),
        (MINIMAL + "limits: {deny: [10.0.0.0/33]}\n", 8, "limits.deny[0]", "'10.0.0.0/33' is not an IP network"),
        (
            MINIMAL + "limits: {deny: [10.0.0.0/255.0.0.0]}\n",
            8,
            "limits.deny[0]",
            "'10.0.0.0/255.0.0.0' is not an IP network",
        ),
        (MINIMAL + "listen: [4460]\n", 8, "listen[0]", "4460 is not an IP address and a port"),
        (MINIMAL + "listen: [{}]\n", 8, "listen[0].address", "missing"),
        (MINIMAL + "listen: [{address: ':1'}]\n", 8, "listen[0].address", "':1' is not an IP address and a port"),
        (MINIMAL + "listen: [{address: '[::]:1', colour: 1}]\n", 8, "listen[0].colour", "unknown key"),
        (MINIMAL + "listen: [{address: '[::]:1', proxy_from: []}]\n", 8, "listen[0].proxy_from", "an empty list"),
        (
            MINIMAL + "listen: [{address: '[::]:1', proxy_from: [x]}]\n",
            8,
            "listen[0].proxy_from[0]",
            "'x' is not an IP network",
        ),
        (MINIMAL + "log: {level: 3}\n", 8, "log.level", "3 is not known"),
        (MINIMAL + "log: {format: xml}\n", 8, "log.format", "'xml' is not known"),
        (MINIMAL + "log: {client_addresses: yes}\n", 8, "log.client_addresses", "'yes' is neither true nor false"),
        (NO_BACKENDS + "backends: []\n", 5, "backends", "an empty list"),
        (NO_BACKENDS + "backends: {ntp-1: 192.0.2.1}\n", 5, "backends", "a mapping"),
        (MINIMAL.replace("name: ntp-1", "name: ../etc"), 6, "backends[0].name", "'../etc' is not a name"),
        (MINIMAL.replace("192.0.2.1", "192.0.2"), 7, "backends[0].address", "'192.0.2' is not an IP address"),
        (MINIMAL.replace("192.0.2.1", "[]"), 7, "backends[0].address", "an empty list"),
        (
            NO_BACKENDS + "backends:\n  - srv: ntp.a.example\n",
            6,
            "backends[0].srv",
            "'ntp.a.example' is not the name of a service",
        ),
        (MINIMAL + "dns: {timeout: 1ms}\n", 8, "dns.timeout", "'1ms' is shorter than 100ms"),
        (MINIMAL + "dns: {servers: ns}\n", 8, "dns.servers", "'ns'"),
        (MINIMAL + "dns:\n  servers: [ns.example]\n", 9, "dns.servers[0]", "'ns.example' is not a DNS server"),
        (MINIMAL.replace("192.0.2.1", "[{}]"), 7, "backends[0].address[0]", "an empty mapping is not an IP address"),
        (MINIMAL + "    port: 0\n", 8, "backends[0].port", "0 is below 1"),
        (MINIMAL + "    port: 65536\n", 8, "backends[0].port", "65536 is above 65535"),
        (MINIMAL + "    port: 0123\n", 8, "backends[0].port", "'0123' is not a whole number"),
        (MINIMAL + "    weight: -1\n", 8, "backends[0].weight", "-1 is below 0"),
        (MINIMAL + "    weight: 257\n", 8, "backends[0].weight", "257 is above 256"),
        (MINIMAL + "    cookies: mixed\n", 8, "backends[0].cookies", "'mixed' is not known"),
        (MINIMAL + "    aeads: []\n", 8, "backends[0].aeads", "an empty list"),
        (MINIMAL + "    aeads: [16]\n", 8, "backends[0].aeads[0]", "16 is not an AEAD algorithm of NTS"),
        (MINIMAL + "    key_group: ''\n", 8, "backends[0].key_group", "'' is not a name"),
        (MINIMAL + "    zone: 1\n", 8, "backends[0].zone", "unknown key"),
        (MINIMAL + '    "a\\nb": 1\n', 8, "backends[0].'a\\nb'", "unknown key"),
        (MINIMAL + "<<: {workers: 1}\n", 8, "'<<'", "unknown key"),
        (MINIMAL + "3: {}\n", 8, "'3'", "unknown key"),
        (MINIMAL + "workers: !!int 1\n", 8, "workers", "the tag 'tag:yaml.org,2002:int' is not used here"),
        (MINIMAL + "log: &log {}\nlimits: *log\n", 9, "limits", "the alias *log is not followed"),
        (MINIMAL + "pool: {}\n", 8, "pool", "stands in line 1 already"),
    ],
)
def test_one_mistake(folder: Path, text: str, line: int, place: str, wrong: str) -> None:
    (mistake,) = mistakes_of(folder, text)
    assert mistake.startswith(f"backends.yaml:{line}: {place}: {wrong}; expected ")


@pytest.mark.parametrize(
    ("typed", "meant"), [("weigth", "weight"), ("Port", "port"), ("addresses", "address"), ("keygroup", "key_group")]
)
def test_the_nearest_name_is_suggested(folder: Path, typed: str, meant: str) -> None:
    expected = f"backends.yaml:8: backends[0].{typed}: unknown key; did you mean {meant}?"
    assert mistakes_of(folder, MINIMAL + f"    {typed}: 1\n") == [expected]


def test_a_configuration_that_is_not_there(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "none.yaml", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(ConfigError) as caught:
            load(path)
        assert caught.value.mistakes == (f"{path}:1: cannot be read: {reason}; expected a YAML file",)


def test_an_address_may_stand_twice_on_different_ports_only(folder: Path) -> None:
    text = MINIMAL + "  - name: ntp-2\n    address: [192.0.2.2, 192.0.2.1]\n"
    assert len(load_text(folder, text + "    port: 1123\n").backends) == 2
    where = "192.0.2.1:123 stands in backends[0].address (line 7) already"
    assert mistakes_of(folder, text) == [f"backends.yaml:9: backends[1].address[1]: {where}; expected each only once"]
    (mistake,) = mistakes_of(folder, MINIMAL.replace("192.0.2.1", '["2001:db8::1", "2001:DB8:0::1"]'))
    assert mistake.startswith(
        "backends.yaml:7: backends[0].address[1]: [2001:db8::1]:123 stands in backends[0].address[0]"
    )


def test_a_name_may_stand_twice_on_different_ports_only(folder: Path) -> None:
    text = MINIMAL.replace("192.0.2.1", "[192.0.2.1, A.example]") + "  - {name: ntp-2, address: a.example}\n"
    assert load_text(folder, text.replace("a.example}", "a.example, port: 124}")).backends[1].address == ("a.example",)
    where = "a.example:123 stands in backends[0].address[1] (line 7) already"
    assert mistakes_of(folder, text) == [f"backends.yaml:8: backends[1].address: {where}; expected each only once"]


def test_an_srv_name_is_a_backend_without_a_name(folder: Path) -> None:
    config = load_text(folder, NO_BACKENDS + "backends: [{srv: _NTSKE._tcp.example.com, cookies: ntpsec}]\n")
    assert dict(config.backends[0]) == {
        "name": "",
        "address": (),
        "srv": "_ntske._tcp.example.com",
        "port": 123,
        "weight": 10,
        "cookies": CookieFormat.NTPSEC,
        "ke": KeyExchange(),
        "aeads": DEFAULT_AEADS[CookieFormat.NTPSEC],
        "key_group": "",
        "region": (),
    }
    assert config.backends[0].model_fields_set == {"srv", "cookies"}


def test_an_srv_name_stands_alone_and_once(folder: Path) -> None:
    text = NO_BACKENDS + (
        "backends:\n  - srv: _ntp._udp.example.com\n    name: a\n    address: [192.0.2.1, x_y]\n"
        "  - {srv: _ntp._udp.example.com}\n"
    )
    beside = "stands beside srv, which gives the names and addresses; expected either srv, or name and address"
    assert [mistake.partition(": ")[2] for mistake in mistakes_of(folder, text) if "x_y" not in mistake] == [
        f"backends[0].name: {beside}",
        f"backends[0].address: {beside}",
        "backends[1].srv: _ntp._udp.example.com stands in backends[0].srv (line 6) already; expected each only once",
    ]


def test_a_key_group_of_discovered_backends_has_one_cookie_format(folder: Path) -> None:
    text = MINIMAL + "  - {srv: _ntp._udp.example.com, key_group: ntp-1, cookies: ntpsec}\n"
    (mistake,) = mistakes_of(folder, text)
    assert mistake.startswith("backends.yaml:8: backends[1].key_group: ntpsec cookies in key group ntp-1, where")
    assert load_text(folder, text.replace("ntpsec", "chrony")).backends[1].key_group == "ntp-1"


def test_dns_servers_are_asked_in_their_order(folder: Path) -> None:
    config = load_text(folder, MINIMAL + "dns: {servers: ['192.0.2.53:5353', '2001:db8::53'], timeout: 500ms}\n")
    assert config.dns.servers == (Endpoint("192.0.2.53", 5353), Endpoint("2001:db8::53", 53))
    assert config.dns.timeout == 0.5


def test_what_is_wrong_elsewhere_hides_no_broken_rule(folder: Path) -> None:
    text = MINIMAL + "  - {name: ntp-1, address: [192.0.2.1, non_sense], port: 123, weight: x}\n"
    assert [mistake.split(": ")[1] for mistake in mistakes_of(folder, text)] == [
        "backends[1].address[1]",
        "backends[1].weight",
        "backends[1].name",
        "backends[1].address[0]",
    ]


def test_what_is_wrong_in_itself_breaks_no_rule(folder: Path) -> None:
    text = MINIMAL + (
        "    cookies: none\n    aeads: [15, 17, 30]\n    port: 0\n"
        "  - {name: ntp-1/, address: [192.0.2.1, 192.0.2.1], cookies: ntpsec, port: 0}\n"
        "health: {interval: 0, timeout: 20}\nlisten: [1, 1]\n"
    )
    assert [mistake.split(": ")[1] for mistake in mistakes_of(folder, text)] == [
        "backends[0].cookies",
        "backends[0].port",
        "backends[1].name",
        "backends[1].port",
        "health.interval",
        "listen[0]",
        "listen[1]",
    ]


def test_the_aeads_of_a_backend_stand_once_each(folder: Path) -> None:
    (mistake,) = mistakes_of(folder, MINIMAL + "    aeads: [15, AES-SIV-CMAC-256]\n")
    assert mistake.startswith("backends.yaml:8: backends[0].aeads[1]: AES-SIV-CMAC-256 stands in backends[0].aeads[0]")


@pytest.mark.parametrize(
    ("health", "key"),
    [
        ("{interval: 1s}", "interval"),
        ("{timeout: 16s}", "timeout"),
        ("{interval: 2s, timeout: 3s}", "timeout"),
        ("{timeout: 2s, fast_interval: 2s}", "timeout"),
        ("{fast_interval: 1s}", "fast_interval"),
    ],
)
def test_a_probe_must_end_before_the_next(folder: Path, health: str, key: str) -> None:
    (mistake,) = mistakes_of(folder, MINIMAL + f"health: {health}\n")
    assert mistake.startswith(f"backends.yaml:8: health.{key}: a timeout of ")


@pytest.mark.parametrize(
    ("limits", "key"),
    [
        ("{per_address: {rate: 500}}", "per_address.rate"),
        ("{per_network: {sessions: 499}}", "per_network.sessions"),
        ("{per_address: {burst: 9}, per_network: {burst: 8}}", "per_address.burst"),
    ],
)
def test_an_address_has_no_more_than_its_network(folder: Path, limits: str, key: str) -> None:
    (mistake,) = mistakes_of(folder, MINIMAL + f"limits: {limits}\n")
    assert mistake.startswith(f"backends.yaml:8: limits.{key}: ")
    assert mistake.endswith("expected no more for an address than for its network")


def test_a_network_is_allowed_or_denied(folder: Path) -> None:
    (mistake,) = mistakes_of(
        folder, MINIMAL + "limits: {allow: [10.0.0.0/8, '::/0'], deny: [11.0.0.0/8, 10.0.0.0/8]}\n"
    )
    assert mistake.startswith("backends.yaml:8: limits.deny[1]: 10.0.0.0/8 stands in limits.allow[0] (line 8) already")


def test_a_network_begins_where_its_prefix_ends(folder: Path) -> None:
    assert mistakes_of(folder, MINIMAL + "limits: {deny: [10.0.0.1/8]}\n") == [
        "backends.yaml:8: limits.deny[0]: '10.0.0.1/8' has bits set behind its prefix; did you mean 10.0.0.0/8?"
    ]


def test_an_endpoint_stands_once_with_proxies_or_without(folder: Path) -> None:
    (mistake,) = mistakes_of(folder, MINIMAL + "listen: ['[::]:1', {address: '[::]:1', proxy_from: ['::/0']}]\n")
    assert mistake.startswith("backends.yaml:8: listen[1].address: [::]:1 stands in listen[0] (line 8) already")


def test_the_fast_interval_is_the_shorter_one(folder: Path) -> None:
    (mistake,) = mistakes_of(folder, MINIMAL + "health: {fast_interval: 17s}\n")
    assert mistake.startswith("backends.yaml:8: health.fast_interval: 17s with an interval of 16s; expected no more")


@pytest.mark.parametrize(
    ("health", "fast", "down"),
    [
        ("{interval: 30s}", 2, 30),
        ("{interval: 500ms, timeout: 450ms}", 0.5, 0.5),
        ("{timeout: 4s}", 8, 16),
        ("{timeout: 10s}", 16, 16),
        ("{down_interval: 1m}", 2, 60),
    ],
)
def test_the_intervals_that_are_not_stated(folder: Path, health: str, fast: float, down: float) -> None:
    read = load_text(folder, MINIMAL + f"health: {health}\n").health
    assert (read.fast_interval, read.down_interval) == (fast, down)


def test_a_key_group_has_one_cookie_format(folder: Path) -> None:
    text = MINIMAL + "  - {name: ntp-2, address: 192.0.2.2, key_group: ntp-1, cookies: COOKIES}\n"
    first, second = load_text(folder, text.replace("COOKIES", "chrony")).backends
    assert first.key_group == second.key_group == "ntp-1"
    what = "ntpd-rs cookies in key group ntp-1, where backends[0] (line 6) has chrony cookies"
    assert mistakes_of(folder, text.replace("COOKIES", "ntpd-rs")) == [
        f"backends.yaml:8: backends[1].key_group: {what}; expected one cookie format in each key group"
    ]


@pytest.mark.parametrize(
    ("cookies", "aead"), [("chrony", 17), ("ntpsec", 30), ("ntpd-rs", 30), ("ntpd-rs", "AES-128-GCM-SIV")]
)
def test_an_aead_that_the_cookies_cannot_carry(folder: Path, cookies: str, aead: int | str) -> None:
    (mistake,) = mistakes_of(folder, MINIMAL + f"    cookies: {cookies}\n    aeads: [15, {aead}]\n")
    assert mistake.startswith("backends.yaml:9: backends[0].aeads[1]: AES-")
    assert f"does not fit into {cookies} cookies; expected AES-SIV-CMAC-256 or AES-" in mistake


def test_a_key_file_that_may_not_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The tests may run as root, who may read everything.
    real = Path.open

    def deny(path: Path, mode: str = "r") -> object:
        if path.name == "privkey.pem":
            raise PermissionError(13, os.strerror(13))
        return real(path, mode)

    monkeypatch.setattr(Path, "open", deny)
    (mistake,) = mistakes_of(folder, MINIMAL)
    assert mistake.startswith("backends.yaml:4: tls[0].key: privkey.pem cannot be read: Permission denied;")


def test_a_fifo_is_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "fifo")
    (mistake,) = mistakes_of(folder, MINIMAL.replace("privkey.pem", "fifo"))
    assert mistake.startswith("backends.yaml:4: tls[0].key: fifo is not a regular file;")


def test_the_sample_is_right_but_for_its_certificate() -> None:
    with pytest.raises(ConfigError) as caught:
        load(SAMPLE)
    assert [mistake.split(": ")[1] for mistake in caught.value.mistakes] == ["tls[0].certificate", "tls[0].key"]


def test_the_sample_shows_the_defaults(folder: Path) -> None:
    shown = SAMPLE.read_text().replace("/etc/ntspool/tls/", "")
    sample, least = load_text(folder, shown), load_text(folder, MINIMAL)
    for key in set(Config.model_fields) - {"pool", "tls", "backends"}:
        assert re.search(f"^{key}:", shown, re.MULTILINE)
        assert getattr(sample, key) == getattr(least, key)
    limits = (sample.limits, sample.limits.per_address, sample.limits.per_network, sample.limits.queue)
    for section in (sample.keys, sample.control, sample.status, sample.health, sample.history, *limits, sample.log):
        assert section.model_fields_set == set(type(section).model_fields) - {"encryption_key"}
    stated = set().union(*(backend.model_fields_set for backend in sample.backends))
    assert stated == set(Backend.model_fields) - {"ke"}
    assert sample.backends[2] == least.backends[0].model_copy(
        update={"name": "ntp-3", "key_group": "ntp-3", "address": (ip_address("192.0.2.3"),)}
    )


def outcome(folder: Path, text: str | bytes) -> tuple[str, ...]:
    try:
        load_text(folder, text)
    except ConfigError as error:
        return error.mistakes or ("a refusal without a reason",)
    return ()


def check_refusal(folder: Path, mistakes: tuple[str, ...]) -> None:
    """Fail unless all of `mistakes` are in their form, in our words, and in order."""
    found = [re.fullmatch(rf"{folder}/backends\.yaml:([1-9][0-9]*): (.+)", mistake) for mistake in mistakes]
    assert all(match and not PYDANTIC_ENGLISH.search(match[2]) for match in found), mistakes
    lines = [int(match[1]) for match in found if match]
    assert lines == sorted(lines)


@pytest.mark.parametrize("loader", ["SafeLoader", "CSafeLoader"])
@given(
    text=st.one_of(
        st.binary(max_size=200), st.text(max_size=200), st.text(" \n:-[]{}*&!|>'\"#%@\t,?ab1.\\uxU0", max_size=60)
    )
)
@example(text='"\\ud800": "\\ud800"\n')
@example(text='"\\U99999999"')
@example(text="%YAML 1." + "9" * 5000 + "\n---\na")
@example(text="workers: " + "9" * 5000)
@example(text="health: {interval: 1e999, timeout: .nan}")
@example(text="? [a]\n: b")
@example(text="{{ name }}: x")
@example(text="[" * 1000)
@example(text="- " * 1000)
@example(text="a: &a [*a, *a]\n<<: *a")
@settings(deadline=None)
def test_any_text_is_refused_cleanly(folder: Path, loader: str, text: str | bytes) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(yamlfile, "_LOADER", getattr(yaml, loader))
        check_refusal(folder, outcome(folder, text))


KEYS = [
    *Config.model_fields,
    *(key for field in Config.model_fields.values() for key in getattr(field.annotation, "model_fields", {})),
    *("name", "address", "srv", "port", "weight", "cookies", "aeads", "key_group", "certificate", "key"),
    *("ke", "host", "ca", "token"),
]
VALUES = [
    "auto",
    "off",
    "7d",
    "chrony",
    "ntpsec",
    "fixed-key",
    "192.0.2.1",
    "2001:db8::1",
    "[::]:4460",
    "a",
    "random",
    "_ntp._udp.example.com",
    15,
    17,
    30,
    1,
    0,
    -1,
]
SCALARS = st.one_of(
    st.sampled_from(VALUES), st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8)
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), inner),
    max_leaves=30,
)


@given(tree=st.dictionaries(st.sampled_from(list(Config.model_fields)), TREES))
@settings(max_examples=200, deadline=None)
def test_any_structure_is_refused_cleanly(folder: Path, tree: dict[str, object]) -> None:
    check_refusal(folder, outcome(folder, json.dumps(tree, ensure_ascii=False)))


@given(
    data=st.data(),
    fields=st.sets(
        st.sampled_from(["name", "address", "srv", "port", "weight", "cookies", "ke", "aeads", "key_group"]), max_size=8
    ),
)
@settings(deadline=None)
def test_any_backend_is_refused_cleanly(folder: Path, data: st.DataObject, fields: set[str]) -> None:
    backend = {"name": "b", "address": "192.0.2.9"} | {key: data.draw(TREES) for key in fields}
    check_refusal(folder, outcome(folder, MINIMAL + f"  - {json.dumps(backend, ensure_ascii=False)}\n"))


def test_a_pool_name_that_no_certificate_covers_is_a_mistake(folder: Path) -> None:
    text = MINIMAL.replace("[ntp-pool.example.com]", "[a.example.com, ntp.elsewhere.test, b.a.example.com]")
    assert mistakes_of(folder, text) == [
        f"backends.yaml:2: pool.names[{index}]: no certificate is for {name}; expected one under tls that names it"
        for index, name in [(1, "ntp.elsewhere.test"), (2, "b.a.example.com")]
    ]


def test_a_key_that_others_can_read_is_a_mistake(folder: Path) -> None:
    key = folder / "open.pem"
    key.write_bytes((folder / "privkey.pem").read_bytes())
    key.chmod(0o644)
    (mistake,) = mistakes_of(folder, MINIMAL.replace("privkey.pem", "open.pem"))
    assert mistake.startswith("backends.yaml:4: tls[0]: open.pem is open to every user; chmod o=")


def test_a_certificate_with_the_key_of_another_is_a_mistake(folder: Path, pki: Pki) -> None:
    (mistake,) = mistakes_of(folder, MINIMAL.replace("privkey.pem", str(pki.key)))
    assert mistake.startswith(f"backends.yaml:4: tls[0]: {pki.key} is not the private key of the certificate in full")


@pytest.mark.parametrize(("keys", "life"), [("{}", 86400), ("{rotate: 3h}", 10800), ("{rotate: off}", 86400)])
def test_cookies_are_good_for_a_day_or_from_rotation_to_rotation(folder: Path, keys: str, life: float) -> None:
    assert load_text(folder, f"{MINIMAL}keys: {keys}\n").keys.life == life


def test_a_life_longer_than_the_rotation_is_a_mistake(folder: Path) -> None:
    (mistake,) = mistakes_of(folder, MINIMAL + "keys: {rotate: 3h, life: 1d}\n")
    assert mistake.startswith("backends.yaml:8: keys.life: a life of 1d with a rotation every 3h; expected no more")


@pytest.mark.parametrize(
    ("stated", "history"),
    [
        ("{}", (400 * 86400, 7 * 86400, 2 * 1024**3)),
        ("{keep: 2d, size: 500M}", (2 * 86400, 2 * 86400, 500 * 1024**2)),
        ("{keep: off}", (None, 7 * 86400, 2 * 1024**3)),
        ("{keep: 3650d, probes: 30d}", (3650 * 86400, 30 * 86400, 2 * 1024**3)),
    ],
)
def test_single_probes_are_kept_for_a_week_or_as_long_as_anything(
    folder: Path, stated: str, history: tuple[float | None, float, int]
) -> None:
    loaded = load_text(folder, f"{MINIMAL}history: {stated}\n").history
    assert (loaded.keep, loaded.probes, loaded.size) == history


@pytest.mark.parametrize(
    ("stated", "mistake"),
    [
        ("{keep: 1d, probes: 2d}", "history.probes: single probes for 2d of 1d; expected no more"),
        ("{probes: 401d}", "history.probes: '401d' is longer than 365d"),
        ("{keep: 4000d}", "history.keep: '4000d' is longer than 3650d; expected a duration such as"),
        ("{keep: 1m}", "history.keep: '1m' is shorter than 1h"),
        ("{size: 1M}", "history.size: '1M' is too small; expected a size such as 500M or 2G, at least 10M"),
        ("{size: 2000000}", "history.size: 2000000 is not a size"),
    ],
)
def test_history_that_is_no_good(folder: Path, stated: str, mistake: str) -> None:
    (found,) = mistakes_of(folder, f"{MINIMAL}history: {stated}\n")
    assert found.startswith(f"backends.yaml:8: {mistake}")


def test_the_ports_of_agents_stand_once_each(folder: Path) -> None:
    (mistake,) = mistakes_of(folder, MINIMAL + "control: {listen: ['[::1]:4461', '127.0.0.1:4461', '[::1]:4461']}\n")
    assert mistake.startswith(
        "backends.yaml:8: control.listen[2]: [::1]:4461 stands in control.listen[0] (line 8) already"
    )


def test_nobody_else_listens_where_the_page_is_served(folder: Path) -> None:
    more = "control: {listen: ['127.0.0.1:8460']}\nstatus: {listen: ['[::]:4460', '127.0.0.1:8460', '[::1]:8460']}\n"
    assert [mistake.split("; ")[0] for mistake in mistakes_of(folder, f"{MINIMAL}listen: ['[::]:4460']\n{more}")] == [
        "backends.yaml:10: status.listen[0]: [::]:4460 stands in listen[0] (line 8) already",
        "backends.yaml:10: status.listen[1]: 127.0.0.1:8460 stands in control.listen[0] (line 9) already",
    ]
    assert load_text(folder, MINIMAL).status.listen == ()


def test_paths_of_keys_and_socket_start_in_the_folder(folder: Path) -> None:
    config = load_text(folder, MINIMAL + "keys: {encryption_key: kek}\nadmin: {socket: run/admin.sock}\n")
    assert (config.keys.encryption_key, config.admin.socket) == (folder / "kek", folder / "run/admin.sock")


# Backends that all gateways of a cluster share.


SHARED = "store: {etcd: ['https://etcd-1.example.com:2379']}\nstate: state\n"


def test_the_backends_of_a_cluster_take_the_place_of_the_files(folder: Path) -> None:
    path = folder / "backends.yaml"
    path.write_text(MINIMAL + SHARED)
    assert [each.name for each in load(path).backends] == ["ntp-1"]
    (folder / "state").mkdir(exist_ok=True)
    copy = folder / "state" / SHARED_BACKENDS
    copy.write_text("# shared\nbackends:\n  - {name: a, address: 192.0.2.7}\n  - {name: b, address: 192.0.2.8}\n")
    assert [each.name for each in load(path).backends] == ["a", "b"]
    # Which then needs none.
    path.write_text(MINIMAL.partition("backends:")[0] + SHARED)
    assert [each.name for each in load(path).backends] == ["a", "b"]
    # Alone again, a gateway has its own.
    path.write_text(f"{MINIMAL}state: state\n")
    assert [each.name for each in load(path).backends] == ["ntp-1"]


def test_mistakes_in_either_file_are_told_with_their_own_lines(folder: Path) -> None:
    path = folder / "backends.yaml"
    path.write_text(f"{MINIMAL}{SHARED}pins: {{ntp.example.com: nobody}}\nworkers: 0\n")
    (folder / "state").mkdir(exist_ok=True)
    copy = folder / "state" / SHARED_BACKENDS
    copy.write_text("backends:\n  - {name: a, address: 192.0.2.7}\n  - {name: a, address: 192.0.2.8, wieght: 3}\n")
    with pytest.raises(ConfigError) as caught:
        load(path)
    told = [each.replace(str(folder), "").partition(" ")[0] for each in caught.value.mistakes]
    lines = path.read_text().splitlines()
    assert set(told) == {
        f"/backends.yaml:{len(lines) - 1}:",
        f"/backends.yaml:{len(lines)}:",
        "/state/backends:3:",
    }
