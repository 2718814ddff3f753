"""`dns.publish`: what it means, and every mistake that can be made in it."""

from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

import pytest

from ntspool.app import declared
from ntspool.config import Config, load
from ntspool.errors import ConfigError
from ntspool.pool.publishing import Gateway
from tests.conftest import Pki
from tests.interop.nameservers import write_key

POOL = """\
pool: {names: [ntp-pool.example.com, ntp-pool.example.net]}
listen: ['192.0.2.1:4460', '[2001:db8::1]:4460', '127.0.0.1:4460']
tls: [{certificate: fullchain.pem, key: privkey.pem}]
backends: [{name: ntp-1, address: 192.0.2.9}]
groups: {eu.example.com: [ntp-1]}
pins: {ntp-1.example.com: ntp-1}
"""
KEY = "server: 192.0.2.53, key: tsig.key"


@pytest.fixture(scope="module")
def folder(pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("etc")
    names = ["*.example.com", "*.example.net", "*.ntp-pool.example.com"]
    pki.authority.issue(names, [], path, datetime.now(UTC))
    write_key(path / "tsig.key")
    write_key(path / "open.key")
    (path / "open.key").chmod(0o644)
    (path / "md5.key").write_text('key "old" { algorithm hmac-md5; secret "c2VjcmV0"; };')
    (path / "no.key").write_text("secret")
    for each in ("md5", "no"):
        (path / f"{each}.key").chmod(0o600)
    return path


def loaded(folder: Path, publish: str, pool: str = POOL) -> Config:
    path = folder / "backends.yaml"
    path.write_text(f"{pool}dns: {{publish: {{{publish}}}}}\n")
    return load(path)


def test_without_a_server_nothing_is_published(folder: Path) -> None:
    config = loaded(folder, "")
    assert declared.publishing(config, config.listen) is None


def test_the_least_gets_the_addresses_that_are_listened_on(folder: Path) -> None:
    config = loaded(folder, KEY)
    found = declared.publishing(config, config.listen)
    assert found is not None
    assert (found.server, found.key, found.zone) == (("192.0.2.53", 53), folder / "tsig.key", "")
    assert found.publication.names == ("ntp-pool.example.com", "ntp-pool.example.net", "eu.example.com")
    assert found.publication.own == Gateway((ip_address("192.0.2.1"), ip_address("2001:db8::1")))
    assert (found.publication.ttl, found.publication.slots) == (60, True)


def test_all_that_can_be_stated(folder: Path) -> None:
    more = "zone: example.com, names: [ntp-pool.example.com, ntp-1.example.com], addresses: [198.51.100.1], "
    more += "host: gw1.ntp-pool.example.com, ttl: 2m, priority: 1, weight: 20, slots: false, withdrawn: true"
    config = loaded(folder, f"server: '[2001:db8::53]:5353', key: tsig.key, {more}")
    found = declared.publishing(config, config.listen)
    assert found is not None
    assert (found.server, found.zone) == (("2001:db8::53", 5353), "example.com")
    assert found.publication.names == ("ntp-pool.example.com", "ntp-1.example.com")
    assert found.publication.own == Gateway(
        (ip_address("198.51.100.1"),), "gw1.ntp-pool.example.com", 4460, priority=1, weight=20
    )
    assert (found.publication.ttl, found.publication.slots, found.withdrawn) == (120, False, True)


ANYWHERE = POOL.replace("listen: ['192.0.2.1:4460', '[2001:db8::1]:4460', '127.0.0.1:4460']\n", "")


@pytest.mark.parametrize(
    ("publish", "mistake"),
    [
        ("key: tsig.key", "server: missing; expected the address of the zone's primary DNS server"),
        ("server: 192.0.2.53", "key: missing; expected the path of a TSIG key file"),
        (
            "server: ns.example.com, key: tsig.key",
            "server: 'ns.example.com' is not a DNS server",
        ),
        (
            "server: 192.0.2.53, key: gone.key",
            "key: HERE/gone.key cannot be read: No such file or directory",
        ),
        (
            "server: 192.0.2.53, key: open.key",
            "key: HERE/open.key is open to every user",
        ),
        (
            "server: 192.0.2.53, key: md5.key",
            "key: HERE/md5.key has a key for hmac-md5",
        ),
        (
            "server: 192.0.2.53, key: no.key",
            "key: HERE/no.key is not a key file",
        ),
        (f"{KEY}, ttl: 90d", "ttl: '90d' is longer than a day"),
        (
            f"{KEY}, ttl: 1500ms",
            "ttl: '1500ms' is not a number of whole seconds",
        ),
        (f"{KEY}, weight: 65536", "weight: 65536 is above 65535; expected a whole number from 0 to 65535"),
        (f"{KEY}, slots: maybe", "slots: 'maybe' is neither true nor false; expected true or false"),
        (f"{KEY}, addresses: 192.0.2.1", "addresses: '192.0.2.1'; expected a list of IP addresses"),
        (
            f"{KEY}, addresses: [0.0.0.0]",
            "addresses[0]: '0.0.0.0' is not one host's address that clients can use",
        ),
        (
            f"{KEY}, names: [x.example.com]",
            "names[0]: x.example.com is no name of this pool",
        ),
        (
            f"{KEY}, zone: example.com",
            "zone: ntp-pool.example.net is not in the zone example.com",
        ),
        (
            f"{KEY}, host: gw1.example.org",
            "host: no certificate is for gw1.example.org; expected one under tls that names it",
        ),
        (
            f"{KEY}, zone: example.com, names: [ntp-pool.example.com], host: gw1.example.net",
            "host: gw1.example.net is not in the zone example.com; expected names of one zone, or no zone: the server",
        ),
        (
            f"{KEY}, host: ntp-pool.example.com",
            "host: ntp-pool.example.com is a name of the pool, which leads to every gateway",
        ),
        (f"{KEY}, sever: 1", "sever: unknown key; did you mean server?"),
    ],
)
def test_each_mistake_is_told(folder: Path, publish: str, mistake: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(folder, publish)
    [told] = caught.value.mistakes
    assert (
        told.replace(f"{folder}/", "", 1)
        .replace(str(folder), "HERE")
        .startswith(f"backends.yaml:7: dns.publish.{mistake}")
    )


def test_who_listens_everywhere_must_say_where_clients_come(folder: Path) -> None:
    with pytest.raises(ConfigError, match="addresses: missing, and listen names no address that clients elsewhere can"):
        loaded(folder, KEY, ANYWHERE)
    assert loaded(folder, f"{KEY}, addresses: [192.0.2.1]", ANYWHERE)
