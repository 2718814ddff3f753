"""The command line: what it prints and how it exits."""

import asyncio
import json
import os
import re
import signal
import stat
import subprocess
import sys

import pytest

from ntspool.app import export
from ntspool.app.gateway import Gateway
from ntspool.pool.cookies import CookieFormat
from ntspool.pool.keyfiles import parse
from ntspool.pool.keyring import STATES
from tests.app import scripted
from tests.app.pool import lay_out
from tests.waiting import DEADLINE, until

NTSPOOL = [sys.executable, "-m", "ntspool"]


def _run(*words, answer=""):
    return subprocess.run(
        [*NTSPOOL, *map(str, words)], input=answer, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture
def around(tmp_path, pki):
    return lay_out(tmp_path, pki)


def test_help_lists_the_commands():
    result = _run("--help")
    assert result.returncode == 0
    commands = re.findall(r"^  ([a-z-]+)  ", result.stdout.partition("Commands:")[2], re.MULTILINE)
    assert commands == [
        "agent",
        "agents",
        "backend",
        "backends",
        "bench",
        "check",
        "check-config",
        "client-config",
        "cluster",
        "completions",
        "demo",
        "events",
        "keys",
        "probe",
        "query",
        "reload",
        "report",
        "serve",
        "sessions",
        "status",
        "timeserver",
        "wait",
    ]


def test_check_config_says_good(around):
    result = _run("check-config", around.config)
    assert (result.returncode, result.stdout, result.stderr) == (0, f"{around.config}: good, 2 backends\n", "")


def test_check_config_tells_every_mistake_by_line_and_exits_2(around):
    around.config.write_text(around.config.read_text().replace("workers: 1", "workers: 0\nspeed: high"))
    result = _run("check-config", around.config)
    assert result.returncode == 2
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert [re.match(r".*backends\.yaml:(\d+): (\w+)", line).groups() for line in lines] == [
        ("3", "workers"),
        ("4", "speed"),
    ]


@pytest.mark.parametrize("command", [["serve", "--config"], ["check-config"], ["keys", "export", "x", "--config"]])
def test_a_missing_configuration_exits_2(command, tmp_path):
    result = _run(*command, tmp_path / "nowhere.yaml")
    assert result.returncode == 2
    assert "nowhere.yaml:1: cannot be read: No such file or directory" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("server", ["", "host:", "host:0", "host:65536", "host:4a", "[::1", "[]:4460", ":4460"])
def test_query_of_what_is_no_server_exits_2(server):
    result = scripted.command("query", server)
    assert result.code == 2
    assert "expected for example 192.0.2.1:4460 or [2001:db8::1]:4460" in result.err


def test_query_of_a_server_that_is_not_there_exits_1():
    result = _run("query", "127.0.0.1:1")
    assert (result.returncode, result.stderr) == (1, "ntspool: 127.0.0.1 port 1: Connection refused\n")


def test_query_with_an_unusable_ca_exits_1(tmp_path):
    result = _run("query", "127.0.0.1:1", "--ca", tmp_path / "nowhere.pem")
    assert result.returncode == 1
    assert "nowhere.pem holds no certificate in PEM, or cannot be read" in result.stderr


def _play(around, scene):
    """Run `scene(gateway, time_servers, command)` with a gateway that serves; `command` runs one of ntspool."""

    def command(*words, **more):
        return asyncio.to_thread(_run, *words, **more)

    async def run():
        async with around.time_servers() as servers:
            gateway = Gateway(around.config)
            try:
                await gateway.start()
                return await scene(gateway, servers, command)
            finally:
                await gateway.stop()

    return asyncio.run(run())


def _query(around, *words, time_servers=True):
    """Return the result of `ntspool query` against a gateway."""

    async def scene(_, servers, command):
        if not time_servers:
            for server in servers.values():
                await server.stop()
        return await command("query", f"127.0.0.1:{around.ke_port}", "--ca", around.pki.ca, *words)

    return _play(around, scene)


def test_query_tells_what_a_client_learns(around):
    around.configure(names=("ntp-1",))
    result = _query(around)
    assert result.returncode == 0, result.stderr
    masked = re.sub(r"[+-]?\d+\.\d{6} s", "N s", re.sub(r"[0-9.]+ ms", "N ms", result.stdout))
    assert masked == (
        "NTS-KE server   : 127.0.0.1\n"
        "TLS             : TLSv1.3, TLS_AES_128_GCM_SHA256, N ms\n"
        "AEAD            : 15 (AES-SIV-CMAC-256)\n"
        f"NTP server      : 127.0.0.20 port {around.ntp_port}\n"
        "Cookies         : 8 of 104 bytes\n"
        "Authenticated   : yes\n"
        "Stratum         : 3\n"
        "Root distance   : N s\n"
        "Offset          : N s\n"
        "Delay           : N s\n"
    )


def test_query_without_time_exits_1_and_says_why(around):
    around.configure(interval="20s")
    result = _query(around, "--json", "--timeout", "0.3", time_servers=False)
    assert result.returncode == 1
    learned = json.loads(result.stdout)
    assert learned["authenticated"] is False
    assert learned["failure"] == "refused (ICMP port unreachable)"
    assert learned["cookies"] == 8


def test_query_with_a_name_that_the_certificate_has_not_exits_1(around):
    result = _query(around, "--name", "elsewhere.test")
    assert (result.returncode, result.stderr) == (1, "ntspool: the server's certificate is not for elsewhere.test\n")


def test_keys_export_prints_and_writes_the_same_file(around):
    printed = _run("keys", "export", "ntp-1", "--config", around.config)
    written = around.directory / "out"
    result = _run("keys", "export", "ntp-1", "--config", around.config, "--output", written)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert written.read_text() == printed.stdout
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    assert parse(CookieFormat.NTSPOOL, written.read_bytes()).current == 2


# Keys.


@pytest.mark.parametrize(("cookies", "count"), [("chrony", 4), ("ntpsec", 6), ("ntpd-rs", 6)])
def test_keys_export_writes_each_daemons_format(around, cookies, count):
    around.config.write_text(around.config.read_text().replace("cookies: ntspool", f"cookies: {cookies}"))
    written = around.directory / "out"
    assert scripted.command("keys", "export", "ntp-1", "--config", around.config, "--output", written).code == 0
    assert len(parse(CookieFormat(cookies), written.read_bytes()).keys) == count


def test_keys_export_of_an_unknown_backend_names_those_there_are(around):
    result = scripted.command("keys", "export", "ntp-9", "--config", around.config)
    assert result.code == 1
    assert result.err == f"ntspool: there is no backend 'ntp-9' in {around.config}; there are ntp-1, ntp-2\n"


def test_keys_export_into_a_folder_that_is_not_there_says_so(around):
    result = scripted.command(
        "keys", "export", "ntp-1", "--config", around.config, "--output", around.directory / "no" / "out"
    )
    assert result.code == 1
    assert "cannot be written: No such file or directory" in result.err


@pytest.mark.parametrize(
    "words", [[], ["ntp-1", "--watch", "somewhere"], ["--watch", "somewhere", "--output", "file"], ["--output", "file"]]
)
def test_keys_export_takes_a_name_or_a_directory(around, words):
    result = scripted.command("keys", "export", *words, "--config", around.config)
    assert result.code == 2
    assert "expected the NAME of a backend, or --watch DIR" in result.err


def test_keys_export_keeps_a_directory_fresh(around):
    directory = around.directory / "keys"
    directory.mkdir()
    with export.key_store(around.config) as store:
        before = store.load()
    process = subprocess.Popen([*NTSPOOL, "keys", "export", "--watch", directory, "--config", around.config])
    try:
        asyncio.run(until(lambda: len(list(directory.glob("ntp-*"))) == 2))
        # Long since there, so that a file that is written again has another time.
        stamps = {path.name: path.stat().st_ino for path in directory.iterdir()}
        after = store.change(before, lambda keyring: keyring.rotate(1.0, os.urandom))
        for name in around.names:
            expected = after.keys(name, CookieFormat.NTSPOOL)
            asyncio.run(until(lambda: parse(CookieFormat.NTSPOOL, (directory / name).read_bytes()) == expected))  # noqa: B023
            assert (directory / name).stat().st_ino != stamps[name]
            assert stat.S_IMODE((directory / name).stat().st_mode) == 0o600
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE) == 0
    finally:
        process.kill()
        process.wait()


