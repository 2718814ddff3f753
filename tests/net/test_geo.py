"""ntspool/net/geo.py: where clients are, whatever happens to the database."""

import os
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from ntspool.errors import DatabaseError
from ntspool.net.geo import CHECK_INTERVAL, Locator, locator, nowhere, open_database
from tests.net.mmdb import mmdb, place

NETWORKS = {
    "192.0.2.0/24": place("DE", "EU"),
    "198.51.100.0/25": place("NA", "AF"),
    "203.0.113.0/24": {"continent": {"code": "AS"}},
    "2001:db8::/32": place("US", "NA"),
    "2001:db9::/32": {"country": {"iso_code": 7}, "continent": "EU"},
    "2001:dba::/32": ["not", "a map"],
    "2001:dbb::/32": place("XX", "??"),
}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "country.mmdb"
    path.write_bytes(mmdb(NETWORKS))
    return path


class Clock:
    now = 100.0

    def __call__(self):
        return self.now

    def pass_interval(self):
        self.now += CHECK_INTERVAL


def replace(path, content):
    """Put other content at `path`, as tools that update databases do."""
    fresh = path.with_suffix(".new")
    fresh.write_bytes(content)
    os.replace(fresh, path)


def at(locate, address):
    return locate(ip_address(address).packed)


@pytest.mark.parametrize(
    ("address", "places"),
    [
        ("192.0.2.77", ("de", "europe")),
        ("198.51.100.1", ("na", "africa")),
        ("198.51.100.200", ()),
        ("203.0.113.1", ("asia",)),
        ("10.0.0.1", ()),
        ("2001:db8::1", ("us", "north-america")),
        ("2001:db9::1", ()),
        ("2001:dba::1", ()),
        ("2001:dbb::1", ("xx",)),
        ("2001:dbc::1", ()),
    ],
)
def test_where_a_client_is(path, address, places):
    assert at(Locator(path), address) == places


def test_without_a_database_everybody_is_nowhere():
    assert at(nowhere, "192.0.2.1") == ()


def test_a_database_of_ipv4_alone(tmp_path):
    path = tmp_path / "v4.mmdb"
    path.write_bytes(mmdb({"192.0.2.0/24": place("DE", "EU")}, ip_version=4))
    locate = Locator(path)
    assert at(locate, "192.0.2.1") == ("de", "europe")
    assert at(locate, "2001:db8::1") == ()


def test_a_replaced_database_is_read_anew(path):
    clock = Clock()
    locate = Locator(path, clock)
    assert at(locate, "192.0.2.1") == ("de", "europe")
    replace(path, mmdb({"192.0.2.0/24": place("FR", "EU")}))
    assert at(locate, "192.0.2.1") == ("de", "europe")
    clock.pass_interval()
    assert at(locate, "192.0.2.1") == ("fr", "europe")


@pytest.mark.parametrize("damage", ["removed", "cut short", "empty", "nonsense", "a directory"])
def test_the_last_good_database_stays_and_the_damage_is_told_once(path, damage):
    clock = Clock()
    locate = Locator(path, clock)
    assert at(locate, "192.0.2.1") == ("de", "europe")
    whole = path.read_bytes()
    path.unlink()
    if damage == "a directory":
        path.mkdir()
    elif damage != "removed":
        # In place: a database that was mapped would end the process here.
        path.write_bytes({"cut short": whole[:200], "empty": b"", "nonsense": b"x" * 5000}[damage])
    with capture_logs() as logs:
        for _ in range(3):
            clock.pass_interval()
            assert at(locate, "192.0.2.1") == ("de", "europe")
    assert [line["event"] for line in logs] == ["region database refused, the last good one stays"]
    if damage == "a directory":
        path.rmdir()
    replace(path, mmdb({"192.0.2.0/24": place("FR", "EU")}))
    clock.pass_interval()
    assert at(locate, "192.0.2.1") == ("fr", "europe")


def test_a_database_that_is_missing_at_first_is_found_later(tmp_path):
    clock, path = Clock(), tmp_path / "late.mmdb"
    locate = Locator(path, clock)
    assert at(locate, "192.0.2.1") == ()
    path.write_bytes(mmdb(NETWORKS))
    clock.pass_interval()
    assert at(locate, "192.0.2.1") == ("de", "europe")


@given(st.data())
def test_no_damage_makes_a_look_up_raise(tmp_path_factory, data):
    content = bytearray(mmdb(NETWORKS))
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("geo") / "damaged.mmdb"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    locate = Locator(path)
    for address in ("192.0.2.1", "2001:db8::1", "203.0.113.1", "::"):
        assert all(isinstance(each, str) for each in at(locate, address))


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "cannot be read: No such file"), (b"", "is not a MaxMind"), (b"x", "is not a MaxMind")],
)
def test_a_database_that_cannot_be_used(tmp_path, content, words):
    path = tmp_path / "bad.mmdb"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DatabaseError, match=f"bad.mmdb {words}"):
        open_database(path)


def test_a_fifo_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(DatabaseError, match="not a regular file"):
        open_database(tmp_path / "fifo")


def test_one_locator_for_a_path(path):
    assert locator(str(path)) is locator(str(path))
