"""Under which rights ntspool runs: an unprivileged user's are enough, workers get no others, and no core is dumped."""

import asyncio
import os
import resource
import signal
import subprocess
import sys
import sysconfig
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from ntspool.app.adminclient import call
from ntspool.app.adminsocket import find_socket
from ntspool.net.system import forbid_core_dumps
from ntspool.wire.messages import Response
from tests.app.pool import lay_out
from tests.interop.lab import NOBODY, find, working_directory
from tests.processes import end_workers, workers_of
from tests.waiting import until

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


def status(pid):
    """Return what /proc tells of a process."""
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


@contextmanager
def serving(around, *before, python=sys.executable, **environment):
    """Yield a gateway that runs behind the words `before`."""
    log = around.directory / "log"
    command = [*before, python, "-m", "ntspool", "serve", "--config", str(around.config)]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stderr=out, cwd=around.directory, env={**os.environ, **environment})
    try:
        yield process, log
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        process.wait()
        end_workers(around.state)


def said(log, event):
    return log.read_text().count(f'"event": "{event}"')


def for_everybody(*unprivileged):
    """Return an interpreter that every user can start, and its environment; skips the test without one."""
    libraries = os.pathsep.join([sysconfig.get_path("purelib"), str(Path(__file__).parents[2])])
    # Root's own Python may lie where only root gets at it.
    for python in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        starts = "import subprocess, sys, ntspool.app.gateway; subprocess.run([sys.executable, '-c', ''], check=True)"
        environment = {"PYTHONPATH": libraries, "PYTHONDONTWRITEBYTECODE": "1"}
        command = [*unprivileged, python, "-c", starts]
        done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, cwd="/", check=False)
        if done.returncode == 0:
            return python, environment
    pytest.skip("no other user can start this interpreter")


@root_only
def test_an_unprivileged_user_runs_a_whole_gateway(pki):
    """Everything that a gateway does works without privileges, and what systemd's unit takes away stays away."""
    drop = (f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs", "--bounding-set=-all")
    unprivileged = (find("setpriv"), *drop, "--inh-caps=-all")
    python, environment = for_everybody(*unprivileged)

    async def scene(around):
        async with around.time_servers():
            with serving(around, *unprivileged, python=python, **environment) as (process, log):
                await until(lambda: said(log, "serving") or process.poll() is not None)
                assert said(log, "serving"), log.read_text()
                assert isinstance(await around.session(), Response)
                for pid in (process.pid, *workers_of(around.state)):
                    found = status(pid)
                    assert found["Uid"].split() == found["Gid"].split() == [str(NOBODY)] * 4
                    assert found["Groups"].split() == []
                    assert {found[f"Cap{each}"] for each in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
                    assert found["NoNewPrivs"] == "1"
                for verb in ("reload", "keys/rotate", "workers/replace"):
                    await asyncio.to_thread(call, find_socket(around.config), "POST", f"/v1/{verb}")
                assert isinstance(await around.session(), Response)
                assert said(log, "keys rotated") == said(log, "workers replaced") == 1
                assert "runs as root" not in log.read_text()
                process.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(process.wait, 20) == 0
            owned = {path.stat().st_uid for path in (around.state, *around.state.iterdir())}
            assert owned == {NOBODY}

    with working_directory() as directory:
        around = lay_out(directory, pki)
        for path in (directory, *directory.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
        asyncio.run(scene(around))


@root_only
def test_who_runs_it_as_root_is_warned(tmp_path, pki):
    around = lay_out(tmp_path, pki)
    with serving(around) as (_, log):
        asyncio.run(until(lambda: said(log, "serving")))
        asyncio.run(
            until(lambda: said(log, "the gateway runs as root, and needs no privilege: give it a user of its own"))
        )
        worker = next(iter(workers_of(around.state)))
        # The worker, and what it would start, have the limit of the control process.
        for kind in ("soft", "hard"):
            assert limits(worker)[kind] == "1"


def limits(pid):
    with open(f"/proc/{pid}/limits", encoding="ascii") as file:
        line = next(each for each in file if each.startswith("Max core file size"))
    soft, hard = line.removeprefix("Max core file size").split()[:2]
    return {"soft": soft, "hard": hard}


CRASH = """
import os, resource, sys
hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
if sys.argv[1] == "forbidden":
    from ntspool.net.system import forbid_core_dumps
    forbid_core_dumps()
os.abort()
"""


def dumps(tmp_path, way):
    """Tell whether the kernel writes a core of a process that crashes in this way."""
    process = subprocess.Popen([sys.executable, "-c", CRASH, way], cwd=tmp_path, stderr=subprocess.DEVNULL)
    _, how = os.waitpid(process.pid, 0)
    process.returncode = 0
    assert os.WTERMSIG(how) == signal.SIGABRT
    return os.WCOREDUMP(how)


def test_a_crash_writes_no_core(tmp_path):
    if not dumps(tmp_path, "allowed"):
        pytest.skip("this system writes no cores")
    for each in tmp_path.iterdir():
        each.unlink()
    assert not dumps(tmp_path, "forbidden")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("limits", "told"),
    [((0, resource.RLIM_INFINITY), [(1, 1)]), ((4096, 4096), [(1, 1)]), ((0, 1), [(1, 1)]), ((1, 1), []), ((0, 0), [])],
)
def test_the_limit_is_one_where_that_can_be_and_left_alone_where_it_is(monkeypatch, limits, told):
    heard = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda which, wanted: heard.append((which, wanted)))
    forbid_core_dumps()
    assert heard == [(resource.RLIMIT_CORE, each) for each in told]


@pytest.mark.parametrize("unit", ["ntspool.service", "ntspool-agent.service"])
def test_systemds_units_have_that_limit(unit):
    text = (Path(__file__).parents[2] / "deploy/systemd" / unit).read_text()
    assert "\nLimitCORE=1\n" in text
