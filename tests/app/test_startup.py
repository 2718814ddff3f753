"""Commands start fast: what is heavy is not imported by those that ask a running gateway."""

import json
import os
import subprocess
import sys

import pytest

from tests.app import views
from tests.app.scripted import scripted

HEAVY = {
    "OpenSSL",
    "aiohttp",
    "asyncio",
    "cryptography",
    "dns",
    "maxminddb",
    "prometheus_client",
    "pydantic",
    "service_identity",
    "structlog",
    "uvloop",
}

PROGRAM = """
import json, sys
from ntspool.app.cli import main
sys.argv[0] = "ntspool"
try:
    main()
except SystemExit as end:
    print(json.dumps([end.code, sorted(sys.modules)]), file=sys.stderr)
"""


def _imported(*words, **environment):
    """Return how a command exits and which modules it has imported."""
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environment},
    )
    code, modules = json.loads(result.stderr.splitlines()[-1])
    return code, modules, result.stdout


@pytest.mark.parametrize(
    "words",
    [
        ("status",),
        ("backends",),
        ("backend", "show", "ntp-1"),
        ("backend", "drain", "ntp-1"),
        ("sessions", "--csv"),
        ("agents",),
        ("events", "--json"),
        ("wait", "ready"),
        ("keys", "status"),
        ("reload",),
    ],
)
def test_asking_a_gateway_imports_nothing_heavy(tmp_path, words):
    answers = {
        ("GET", "/v1/status"): views.gateway(),
        ("GET", "/v1/keys"): views.keys(),
        ("GET", "/v1/events?after=0"): views.events(),
        ("POST", "/v1/backends/ntp-1/drain"): views.gateway()["backends"][0],
        ("POST", "/v1/reload"): {"changes": [], "restart": []},
    }
    config = tmp_path / "backends.yaml"
    config.write_text("state: .\n")
    with scripted(tmp_path / "admin.sock", answers):
        code, modules, _ = _imported(*words, "--config", config)
    assert code == 0
    assert HEAVY & {each.partition(".")[0] for each in modules} == set()


@pytest.mark.parametrize("words", [("--help",), ("backend", "--help"), ("completions", "zsh"), ("--version",)])
def test_help_imports_nothing_heavy_and_no_yaml(words):
    code, modules, out = _imported(*words)
    assert (code, bool(out)) == (0, True)
    assert (HEAVY | {"yaml", "http.client"}) & {each.partition(".")[0] for each in modules} == set()


def test_completing_a_name_imports_nothing_heavy(tmp_path):
    with scripted(tmp_path / "admin.sock", {("GET", "/v1/status"): views.gateway()}):
        words = {"COMP_WORDS": "ntspool backend drain ntp", "COMP_CWORD": "3"}
        code, modules, out = _imported(
            **words, NTSPOOL_SOCKET=str(tmp_path / "admin.sock"), _NTSPOOL_COMPLETE="bash_complete"
        )
    assert code == 0
    assert HEAVY & {each.partition(".")[0] for each in modules} == set()
    assert out.splitlines() == [
        "plain,ntp-1",
        "plain,ntp-2",
        "plain,ntp-4",
        "plain,ntp-5",
        "plain,ntp-6",
        "plain,ntp-7",
    ]
