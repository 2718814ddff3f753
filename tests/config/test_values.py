import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ntspool.config import history, values
from ntspool.config.values import Endpoint
from ntspool.wire.aead import Aead

PARSERS: list[Callable[[object], object]] = [
    values.name,
    values.dns_name,
    values.address,
    values.srv_name,
    values.dns_server,
    values.dns_timeout,
    history.retention,
    history.byte_count,
    values.endpoint,
    values.rotation,
    values.workers,
    values.flag,
    values.aead,
    values.port,
    values.weight,
    values.at_least_one,
    values.interval,
    values.probe_timeout,
    values.session_timeout,
    values.cookies,
    lambda value: values.file_path(value, Path("/etc")),
]

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()


def problem(parse: Callable[[object], object], value: object) -> str | None:
    try:
        parse(value)
    except ValueError as error:
        return str(error)
    return None


@pytest.mark.parametrize("parse", PARSERS)
@given(value=SCALARS | st.lists(SCALARS) | st.dictionaries(st.text(), SCALARS))
def test_whatever_is_wrong_says_what_is_expected(parse: Callable[[object], object], value: object) -> None:
    message = problem(parse, value)
    assert message is None or "; expected " in message or "; did you mean " in message
    assert message is None or message.isprintable()


@pytest.mark.parametrize("name", ["a", "9", "ntp-1.example_com", "A" * 99])
def test_names(name: str) -> None:
    assert values.name(name) == name


@pytest.mark.parametrize(
    "wrong", ["", "A" * 100, ".", "..", "-x", "_x", "a/b", "a b", "a\n", "\u00e4", 7, 1.5, True, None, []]
)
def test_what_is_no_name(wrong: object) -> None:
    with pytest.raises(ValueError, match="is not a name; expected a name of at most 99 letters") as caught:
        values.name(wrong)
    assert ("need quotes" in str(caught.value)) is isinstance(wrong, int | float)


@pytest.mark.parametrize(
    "name", ["a", "a.b", "ntp-pool.example.com", "xn--zeit-9oa.example", "1.pool", ".".join(["a" * 49] * 5)]
)
def test_dns_names(name: str) -> None:
    assert values.dns_name(name) == name
    assert values.dns_name(name.upper()) == name


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ("", "is not a DNS name"),
        ("a..b", "is not a DNS name"),
        ("example.com.", "is not a DNS name"),
        (".example.com", "is not a DNS name"),
        ("*.example.com", "is not a DNS name"),
        ("a_b.example", "is not a DNS name"),
        ("-a.example", "is not a DNS name"),
        ("a-.example", "is not a DNS name"),
        ("\u00e4.example", "is not a DNS name"),
        ("\u212a.example", "is not a DNS name"),
        ("a" * 64, "is not a DNS name"),
        (".".join(["a" * 50] * 5), "is longer than 253 characters"),
        ("192.0.2.1", "is a number or an IP address"),
        ("2001:db8::1", "is a number or an IP address"),
        ("example.com:4460", "is a number or an IP address"),
        (7, "is not a DNS name"),
        (None, "is not a DNS name"),
    ],
)
def test_what_is_no_dns_name(wrong: object, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        values.dns_name(wrong)


@given(address=st.ip_addresses())
def test_addresses(address: IPv4Address | IPv6Address) -> None:
    mapped = isinstance(address, IPv6Address) and address.ipv4_mapped
    assume(not (address.is_multicast or address.is_unspecified or mapped))
    assert values.address(str(address)) == address


@pytest.mark.parametrize("wrong", ["0.0.0.0", "::", "224.0.1.1", "ff02::101", "fe80::1%eth0", "::ffff:192.0.2.1"])
def test_addresses_that_no_client_can_use(wrong: str) -> None:
    with pytest.raises(ValueError, match="is not one host's address that clients can use; expected an IPv4 or IPv6"):
        values.address(wrong)


@pytest.mark.parametrize(
    "wrong", ["", "192.0.2", "192.0.2.01", "192.0.2.1:123", "[::1]", "a.example.7", " ::1", 3221225985, None]
)
def test_what_is_no_address(wrong: object) -> None:
    with pytest.raises(ValueError, match="is not an IP address; expected an IPv4 or IPv6 address without a port, or a"):
        values.address(wrong)


@pytest.mark.parametrize("name", ["ntp", "ntp-1.example.com", "NTP-1.Example.COM"])
def test_an_address_may_be_a_name(name: str) -> None:
    assert values.address(name) == name.lower()


@pytest.mark.parametrize("wrong", ["ntp_1.example.com", "ntp.example.com.", "_ntp._udp.example.com", "a" * 64, "a..b"])
def test_what_is_no_name_of_an_address(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"is not a DNS name \(.*; expected an IPv4 or IPv6 address .*, or a DNS name"):
        values.address(wrong)


@pytest.mark.parametrize("name", ["_ntske._tcp.example.com", "_NTP._udp.a.example", "_x-1._tcp.example"])
def test_names_of_services(name: str) -> None:
    assert values.srv_name(name) == name.lower()


@pytest.mark.parametrize(
    "wrong",
    [
        *("", 3, None, "example.com", "ntske._tcp.example.com", "_ntske.tcp.example.com", "_ntske._sctp.example.com"),
        *("_ntske._tcp", "_ntske._tcp.", "_ntske._tcp.a_b", "_._tcp.example.com", "_ntske._tcp.192.0.2.1"),
        f"_ntske._tcp.{'.'.join(['a' * 60] * 4)}",
    ],
)
def test_what_is_no_service(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"is not the name of a service; expected a name such as _ntske\._tcp"):
        values.srv_name(wrong)


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("192.0.2.53", Endpoint("192.0.2.53", 53)),
        ("2001:DB8::53", Endpoint("2001:db8::53", 53)),
        ("192.0.2.53:5353", Endpoint("192.0.2.53", 5353)),
        ("[2001:db8::53]:5353", Endpoint("2001:db8::53", 5353)),
    ],
)
def test_dns_servers(text: str, server: Endpoint) -> None:
    assert values.dns_server(text) == server


