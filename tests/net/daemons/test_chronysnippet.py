"""The snippet for chrony, printed and installed."""

import subprocess
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from cryptography import x509

from ntspool.errors import StateError
from ntspool.net.daemons.chronyconf import ChronySetup, contradictions
from ntspool.net.daemons.chronysnippet import chrony_snippet, install_snippet

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def setup(tmp_path):
    directory = tmp_path / "lib"
    directory.mkdir()
    return ChronySetup(directory, directory / "ntspool.crt", directory / "ntspool.key", tmp_path / "chronyd.sock")


def files(setup):
    return {path.name: path.read_bytes() for path in setup.key_directory.iterdir()}


def test_the_snippet_contradicts_nothing(tmp_path, setup):
    snippet, conf = tmp_path / "ntspool.conf", tmp_path / "chrony.conf"
    assert install_snippet(snippet, setup, NOW)
    conf.write_text(f"include {snippet}\nallow\n")
    assert contradictions(conf, setup) == []
    assert snippet.stat().st_mode & 0o777 == 0o644
    assert "ntsport" not in snippet.read_text()


def test_the_certificate_is_a_pair_that_only_its_owner_reads(tmp_path, setup):
    install_snippet(tmp_path / "ntspool.conf", setup, NOW)
    certificate = x509.load_pem_x509_certificate(setup.certificate.read_bytes())
    assert certificate.not_valid_before_utc < NOW < certificate.not_valid_after_utc.replace(year=2035)
    assert setup.private_key.stat().st_mode & 0o777 == 0o600
    command = ["openssl", "pkey", "-pubout", "-in", setup.private_key]
    public = subprocess.run(command, capture_output=True, check=True).stdout
    command = ["openssl", "x509", "-pubkey", "-noout", "-in", setup.certificate]
    assert subprocess.run(command, capture_output=True, check=True).stdout == public


def test_a_second_time_nothing_changes(tmp_path, setup):
    assert install_snippet(tmp_path / "ntspool.conf", setup, NOW)
    before = files(setup)
    assert not install_snippet(tmp_path / "ntspool.conf", setup, NOW)
    assert install_snippet(tmp_path / "ntspool.conf", replace(setup, ke_port=14460), NOW)
    assert (tmp_path / "ntspool.conf").read_text().endswith("ntsport 14460\n")
    assert files(setup) == before


def test_a_foreign_file_stays(tmp_path, setup):
    (tmp_path / "ntspool.conf").write_text("# mine\n")
    with pytest.raises(StateError, match=r"ntspool\.conf was not written by ntspool and stays as it is"):
        install_snippet(tmp_path / "ntspool.conf", setup, NOW)
    assert (tmp_path / "ntspool.conf").read_text() == "# mine\n"
    assert files(setup) == {}


@pytest.mark.parametrize("name", ["ntspool.crt", "ntspool.key"])
def test_half_a_pair_stays_and_is_told(tmp_path, setup, name):
    (setup.key_directory / name).write_text("mine")
    with pytest.raises(StateError, match=f"{name} is there without its other half"):
        install_snippet(tmp_path / "ntspool.conf", setup, NOW)
    assert files(setup) == {name: b"mine"}


def test_a_directory_in_its_place_is_told(tmp_path, setup):
    with pytest.raises(StateError, match="cannot be read: Is a directory"):
        install_snippet(tmp_path, setup, NOW)


def test_the_snippet_is_what_it_says(setup):
    lines = [line for line in chrony_snippet(setup).splitlines() if not line.startswith("#")]
    assert lines == [
        f"ntsdumpdir {setup.key_directory}",
        "ntsrotate 0",
        f"ntsservercert {setup.certificate}",
        f"ntsserverkey {setup.private_key}",
    ]
