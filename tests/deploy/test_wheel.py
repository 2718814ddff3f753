"""The wheel: what is in it, and that it works from a venv of its own."""

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.deploy.sample import sample_with_certificate

ROOT = Path(__file__).parents[2]


def run(*words):
    return subprocess.run([*map(str, words)], capture_output=True, text=True, timeout=600, check=False, cwd="/")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    directory = tmp_path_factory.mktemp("dist")
    built = run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", directory, ROOT)
    if "No matching distribution" in built.stderr or "No module named pip" in built.stderr:
        pytest.skip("pip reaches nothing to build with")
    assert built.returncode == 0, built.stderr
    [wheel] = directory.iterdir()
    return wheel


@pytest.fixture(scope="module")
def venv(wheel, tmp_path_factory):
    """A venv into which the wheel was installed; the libraries are those of these tests, to save minutes."""
    venv = tmp_path_factory.mktemp("wheel") / "venv"
    assert run(sys.executable, "-m", "venv", "--without-pip", venv).returncode == 0
    pip = (sys.executable, "-m", "pip", "--python", venv / "bin/python", "install", "--quiet", "--no-deps", wheel)
    installed = run(*pip)
    assert installed.returncode == 0, installed.stderr
    [modules] = venv.glob("lib/python*/site-packages")
    (modules / "libraries.pth").write_text(sysconfig.get_path("purelib"))
    return venv


def test_its_command_is_that_of_the_wheel(venv):
    version = run(venv / "bin/ntspool", "--version")
    assert (version.returncode, version.stderr) == (0, "")
    code = "import ntspool, ntspool.app.serve, ntspool.app.worker, ntspool.app.agentrunner; print(ntspool.__file__)"
    assert run(venv / "bin/python", "-c", code).stdout.startswith(str(venv))


def test_it_brings_the_sample_and_the_units(venv, tmp_path, pki):
    sample = sample_with_certificate(venv / "share/doc/ntspool/examples/backends.yaml", tmp_path, pki)
    checked = run(venv / "bin/ntspool", "check-config", sample)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert (venv / "share/ntspool/systemd/ntspool.service").exists()
    assert (venv / "share/ntspool/certbot/ntspool-deploy-hook").stat().st_mode & 0o111
