"""The script that sets up etcd's users: gateways get at their pool's keys, and nobody else at anything."""

import asyncio
import os
import subprocess
from pathlib import Path

import pytest

from ntspool.errors import StateError
from ntspool.net.etcd import Etcd, EtcdSettings
from ntspool.wire.secret import Secret
from tests.interop.etcd import etcd
from tests.interop.lab import find

SCRIPT = Path(__file__).parents[2] / "deploy" / "etcd" / "setup-roles"


def test_shellcheck_has_nothing_against_it():
    done = subprocess.run([find("shellcheck"), SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def run(running, folder, *words):
    tools = str(Path(find("etcdctl")).parent)
    env = {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "ETCDCTL_ENDPOINTS": ",".join(running.endpoints)}
    return subprocess.run([SCRIPT, *words], env=env, cwd=folder, capture_output=True, text=True, check=False)


def use(running, user, password, key):
    async def write():
        async with Etcd(EtcdSettings(running.endpoints, "/", user, Secret(password.encode()))) as client:
            await client.put(key, b"x")

    asyncio.run(write())


def test_gateways_get_at_their_pool_and_nobody_at_anything_else(tmp_path):
    (tmp_path / "password").write_text("first-word\n")
    (tmp_path / "root").write_text("root-word\n")
    words = ("/ntspool/pool-1/", "gateway", "password", "root")
    with etcd(1) as running:
        done = run(running, tmp_path, *words)
        assert done.returncode == 0, done.stderr
        use(running, "gateway", "first-word", "ntspool/pool-1/keyring")
        for key in ("ntspool/pool-2/keyring", "ntspool/pool-1", "other"):
            with pytest.raises(StateError, match="permission denied"):
                use(running, "gateway", "first-word", key)
        with pytest.raises(StateError):
            use(running, "", "", "ntspool/pool-1/keyring")
        (tmp_path / "password").write_text("second-word\n")
        done = run(running, tmp_path, *words)
        assert done.returncode == 0, done.stderr
        use(running, "gateway", "second-word", "ntspool/pool-1/keyring")
        with pytest.raises(StateError, match="invalid user ID or password"):
            use(running, "gateway", "first-word", "ntspool/pool-1/keyring")


@pytest.mark.parametrize("words", [(), ("/ntspool", "g", "password", "root"), ("/ntspool/", "g", "nothing", "root")])
def test_mistakes_change_nothing(tmp_path, words):
    (tmp_path / "password").write_text("word\n")
    (tmp_path / "root").write_text("word\n")
    done = subprocess.run([SCRIPT, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr
