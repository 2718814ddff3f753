"""What commands ask a gateway for, how they exit, and what they make of one that is odd, slow or gone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ntspool.app.readiness import PAUSE, wait_ready
from ntspool.errors import UnreachableError
from tests.app import views
from tests.app.scripted import command, scripted

NTP_1 = views.gateway()["backends"][0]


@pytest.fixture
def gateway(tmp_path):
    with scripted(tmp_path / "admin.sock", {("GET", "/v1/status"): views.gateway()}) as script:
        yield script


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (("drain", "ntp-1"), ("drain", None)),
        (("maint", "ntp-1"), ("maint", None)),
        (("ready", "ntp-1"), ("ready", None)),
        (("weight", "ntp-1", "0"), ("weight", {"weight": 0})),
        (("weight", "ntp-1", "256"), ("weight", {"weight": 256})),
        (("weight", "ntp-1", "declared"), ("weight", {"weight": None})),
    ],
)
def test_what_a_command_on_a_backend_asks_for(gateway, words, asked):
    verb, body = asked
    gateway.answers["POST", f"/v1/backends/ntp-1/{verb}"] = NTP_1
    ended = command("backend", *words, "--socket", gateway.socket)
    assert (ended.code, ended.out, ended.err) == (0, "ntp-1: UP, weight 10\n", "")
    assert gateway.asked[-1] == ("POST", f"/v1/backends/ntp-1/{verb}", body)
    assert json.loads(command("backend", *words, "--socket", gateway.socket, "--json").out) == NTP_1
    assert command("backend", *words, "--socket", gateway.socket, "--csv").out.startswith("name,state,admin,")


@pytest.mark.parametrize("weight", ["-1", "257", "1.5", "", "ten", "٣"])
def test_a_weight_that_is_none_exits_2(gateway, weight):
    ended = command("backend", "weight", "--socket", gateway.socket, "ntp-1", "--", weight)
    assert ended.code == 2
    assert gateway.asked == []


@pytest.mark.parametrize("words", [("backend", "drain"), ("backend", "show"), ("probe",), ("backend", "maint")])
def test_an_unknown_name_exits_1_and_changes_nothing(gateway, words):
    ended = command(*words, "ntp-11", "--socket", gateway.socket)
    assert ended.code == 1
    assert ended.err == "ntspool: there is no backend 'ntp-11'; did you mean ntp-1 or ntp-7 or ntp-6?\n"
    assert [method for method, *_ in gateway.asked] == ["GET"]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ((409, {"error": "it is the last one"}), 4),
        ((500, {"error": "the disk is full"}), 1),
        ((404, {"error": "there is no backend 'ntp-1'"}), 1),
        ((422, {"error": "wrong", "mistakes": ["backends.yaml:1: wrong"]}), 2),
        ((200, 7), 3),
        (None, 3),
    ],
)
def test_how_a_command_exits(gateway, answer, code):
    gateway.answers["POST", "/v1/backends/ntp-1/drain"] = lambda _: (200, None) if answer is None else answer
    ended = command("backend", "drain", "ntp-1", "--socket", gateway.socket)
    assert (ended.code, ended.out) == (code, "")
    assert ended.err.count("\n") == 1


EVERY = [
    ("status",),
    ("backends",),
    ("backend", "show", "ntp-1"),
    ("backend", "drain", "ntp-1"),
    ("sessions",),
    ("agents",),
    ("events",),
    ("probe", "ntp-1"),
    ("keys", "status"),
    ("reload",),
]


@pytest.mark.parametrize("words", EVERY)
def test_without_a_gateway_every_command_exits_3(tmp_path, words):
    ended = command(*words, "--socket", tmp_path / "admin.sock")
    assert (ended.code, ended.out) == (3, "")
    assert ended.err == f"ntspool: no gateway answers at {tmp_path / 'admin.sock'}: No such file or directory\n"


@pytest.mark.parametrize("words", EVERY)
def test_two_forms_at_once_or_no_configuration_exit_2(tmp_path, words):
    assert command(*words, "--json", "--csv", "--socket", tmp_path / "admin.sock").code == 2
    ended = command(*words, "--config", tmp_path / "nowhere.yaml")
    assert (ended.code, "nowhere.yaml:1: cannot be read" in ended.err) == (2, True)


def test_the_socket_can_come_from_the_environment(gateway, monkeypatch):
    monkeypatch.setenv("NTSPOOL_SOCKET", str(gateway.socket))
    assert command("backends").code == 0


def test_reload_prints_the_difference(gateway):
    changes = [
        {"key": "health.interval", "before": "16.0", "after": "8.0"},
        {"key": "backends.ntp-9", "before": "", "after": "address 192.0.2.9, weight 20"},
        {"key": "backends.ntp-7", "before": "address 192.0.2.7", "after": ""},
    ]
    answer = {"changes": changes, "restart": ["listen"]}
    gateway.answers["POST", "/v1/reload"] = answer
    assert command("reload", "--socket", gateway.socket).out == (
        "health.interval: 16.0 -> 8.0\n"
        "backends.ntp-9: nothing -> address 192.0.2.9, weight 20\n"
        "backends.ntp-7: address 192.0.2.7 -> nothing\n"
        "reloaded; a restart is needed for listen\n"
    )
    assert json.loads(command("reload", "--socket", gateway.socket, "--json").out) == answer
    assert command("reload", "--socket", gateway.socket, "--csv").out == (
        "key,before,after,restart\n"
        "health.interval,16.0,8.0,false\n"
        'backends.ntp-9,,"address 192.0.2.9, weight 20",false\n'
        "backends.ntp-7,address 192.0.2.7,,false\n"
        "listen,,,true\n"
    )


@pytest.mark.parametrize(("words", "told"), [(("rotate",), ""), (("revoke", "9", "--yes"), "epoch 9 is revoked, ")])
def test_keys_are_changed_in_every_form(gateway, words, told):
    gateway.answers |= {("GET", "/v1/keys"): views.keys()}
    gateway.answers |= {("POST", f"/v1/keys/{words[0]}"): views.keys()}
    ended = command("keys", *words, "--socket", gateway.socket)
    assert (ended.code, ended.out) == (0, f"{told}epoch 10 is current\n")
    assert json.loads(command("keys", *words, "--json", "--socket", gateway.socket).out) == views.keys()
    assert command("keys", *words, "--csv", "--socket", gateway.socket).out.startswith("backend,address,state,minting,")


@pytest.mark.parametrize(
    ("words", "resource", "numbers"),
    [
        ((), "/v1/events?after=0", [1, 2, 3, 4]),
        (("-n", "2"), "/v1/events?after=0", [3, 4]),
        (("-n", "0"), "/v1/events?after=0", []),
        (("--after", "2"), "/v1/events?after=2", [3, 4]),
        (("--after", "2", "--lines", "1"), "/v1/events?after=2", [4]),
    ],
)
def test_which_events_are_shown(gateway, words, resource, numbers):
    gateway.answers["GET", resource] = views.events()[int(resource[-1]) :]
    ended = command("events", *words, "--json", "--socket", gateway.socket)
    assert [each["number"] for each in json.loads(ended.out)] == numbers


def test_at_most_twenty_events_unless_asked_for(gateway):
    many = [{**views.events()[0], "number": number} for number in range(1, 101)]
    gateway.answers["GET", "/v1/events?after=0"] = many
    gateway.answers["GET", "/v1/events?after=1"] = many[1:]
    ended = command("events", "--json", "--socket", gateway.socket)
    assert [each["number"] for each in json.loads(ended.out)] == list(range(81, 101))
    assert len(json.loads(command("events", "--after", "1", "--json", "--socket", gateway.socket).out)) == 99


def _following(gateway, later):
    """Let a gateway tell two events, then those of `later` one by one, and then die."""
    first, second, *_ = views.events()
    gateway.answers["GET", "/v1/events?after=0"] = [first, second]
    answers = iter([*([each] for each in later), None])
    for number in (2, 3, 4):
        gateway.answers["GET", f"/v1/events?after={number}&wait=30"] = lambda _: (200, next(answers))


def test_following_prints_each_event_as_it_comes_and_exits_3_once_the_gateway_is_gone(gateway):
    _following(gateway, views.events()[2:])
    ended = command("events", "--follow", "-n", "1", "--socket", gateway.socket)
    assert ended.code == 3
    assert ended.err.startswith("ntspool: the gateway is gone: ")
    assert [line.split("  ")[0] for line in ended.out.splitlines()[2:]] == [
        "2027-01-15T06:00:00Z",
        "2027-01-15T07:48:00Z",
        "2027-01-15T07:59:00Z",
    ]


def test_following_in_the_other_forms(gateway):
    _following(gateway, views.events()[2:])
    ended = command("events", "--follow", "--json", "--socket", gateway.socket)
    assert [json.loads(line) for line in ended.out.splitlines()] == views.events()
    _following(gateway, views.events()[2:])
    ended = command("events", "--follow", "--csv", "--socket", gateway.socket)
    assert [line.split(",")[0] for line in ended.out.splitlines()] == ["number", "1", "2", "3", "4"]


def test_a_gateway_that_has_nothing_to_tell_is_not_asked_without_a_pause(gateway, monkeypatch):
    paused = []
    monkeypatch.setattr("time.sleep", paused.append)
    first = views.events()[:1]
    answers = iter([[], [], None])
    gateway.answers["GET", "/v1/events?after=0"] = first
    gateway.answers["GET", "/v1/events?after=1&wait=30"] = lambda _: (200, next(answers))
    assert command("events", "--follow", "--socket", gateway.socket).code == 3
    assert len(paused) == 2
    assert all(pause > 0 for pause in paused)


class _Clock:
    """Time that passes by sleeping only."""

    def __init__(self):
        self.now = 100.0
        self.slept = []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        assert seconds > 0
        self.slept.append(seconds)
        self.now += seconds


def _waited(answers, timeout):
    clock, answers, patience = _Clock(), iter(answers), []

    def ask(seconds):
        patience.append(seconds)
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return wait_ready(ask, timeout, clock, clock.sleep), clock, patience


def test_waiting_ends_as_soon_as_the_gateway_is_ready():
    away, not_yet = UnreachableError("no gateway answers"), {**views.well(), "ready": False}
    reason, clock, patience = _waited([away, away, not_yet, views.well()], 60.0)
    assert reason is None
    assert clock.slept == [PAUSE] * 3
    assert patience[0] == 60.0


def test_waiting_in_vain_tells_why():
    reason, clock, _ = _waited([UnreachableError("no gateway answers")] * 100, 0.6)
    assert reason == "no gateway answers"
    assert sum(clock.slept) == pytest.approx(0.6)
    reason, clock, _ = _waited([{**views.well(), "ready": False}], 0.0)
    assert (reason, clock.slept) == ("NOT ready: no client can be served", [])


def test_wait_ready_exits(gateway, tmp_path):
    assert command("wait", "ready", "--socket", gateway.socket) == command("wait", "ready", "--socket", gateway.socket)
    assert command("wait", "ready", "--socket", gateway.socket).code == 0
    ended = command("wait", "ready", "--timeout", "0", "--socket", tmp_path / "nowhere")
    assert ended.code == 1
    assert ended.err.startswith("ntspool: not ready after 0 s: no gateway answers at ")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completions_are_a_script_of_that_shell(shell):
    ended = command("completions", shell)
    assert ended.code == 0
    assert f"_NTSPOOL_COMPLETE={shell}_complete" in ended.out


def _completed(*words, socket):
    environment = {"COMP_WORDS": " ".join(("ntspool", *words)), "COMP_CWORD": str(len(words))}
    program = "import sys; sys.argv[0] = 'ntspool'; from ntspool.app.cli import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **environment, "NTSPOOL_SOCKET": str(socket), "_NTSPOOL_COMPLETE": "bash_complete"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return result.stdout.split(), result.stderr


@pytest.mark.parametrize(
    "words", [("backend", "drain"), ("backend", "show"), ("backend", "enroll"), ("probe",), ("keys", "export")]
)
def test_names_of_backends_complete_themselves(gateway, words):
    assert _completed(*words, "ams", socket=gateway.socket) == (["plain,amsterdam-3.ntp.example.net"], "")


def test_bash_completes_by_the_script(gateway):
    script = command("completions", "bash").out
    program = Path(sys.executable).with_name("ntspool")
    asking = (
        f'COMP_WORDS=(ntspool backend drain ams); COMP_CWORD=3; _ntspool_completion {program}; echo "${{COMPREPLY[@]}}"'
    )
    result = subprocess.run(
        ["bash", "-c", f"{script}\n{asking}"],
        env={**os.environ, "NTSPOOL_SOCKET": str(gateway.socket)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (result.stdout, result.stderr) == ("amsterdam-3.ntp.example.net\n", "")


@pytest.mark.parametrize("answer", [(500, {"error": "no"}), {"backends": 7}, {}, [], {"backends": [{"name": 7}]}])
def test_no_name_completes_silently_where_no_gateway_answers(gateway, answer):
    gateway.answers["GET", "/v1/status"] = answer
    assert _completed("probe", "n", socket=gateway.socket) == ([], "")
    assert _completed("probe", "n", socket=Path("/nowhere/admin.sock")) == ([], "")