@pytest.mark.parametrize("wrong", ["ns.example.com", "", 53, None, "192.0.2.53:0", "0.0.0.0", "[::1]"])
def test_what_is_no_dns_server(wrong: object) -> None:
    with pytest.raises(ValueError, match="is not a DNS server; expected an IP address such as"):
        values.dns_server(wrong)


@given(address=st.ip_addresses(), port=st.integers(1, 65535))
def test_endpoints_are_read_as_they_are_written(address: IPv4Address | IPv6Address, port: int) -> None:
    assume(not (isinstance(address, IPv6Address) and address.ipv4_mapped))
    endpoint = Endpoint(str(address), port)
    assert values.endpoint(str(endpoint)) == endpoint


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ("", "is not an IP address and a port"),
        ("4460", "is not an IP address and a port"),
        (4460, "is not an IP address and a port"),
        ("*:4460", "is not an IP address and a port"),
        (":4460", "is not an IP address and a port"),
        ("localhost:4460", "is not an IP address and a port"),
        ("[[::]]:4460", "is not an IP address and a port"),
        ("[::]", "is not an IP address and a port"),
        ("::1:4460", "has brackets where they do not belong or lacks them"),
        ("[127.0.0.1]:4460", "has brackets where they do not belong or lacks them"),
        ("[fe80::1%eth0]:4460", "has a zone or maps IPv4 into IPv6"),
        ("[::ffff:127.0.0.1]:4460", "has a zone or maps IPv4 into IPv6"),
        ("127.0.0.1:0", "the port of '127.0.0.1:0' is not a number from 1 to 65535"),
        ("127.0.0.1:65536", "is not a number from 1 to 65535"),
        ("127.0.0.1:", "is not a number from 1 to 65535"),
        ("127.0.0.1:nts", "is not a number from 1 to 65535"),
        ("127.0.0.1:\u0661", "is not a number from 1 to 65535"),
        ("[::1]:+1", "is not a number from 1 to 65535"),
    ],
)
def test_what_is_no_endpoint(wrong: object, why: str) -> None:
    with pytest.raises(ValueError, match=f"{why}.*; expected ADDRESS:PORT"):
        values.endpoint(wrong)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("16s", 16),
        ("5m", 300),
        ("2h", 7200),
        ("7d", 604800),
        ("1.5h", 5400),
        ("16", 16),
        (16, 16),
        (0.25, 0.25),
        ("100ms", 0.1),
        ("365d", 365 * 86400),
    ],
)
def test_durations(text: object, seconds: float) -> None:
    assert values.interval(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ("99ms", "'99ms' is shorter than 100ms"),
        (0, "0 is shorter than 100ms"),
        (-3, "-3 is shorter than 100ms"),
        ("366d", "'366d' is longer than 365d"),
        (float("inf"), "inf is longer than 365d"),
        ("-1s", "'-1s' is not a duration"),
        ("1h30m", "'1h30m' is not a duration"),
        ("7 d", "'7 d' is not a duration"),
        ("7D", "'7D' is not a duration"),
        ("", "'' is not a duration"),
        ("off", "'off' is not a duration"),
        (True, "true is not a duration"),
        (None, "nothing is not a duration"),
    ],
)
def test_what_is_no_duration(wrong: object, why: str) -> None:
    with pytest.raises(ValueError, match=f"^{why}; expected a duration such as 500ms.* from 100ms to 365d$"):
        values.interval(wrong)