def test_keys_export_into_a_directory_that_is_not_there_says_so(around):
    result = scripted.command("keys", "export", "--watch", around.directory / "missing", "--config", around.config)
    assert result.code == 1
    assert "cannot be written: No such file or directory" in result.err


@pytest.mark.parametrize("command", [["status"], ["rotate"], ["revoke", "3"], ["revoke", "3", "--yes"]])
def test_without_a_gateway_nothing_is_done_to_keys_and_it_exits_3(around, command):
    result = scripted.command("keys", *command, "--config", around.config)
    assert (result.code, result.out) == (3, "")
    assert (
        result.err == f"ntspool: no gateway answers at {around.directory}/state/admin.sock: No such file or directory\n"
    )


def test_keys_status_for_people_and_for_programs(around):
    async def scene(gateway, _, command):
        await around.session()
        await until(lambda: gateway.keys.status()["epochs"][2]["sessions"] == 1)
        printed = await command("keys", "status", "--config", around.config)
        return printed, await command("keys", "status", "--json", "--config", around.config)

    printed, as_json = _play(around, scene)
    assert (printed.returncode, printed.stderr) == (0, "")
    rows = [line.split() for line in printed.stdout.splitlines()]
    assert ["3", "current", "1"] in [[row[0], *row[2:]] for row in rows if len(row) == 4]
    assert [row[:3] for row in rows if row[:1] == ["ntp-1"]] == [["ntp-1", "127.0.0.20", "UP"]]
    status = json.loads(as_json.stdout)
    assert [each["state"] for each in status["epochs"]] == [str(state) for state in STATES]
    assert [(each["backend"], sorted(each["proved"]), each["minting"]) for each in status["backends"]] == [
        ("ntp-1", ["3", "4"], 3),
        ("ntp-2", ["3", "4"], 3),
    ]


