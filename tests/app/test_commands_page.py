"""docs/commands.md shows what the commands print, to the letter."""

import re
import shlex
from pathlib import Path

import click
import pytest

from ntspool.app.cli import cli
from tests.app import views
from tests.app.scripted import command, scripted

PAGE = (Path(__file__).parents[2] / "docs" / "commands.md").read_text()
EXAMPLES = re.findall(r"^\$ ntspool (.*)\n((?:(?!\$ |```).*\n)*)", PAGE, re.MULTILINE)


@pytest.fixture
def gateway(tmp_path, monkeypatch):
    view = views.documented()
    known = {each["name"]: each for each in view["backends"]}
    drained = {**known["ntp-1"], "state": "DRAIN", "admin": "drain"}
    found = views.probed(good=False)[1]
    refused = [{"aead": views.SIV, "good": False, "cause": "NTS NAK", "cookies": 0}]
    answers = {
        ("GET", "/v1/status"): view,
        ("GET", "/v1/keys"): view["keys"],
        ("GET", "/v1/events?after=0"): views.documented_events(),
        ("POST", "/v1/backends/ntp-1/drain"): drained,
        ("POST", "/v1/backends/ntp-1/ready"): known["ntp-1"],
        ("POST", "/v1/backends/ntp-3/weight"): lambda body: {
            **known["ntp-3"],
            "effective_weight": 10.0 if body["weight"] is None else float(body["weight"]),
        },
        ("POST", "/v1/backends/ntp-2/probe"): [{**found, "address": "192.0.2.2", "port": 123, "aeads": refused}],
    }
    with scripted(tmp_path / "admin.sock", answers) as script:
        monkeypatch.setenv("NTSPOOL_SOCKET", str(script.socket))
        yield script


@pytest.mark.parametrize(("words", "shown"), EXAMPLES, ids=[words for words, _ in EXAMPLES])
def test_an_example_shows_what_the_command_prints(gateway, words, shown):
    ended = command(*shlex.split(words))
    assert ended.out + ended.err == shown


def test_every_command_on_a_running_gateway_is_described():
    commands = ["status", "backends", "probe", "sessions", "agents", "events", "wait ready", "completions", "reload"]
    commands += [f"backend {each}" for each in ("show", "drain")]
    assert all(f"`ntspool {each}" in PAGE for each in commands)
    assert len(EXAMPLES) > 10


def _commands(group, above=()):
    for name, each in group.commands.items():
        if isinstance(each, click.Group) and each.commands:
            yield from _commands(each, (*above, name))
        yield (*above, name), each


@pytest.mark.parametrize(("name", "each"), [pytest.param(*each, id=" ".join(each[0])) for each in _commands(cli)])
def test_every_command_says_what_it_does(name, each):
    assert each.help
    assert each.get_short_help_str(200).endswith((".", "..."))
