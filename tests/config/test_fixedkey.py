"""Backends that keep their own keys: what of them is a mistake, and what the floors below get of them."""

from ipaddress import ip_address
from pathlib import Path

import pytest

from ntspool.app import declared
from ntspool.app.enrol import new_token
from ntspool.app.export import key_file
from ntspool.errors import LocalError, RefusedError
from ntspool.pool.discovery import Declared, backends
from ntspool.pool.model import FixedKey
from ntspool.pool.resolving import Known, Question, RecordType, Target
from ntspool.wire.aead import Aead
from ntspool.wire.secret import Secret
from tests.config.test_config import MINIMAL, NO_BACKENDS, SAMPLE, folder, load_text, mistakes_of

__all__ = ["folder"]

TOKEN = "0123456789abcdef" * 4
SECRET = Secret(TOKEN.encode())
OWN = "cookies: fixed-key"


@pytest.fixture(autouse=True)
def token(folder: Path) -> Path:
    path = folder / "token"
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(f"{TOKEN}\n")
    return path


def entry(text: str) -> str:
    return f"{MINIMAL}  - {{name: own, address: ntp.example.org, {text}}}\n"


def own_backend(folder: Path, text: str) -> FixedKey:
    entries = declared.entries(load_text(folder, text))
    declared_ones = (each.backend for each in entries if isinstance(each, Declared))
    (found,) = (each for each in declared_ones if isinstance(each.cookies, FixedKey))
    assert found.key_group == ""
    assert isinstance(found.cookies, FixedKey)
    return found.cookies


def test_the_least_that_it_needs(folder: Path) -> None:
    text = entry(f"{OWN}, ke: {{token: token}}")
    assert own_backend(folder, text) == FixedKey("ntp.example.org", SECRET)
    backend = load_text(folder, text).backends[1]
    assert backend.aeads == (Aead.AES_SIV_CMAC_256, Aead.AES_SIV_CMAC_512)


def test_all_that_it_can_be_told(folder: Path, pki) -> None:
    ke = f"{{host: KE.example.net, port: 4461, ca: {pki.ca}, token: token}}"
    text = entry(f"{OWN}, aeads: [30], ke: {ke}")
    assert own_backend(folder, text) == FixedKey("ke.example.net", SECRET, 4461, "ke.example.net", pki.ca.read_bytes())
    assert load_text(folder, text).backends[1].aeads == (Aead.AES_128_GCM_SIV,)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ('["2001:DB8::7", 192.0.2.7]', "2001:db8::7"),
        ("[192.0.2.7, a.example]", "a.example"),
    ],
)
def test_the_certificate_is_for_the_name_in_the_address_or_the_first_address(folder: Path, address, name) -> None:
    text = entry(f"{OWN}, ke: {{token: token}}").replace("ntp.example.org", address)
    assert own_backend(folder, text).name == name


def test_neither_token_nor_authorities_stand_in_words(folder: Path, pki) -> None:
    found = own_backend(folder, entry(f"{OWN}, ke: {{token: token, ca: {pki.ca}}}"))
    assert TOKEN not in repr(found)
    assert "CERTIFICATE" not in repr(found)
    assert str(found) == "fixed-key"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (OWN, "ke.token: missing; expected the path of a file with the token"),
        (f"{OWN}, ke: {{port: 4460}}", "ke.token: missing; expected the path of a file with the token"),
        (f"{OWN}, ke: {{token: nothing}}", "ke.token: nothing cannot be read: No such file or directory"),
        (f"{OWN}, ke: {{token: .}}", "ke.token: FOLDER is not a regular file"),
        (
            f"{OWN}, ke: {{token: {'t' * 300}}}",
            "ke.token: no such file; expected the path of one that holds the secret",
        ),
        (f"{OWN}, ke: {{token: 7}}", "ke.token: 7 is not a path"),
        (f"{OWN}, ke: {{token: token, port: 0}}", "ke.port: 0 is below 1"),
        (f"{OWN}, ke: {{token: token, host: a_b}}", "ke.host: 'a_b' is not a DNS name"),
        (f"{OWN}, ke: {{token: token, ca: token}}", "ke.ca: token holds no certificate in PEM"),
        (f"{OWN}, ke: {{token: token, ca: nothing}}", "ke.ca: nothing cannot be read: No such file or directory"),
        (f"{OWN}, ke: {{token: token, cert: a}}", "ke.cert: unknown key; expected one of host, port, ca, token"),
        (f"{OWN}, ke: token", "ke: 'token'; expected a mapping with the keys host, port, ca, token"),
        (f"{OWN}, key_group: g, ke: {{token: token}}", "key_group: stands beside `cookies: fixed-key`"),
        ("ke: {token: token}", "ke: stands where cookies are not fixed-key"),
        ("cookies: ntpd-rs, ke: {token: token}", "ke: stands where cookies are not fixed-key"),
    ],
)
def test_a_mistake_is_told_with_its_place(folder: Path, text: str, what: str) -> None:
    found = mistakes_of(folder, entry(text))
    wanted = f"backends.yaml:8: backends[1].{what.replace('FOLDER', str(folder))}"
    assert [each for each in found if each.startswith(wanted)], found
    assert all("expected" in each for each in found)
    assert len(found) - ("ke: 'token'" in what or "ke.token: 7" in what) <= 1 + ("token" not in text)