def test_keys_rotate_until_it_would_cost_somebody_and_then_exits_4(around):
    async def scene(gateway, _, command):
        return [await command("keys", "rotate", "--config", around.config) for _ in range(3)], gateway.keys.keyring

    (first, second, refused), keyring = _play(around, scene)
    assert [(each.returncode, each.stdout) for each in (first, second)] == [
        (0, "epoch 4 is current\n"),
        (0, "epoch 5 is current\n"),
    ]
    assert (refused.returncode, refused.stdout) == (4, "")
    assert refused.stderr.startswith("ntspool: not rotated, to spare clients NTS NAKs: ntp-1: ")
    assert "; ntp-2: " in refused.stderr
    assert keyring.current.number == 5


def test_keys_revoke_asks_first(around):
    async def scene(gateway, _, command):
        words = ("keys", "revoke", "3", "--config", around.config)
        await around.session()
        await until(lambda: gateway.keys.status()["epochs"][2]["sessions"] == 1)
        kept = [await command(*words, answer=answer) for answer in ("", "n\n")]
        assert gateway.keys.keyring.current.number == 3
        return kept, await command(*words, answer="y\n"), gateway.keys.keyring

    kept, revoked, keyring = _play(around, scene)
    assert [each.returncode for each in kept] == [1, 1]
    assert "Epoch 3 is current; since it was started this gateway has minted 1 sessions under it." in kept[0].stderr
    assert "Revoke epoch 3? [y/N]" in kept[0].stderr
    assert (revoked.returncode, revoked.stdout) == (0, "epoch 3 is revoked, epoch 4 is current\n")
    assert keyring.state(3) == "revoked"


def test_keys_revoke_does_not_ask_for_what_it_was_told_twice_and_exits_4_for_what_is_not_alive(around):
    async def scene(gateway, _, command):
        words = ("keys", "revoke", "--config", around.config)
        return [await command(*words, *more) for more in (("2", "--yes"), ("2", "--yes"), ("99",), ("-1",), ("x",))]

    results = _play(around, scene)
    assert [each.returncode for each in results] == [0, 4, 4, 2, 2]
    assert results[0].stdout == "epoch 2 is revoked, epoch 3 is current\n"
    assert results[1].stderr == "ntspool: epoch 2 is not alive; see `ntspool keys status`\n"
    assert results[2].stderr == "ntspool: epoch 99 is not alive; see `ntspool keys status`\n"