@given(milliseconds=st.integers(1, 365 * 86400 * 1000))
def test_durations_are_read_as_they_are_spelt(milliseconds: int) -> None:
    spelt = values.spell_duration(milliseconds / 1000)
    assert values.duration(0.001)(spelt) == pytest.approx(milliseconds / 1000, rel=1e-9)


def test_rotation_can_be_off() -> None:
    assert values.rotation("off") is None
    assert values.rotation("2h") == 7200
    with pytest.raises(ValueError, match=r"from 2h to 365d, or off$"):
        values.rotation("59m")
    with pytest.raises(ValueError, match=r"^false is not a duration"):
        values.rotation(False)


def test_workers_can_be_automatic() -> None:
    assert values.workers("auto") is None
    assert values.workers(2) == 2
    for wrong in (0, "2", True, 1.0, None):
        with pytest.raises(ValueError, match=r"; expected a whole number of at least 1, or auto$"):
            values.workers(wrong)


@pytest.mark.parametrize(
    ("stated", "aead"),
    [
        (15, Aead.AES_SIV_CMAC_256),
        (17, Aead.AES_SIV_CMAC_512),
        (30, Aead.AES_128_GCM_SIV),
        ("AES-SIV-CMAC-256", Aead.AES_SIV_CMAC_256),
        ("aes-siv-cmac-512", Aead.AES_SIV_CMAC_512),
        ("AES-128-GCM-SIV", Aead.AES_128_GCM_SIV),
    ],
)
def test_aeads(stated: object, aead: Aead) -> None:
    assert values.aead(stated) is aead


@pytest.mark.parametrize("wrong", [16, 0, -1, 15.0, True, "15", "AES_SIV_CMAC_256", "", None, []])
def test_what_is_no_aead(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"is not an AEAD algorithm of NTS; expected one of AES-SIV-CMAC-256 \(15\), "):
        values.aead(wrong)


@pytest.mark.parametrize(("stated", "path"), [("/a/b", "/a/b"), ("b", "/etc/b"), ("../b c", "/etc/../b c")])
def test_paths(stated: str, path: str) -> None:
    assert values.file_path(stated, Path("/etc")) == Path(path)


def test_words_are_told_all_or_the_nearest() -> None:
    assert values.expected_word("wieght", ["weight", "port"]) == "did you mean weight?"
    assert values.expected_word("x", ["weight", "port"]) == "expected one of weight, port"
    assert values.expected_word(7, ["weight", "port"]) == "expected one of weight, port"
    assert values.expected_word("x", ["weight"]) == "expected weight"


def test_a_credential_is_where_systemd_put_it(tmp_path, monkeypatch):
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "privkey.pem").write_text("a key")
    assert values.file_path("credential:privkey.pem", Path("/etc")) == tmp_path / "privkey.pem"


@pytest.mark.parametrize(
    ("stated", "told"),
    [
        ("credential:", "'credential:' names no credential; expected credential:NAME"),
        ("credential:../shadow", "'credential:../shadow' names no credential; expected credential:NAME"),
        ("credential:key", "key is not there; expected LoadCredential=key:FILE in the service's unit"),
    ],
)
def test_a_credential_that_cannot_be_is_told_with_what_to_do(tmp_path, monkeypatch, stated, told):
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with pytest.raises(ValueError, match=re.escape(told)):
        values.file_path(stated, Path("/etc"))
