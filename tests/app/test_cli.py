"""The command line: what it prints and how it exits."""

import asyncio
import json
import re
import stat
import subprocess
import sys

import pytest

from ntspool.app.gateway import Gateway
from ntspool.pool.cookies import CookieFormat
from ntspool.pool.keyfiles import parse
from tests.app.pool import lay_out

NTSPOOL = [sys.executable, "-m", "ntspool"]


def _run(*words):
    return subprocess.run([*NTSPOOL, *map(str, words)], capture_output=True, text=True, timeout=30, check=False)


@pytest.fixture
def around(tmp_path, pki):
    return lay_out(tmp_path, pki)


def test_help_lists_the_commands():
    result = _run("--help")
    assert result.returncode == 0
    commands = re.findall(r"^  ([a-z-]+)  ", result.stdout.partition("Commands:")[2], re.MULTILINE)
    assert commands == ["check-config", "demo", "keys", "query", "serve", "timeserver"]


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
    result = _run("query", server)
    assert result.returncode == 2
    assert "expected for example 192.0.2.1:4460 or [2001:db8::1]:4460" in result.stderr


def test_query_of_a_server_that_is_not_there_exits_1():
    result = _run("query", "127.0.0.1:1")
    assert (result.returncode, result.stderr) == (1, "ntspool: 127.0.0.1 port 1: Connection refused\n")


def test_query_with_an_unusable_ca_exits_1(tmp_path):
    result = _run("query", "127.0.0.1:1", "--ca", tmp_path / "nowhere.pem")
    assert result.returncode == 1
    assert "nowhere.pem holds no certificate in PEM, or cannot be read" in result.stderr


def _query(around, *words, time_servers=True):
    """Return the result of `ntspool query` against a gateway."""

    async def run():
        async with around.time_servers() as servers:
            gateway = Gateway(around.config)
            await gateway.start()
            if not time_servers:
                for server in servers.values():
                    await server.stop()
            try:
                return await asyncio.to_thread(
                    _run, "query", f"127.0.0.1:{around.ke_port}", "--ca", around.pki.ca, *words
                )
            finally:
                await gateway.stop()

    return asyncio.run(run())


def test_query_tells_what_a_client_learns(around):
    around.configure(names=("ntp-1",))
    result = _query(around)
    assert result.returncode == 0, result.stderr
    masked = re.sub(r"[+-]?\d+\.\d{6} s", "N s", re.sub(r"[0-9.]+ ms", "N ms", result.stdout))
    assert masked == (
        "NTS-KE server   : 127.0.0.1\n"
        "TLS             : TLSv1.3, TLS_AES_256_GCM_SHA384, N ms\n"
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


@pytest.mark.parametrize("cookies", ["chrony", "ntpsec", "ntpd-rs"])
def test_keys_export_writes_each_daemons_format(around, cookies):
    around.config.write_text(around.config.read_text().replace("cookies: ntspool", f"cookies: {cookies}"))
    written = around.directory / "out"
    assert _run("keys", "export", "ntp-1", "--config", around.config, "--output", written).returncode == 0
    assert len(parse(CookieFormat(cookies), written.read_bytes()).keys) == 4


def test_keys_export_of_an_unknown_backend_names_those_there_are(around):
    result = _run("keys", "export", "ntp-9", "--config", around.config)
    assert result.returncode == 1
    assert result.stderr == f"ntspool: there is no backend 'ntp-9' in {around.config}; there are ntp-1, ntp-2\n"


def test_keys_export_into_a_folder_that_is_not_there_says_so(around):
    result = _run("keys", "export", "ntp-1", "--config", around.config, "--output", around.directory / "no" / "out")
    assert result.returncode == 1
    assert "cannot be written: No such file or directory" in result.stderr


def test_timeserver_without_keys_exits_1(tmp_path):
    result = _run("timeserver", "--listen", "127.0.0.1:1", "--keys", tmp_path / "nowhere")
    assert result.returncode == 1
    assert "nowhere cannot be read: No such file or directory" in result.stderr
