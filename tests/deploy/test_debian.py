"""The Debian package: built, unpacked and run from where it lies. It takes minutes, so CI alone does it."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deploy.sample import sample_with_certificate

DEPLOY = Path(__file__).parents[2] / "deploy"
SCRIPTS = [DEPLOY / "debian" / name for name in ("build", "postinst", "prerm")]
SCRIPTS += [DEPLOY / "certbot/ntspool-deploy-hook", *sorted((DEPLOY / "container").glob("dry-run"))]


def run(*words, **more):
    return subprocess.run([*map(str, words)], capture_output=True, text=True, timeout=900, check=False, **more)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    if "CI" not in os.environ:
        pytest.skip("building a package takes minutes: set CI to have it done")
    for tool in ("dpkg-deb", "/usr/bin/python3"):
        if shutil.which(tool) is None:
            pytest.skip(f"there is no {tool} here")
    if run("/usr/bin/python3", "-c", "import ensurepip, venv").returncode:
        pytest.skip("there is no python3-venv here")
    built = run(DEPLOY / "debian/build", tmp_path_factory.mktemp("package"))
    if "No matching distribution" in built.stderr or "Connection" in built.stderr:
        pytest.skip("pip reaches no libraries")
    assert built.returncode == 0, built.stderr
    return Path(built.stdout.strip())


@pytest.fixture(scope="module")
def unpacked(package, tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    assert run("dpkg", "-x", package, root).returncode == 0
    return root


def test_the_package_runs_from_wherever_it_is_unpacked(unpacked, tmp_path, pki):
    ntspool = (unpacked / "usr/lib/ntspool/bin/python3", "-I", unpacked / "usr/bin/ntspool")
    version = run(*ntspool, "--version")
    assert (version.returncode, version.stderr) == (0, "")
    assert version.stdout.startswith("ntspool, version ")
    sample = sample_with_certificate(unpacked / "usr/share/doc/ntspool/examples/backends.yaml", tmp_path, pki)
    checked = run(*ntspool, "check-config", sample)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_the_package_brings_units_users_and_completions(unpacked):
    for name in (
        "lib/systemd/system/ntspool.service",
        "lib/systemd/system/ntspool.socket",
        "lib/systemd/system/ntspool-agent.service",
        "lib/sysusers.d/ntspool.conf",
        "lib/tmpfiles.d/ntspool.conf",
        "share/bash-completion/completions/ntspool",
        "share/ntspool/ntspool-deploy-hook",
    ):
        assert (unpacked / "usr" / name).stat().st_size > 0
    assert not list(unpacked.rglob("pip"))


@pytest.mark.skipif(shutil.which("lintian") is None, reason="there is no lintian here")
def test_lintian_finds_no_error(package):
    told = run("lintian", "--allow-root", "--fail-on", "error", package)
    assert told.returncode == 0, told.stdout


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="there is no shellcheck here")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shell_scripts_are_sound(script):
    told = run("shellcheck", script)
    assert (told.returncode, told.stdout) == (0, "")
    assert os.access(script, os.X_OK)