def test_a_backup_brings_the_keyring_back(around):
    kept = around.directory / "backup"
    keyring = around.directory / "state" / "keyring"

    async def scene(gateway, _, command):
        config = ("--config", around.config)
        before = gateway.keys.keyring
        steps = [await command("keys", "backup", *config, "--output", kept)]
        await gateway.keys.rotate()
        steps.append(await command("keys", "restore", *config, kept))
        steps.append(await command("keys", "restore", *config, kept, "--replace"))
        await gateway.reload()
        assert gateway.keys.keyring == before
        keyring.unlink()
        steps.append(await command("keys", "rotate", *config))
        steps.append(await command("keys", "restore", *config, kept))
        steps.append(await command("keys", "rotate", *config))
        return steps

    steps = _play(around, scene)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert [(each.returncode, each.stdout) for each in steps] == [
        (0, ""),
        (1, ""),
        (0, "restored; epoch 3 is current. `kill -HUP` a running gateway\n"),
        (1, ""),
        (0, "restored; epoch 3 is current. `kill -HUP` a running gateway\n"),
        (0, "epoch 4 is current\n"),
    ]
    assert steps[1].stderr == "ntspool: there is a keyring already; --replace it only if it is lost or damaged\n"
    assert "the keyring is lost: without it every backend needs new keys" in steps[3].stderr


def test_what_is_no_backup_is_not_restored(around):
    keyring = around.directory / "state" / "keyring"
    before = keyring.read_bytes()
    (around.directory / "rubbish").write_bytes(before[:-20])
    for name, words in (
        ("rubbish", "the keyring is damaged"),
        ("missing", "cannot be read: No such file or directory"),
    ):
        result = _run("keys", "restore", "--replace", "--config", around.config, around.directory / name)
        assert result.returncode == 1
        assert words in result.stderr
    assert keyring.read_bytes() == before


def test_of_nothing_there_is_no_backup(around):
    (around.directory / "state" / "keyring").unlink()
    result = _run("keys", "backup", "--config", around.config, "--output", around.directory / "backup")
    assert (result.returncode, result.stderr) == (1, "ntspool: there is no keyring yet\n")
    assert not (around.directory / "backup").exists()


def test_timeserver_without_keys_exits_1(tmp_path):
    result = _run("timeserver", "--listen", "127.0.0.1:1", "--keys", tmp_path / "nowhere")
    assert result.returncode == 1
    assert "nowhere cannot be read: No such file or directory" in result.stderr


def test_reload_takes_over_and_tells_how_that_went(around):
    config = ("--config", around.config)
    text = around.config.read_text()

    async def scene(gateway, _, command):
        before = gateway.served.revision
        steps = [await command("reload", *config)]
        assert gateway.served.revision > before
        around.configure(listen="127.0.0.2:4460")
        steps.append(await command("reload", *config))
        around.config.write_text(text.replace("chain.pem", "nowhere.pem"))
        steps.append(await command("reload", *config))
        around.config.write_text(text + "surprise: 1\n")
        steps.append(await command("reload", *config))
        around.config.write_text(text)
        pids = gateway.worker_pids
        steps.append(await command("reload", "--workers", *config))
        assert not set(pids) & set(gateway.worker_pids)
        return steps

    steps = [*_play(around, scene), _run("reload", *config), _run("reload", "--workers", *config)]
    assert [(each.returncode, each.stdout) for each in steps] == [
        (0, "reloaded\n"),
        (
            0,
            f"listen: 127.0.0.1:{around.ke_port} -> 127.0.0.2:4460\nreloaded; a restart is needed for listen\n",
        ),
        (2, ""),
        (2, ""),
        (0, "every worker is replaced\n"),
        (3, ""),
        (3, ""),
    ]
    assert "nowhere.pem" in steps[2].stderr
    assert "backends.yaml:" in steps[3].stderr
    assert "unknown key" in steps[3].stderr
    assert "no gateway answers at" in steps[5].stderr