@pytest.mark.parametrize(
    ("contents", "mode", "what"),
    [
        (TOKEN, 0o644, "is open to every user; chmod o= it"),
        ("short", 0o600, "holds 5 characters, and a token has 16 to 1024"),
        ("x" * 1025, 0o600, "holds 1025 characters, and a token has 16 to 1024"),
        (f"{TOKEN}\n{TOKEN}", 0o600, "holds characters that no token has"),
        ("Schlüssel" * 4, 0o600, "holds characters that no token has"),
    ],
)
def test_a_token_that_is_none_or_open_to_all(folder: Path, token: Path, contents: str, mode: int, what: str) -> None:
    token.write_text(contents)
    token.chmod(mode)
    (mistake,) = mistakes_of(folder, entry(f"{OWN}, ke: {{token: token}}"))
    assert mistake.startswith(f"backends.yaml:8: backends[1].ke.token: token {what}")
    assert contents not in mistake


def test_a_credential_holds_a_token(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    assert own_backend(folder, entry(f'{OWN}, ke: {{token: "credential:token"}}')).token == SECRET


def test_a_key_group_of_others_does_not_mind_it(folder: Path) -> None:
    text = entry(f"{OWN}, ke: {{token: token}}") + "  - {name: b, address: 192.0.2.9, key_group: own}\n"
    assert load_text(folder, text).backends[2].key_group == "own"


@pytest.mark.parametrize(
    ("service", "ke", "port"),
    [
        ("_ntske._tcp.example", "{token: token}", 4470),
        ("_ntske._tcp.example", "{token: token, port: 4480}", 4480),
        ("_ntp._udp.example", "{token: token}", 4460),
    ],
)
def test_each_target_of_an_srv_name_is_asked_by_its_own_name(folder: Path, service: str, ke: str, port: int) -> None:
    text = f"{NO_BACKENDS}backends: [{{srv: {service}, {OWN}, ke: {ke}}}]\n"
    entries = declared.entries(load_text(folder, text))
    targets = tuple(Target(0, 1, 4470, host) for host in ("a.example", "b.example"))
    knowledge = {
        Question.service(service): Known({RecordType.SRV: targets}),
        **{
            Question.host(host): Known({RecordType.A: (ip_address("192.0.2.1"),)})
            for host in ("a.example", "b.example")
        },
    }
    found, left_out = backends(entries, knowledge)
    assert not left_out
    assert [each.cookies for each in found] == [FixedKey(name, SECRET, port) for name in ("a.example", "b.example")]
    assert {each.key_group for each in found} == {""}


def test_there_are_no_keys_for_an_agent_nor_for_a_file(folder: Path) -> None:
    load_text(folder, entry(f"{OWN}, ke: {{token: token}}").replace("ntp.example.org", "192.0.2.7") + "state: state\n")
    for command in (new_token, key_file):
        with pytest.raises(RefusedError, match=r"own keeps its own keys \(cookies: fixed-key\)"):
            command(folder / "backends.yaml", "own")
    with pytest.raises(LocalError, match="no backend"):
        new_token(folder / "backends.yaml", "owl")


def test_the_sample_shows_one(folder: Path) -> None:
    shown = SAMPLE.read_text().replace("/etc/ntspool/tls/", "").replace("/etc/ntspool/ntp-4.token", "token")
    (line,) = (line for line in shown.splitlines() if OWN in line)
    found = own_backend(folder, shown.replace(line, line.replace("# ", "", 1)))
    assert found == FixedKey("ntp-4.example.com", SECRET)
