"""The units, as far as systemd can judge them where it is not process 1."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "deploy/systemd"
SERVICES = ("ntspool.service", "ntspool-agent.service")
WORST_EXPOSURE = 2.0

needs_analyze = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze here")


def analyze(*words):
    return subprocess.run(
        ["systemd-analyze", *map(str, words)], capture_output=True, text=True, timeout=60, check=False
    )


def settings(unit):
    """Return what a unit sets, by the key; a key that is set several times has several values."""
    found = {}
    for line in (UNITS / unit).read_text().splitlines():
        key, given, value = line.partition("=")
        if given and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


@needs_analyze
def test_systemd_finds_nothing_to_complain_about(tmp_path):
    for path in UNITS.glob("ntspool*.s*"):
        # The command is where a package puts it; here it is enough that it is something to run.
        text = path.read_text().replace("/usr/bin/ntspool ", "/bin/true ")
        (tmp_path / path.name).write_text(text)
    done = analyze("verify", "--man=no", *(tmp_path / name for name in (*SERVICES, "ntspool.socket")))
    ours = [line for line in done.stderr.splitlines() if "ntspool" in line]
    assert (ours, done.returncode) == ([], 0)


@needs_analyze
@pytest.mark.parametrize("unit", SERVICES)
def test_the_sandbox_is_tight(unit):
    done = analyze("security", "--offline=yes", "--no-pager", UNITS / unit)
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd-analyze judges no files")
    exposure = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert exposure, done.stderr
    assert float(exposure[1]) <= WORST_EXPOSURE


def test_workers_outlive_their_control_process_as_docs_restart_says():
    told = (UNITS.parents[1] / "docs/restart.md").read_text().partition("```ini\n")[2].partition("```")[0]
    unit = (UNITS / "ntspool.service").read_text().splitlines()
    wanted = [line for line in told.splitlines() if "=" in line and not line.startswith("Exec")]
    assert wanted
    assert [line for line in wanted if line not in unit] == []


def test_only_the_gateway_may_write_code_and_its_unit_says_why():
    assert settings("ntspool-agent.service")["MemoryDenyWriteExecute"] == ["yes"]
    text = (UNITS / "ntspool.service").read_text()
    assert re.search(r"# No MemoryDenyWriteExecute=: .*\n(#.*\n)*MemoryDenyWriteExecute=no\n", text)


def test_the_socket_is_what_a_gateway_listens_on_unless_told_otherwise():
    socket = settings("ntspool.socket")
    assert socket["ListenStream"] == ["0.0.0.0:4460", "[::]:4460"]
    assert socket["BindIPv6Only"] == ["ipv6-only"]


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="there is no systemd-sysusers here")
def test_users_and_directories_are_made(tmp_path):
    (tmp_path / "etc").mkdir()
    for tool, file in (("systemd-sysusers", "ntspool.sysusers"), ("systemd-tmpfiles", "ntspool.tmpfiles")):
        words = [tool, f"--root={tmp_path}", *(["--create"] if tool == "systemd-tmpfiles" else []), UNITS / file]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode and "Operation not permitted" in done.stderr:
            pytest.skip("only root can give files to others")
        assert (done.returncode, done.stderr) == (0, "") or tool == "systemd-sysusers", done.stderr
    assert re.search("^ntspool:", (tmp_path / "etc/passwd").read_text(), re.MULTILINE)
    assert (tmp_path / "etc/ntspool/tls").stat().st_mode & 0o777 == 0o750
