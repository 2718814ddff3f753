"""The build on AWS-LC, without compiling: what is pinned, and that nothing else gets in."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("awslc_build", ROOT / "deploy/awslc/build.py")
build = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(build)

OWN = '[[package]]\nname = "libc"\nversion = "0.2.1"\nchecksum = "0a"\n'


def entry(name, version, checksum):
    return f'\n[[package]]\nname = "{name}"\nversion = "{version}"\nchecksum = "{checksum}"\n'


@pytest.fixture
def source(tmp_path, monkeypatch):
    """Return what makes sources with a cargo that completes Cargo.lock by the entries it is given."""

    def make(*entries):
        (tmp_path / "Cargo.lock").write_text(OWN)
        (tmp_path / "more").write_text("".join(entries))
        cargo = tmp_path / "bin/cargo"
        cargo.parent.mkdir()
        cargo.write_text(f"#!/bin/sh\ncat {tmp_path}/more >> {tmp_path}/Cargo.lock\n: > {tmp_path}/more\n")
        cargo.chmod(0o755)
        monkeypatch.setenv("PATH", f"{cargo.parent}:/usr/bin:/bin")
        return tmp_path

    return make


def test_every_source_has_a_hash():
    pins = build.pins()
    assert [name for name, _ in pins].count(build.AWS_LC) == 1
    assert all(re.fullmatch("[0-9a-f]{64}", each) for each in [*pins.values(), build.SDIST])
    assert all("==" in each for each in build.TOOLS)


def test_the_page_names_the_wheel_that_is_built():
    assert f"cryptography-{build.VERSION}-" in (ROOT / "docs/awslc.md").read_text()


def test_crates_that_are_as_pinned_pass(source):
    build.pin(source(*(entry(*crate, checksum) for crate, checksum in build.pins().items())))


@pytest.mark.parametrize("odd", ["other hash", "one more", "one less"])
def test_other_crates_stop_the_build(source, odd):
    pins = dict(build.pins())
    if odd == "other hash":
        pins["aws-lc-sys", "0.41.0"] = "0" * 64
    elif odd == "one more":
        pins["stranger", "1.0.0"] = "0" * 64
    else:
        del pins["aws-lc-sys", "0.41.0"]
    with pytest.raises(SystemExit, match="stranger" if odd == "one more" else "aws-lc-sys"):
        build.pin(source(*(entry(*crate, checksum) for crate, checksum in pins.items())))


def test_a_file_that_has_changed_is_not_edited_blindly(tmp_path):
    file = tmp_path / "Cargo.toml"
    file.write_text("openssl = 1\n")
    with pytest.raises(SystemExit, match="knows how to edit"):
        build.edit(file, "^openssl-sys = (.*)$", r"\1")
    assert file.read_text() == "openssl = 1\n"
