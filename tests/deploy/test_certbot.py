"""certbot's deploy hook: what it copies, for whom, and what it says to the gateway."""

import grp
import os
import subprocess
from pathlib import Path

import pytest

HOOK = Path(__file__).parents[2] / "deploy/certbot/ntspool-deploy-hook"


@pytest.fixture
def renewed(tmp_path):
    """Return what runs the hook after a renewal; the gateway's command ends with `status`."""
    lineage, tls = tmp_path / "lineage", tmp_path / "tls"
    lineage.mkdir()
    tls.mkdir()
    (lineage / "privkey.pem").write_text("key")
    (lineage / "fullchain.pem").write_text("chain")
    (lineage / "privkey.pem").chmod(0o600)

    def hook(status=0, **more):
        command = tmp_path / "ntspool"
        command.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/said\nexit {status}\n')
        command.chmod(0o755)
        variables = {
            "RENEWED_LINEAGE": str(lineage),
            "RENEWED_DOMAINS": "www.example.com ntp-pool.example.com",
            "NTSPOOL_TLS": str(tls),
            "NTSPOOL_GROUP": grp.getgrgid(os.getgid()).gr_name,
            "NTSPOOL": str(command),
        }
        done = subprocess.run(
            [HOOK], env={**os.environ, **variables, **more}, capture_output=True, text=True, timeout=30, check=False
        )
        said = (tmp_path / "said").read_text() if (tmp_path / "said").exists() else ""
        return done.returncode, {path.name: path.read_text() for path in tls.iterdir()}, said

    return hook


def test_certificate_and_key_are_copied_for_the_group_and_the_gateway_reloads(renewed, tmp_path):
    assert renewed() == (0, {"privkey.pem": "key", "fullchain.pem": "chain"}, "reload\n")
    assert (tmp_path / "tls/privkey.pem").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(("status", "ends"), [(1, 1), (2, 2), (3, 0)])
def test_a_refused_reload_is_certbots_to_tell_and_no_gateway_is_no_mistake(renewed, status, ends):
    assert renewed(status)[0] == ends


def test_the_certificate_of_another_name_is_left_alone(renewed):
    assert renewed(NTSPOOL_NAME="pool.example.net") == (0, {}, "")
    assert renewed(NTSPOOL_NAME="ntp-pool.example.com")[2] == "reload\n"
