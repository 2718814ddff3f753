"""`ntspool backend add|set|remove`: what they print, what they write, and how they exit."""

import asyncio
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner

from ntspool import config
from ntspool.app import cli_edit
from ntspool.app.cli import cli
from ntspool.app.gateway import Gateway
from ntspool.app.keykeeper import KeyKeeper
from ntspool.errors import ConfigError, StateError
from ntspool.net.resolver import recall
from ntspool.net.store import FileStore
from tests.app.pool import lay_out, run_ntspool
from tests.app.scripted import command
from tests.net.dnsserver import Zone, dns_server
from tests.waiting import until

TEXT = """\
# The pool of this test.
pool: {names: [localhost]}
tls: [{certificate: chain.pem, key: private.pem}]
state: state
backends:
  - {name: ntp-1, address: 192.0.2.1, weight: 20}  # in Berlin

  # Old, and slow.
  - name: ntp-2
    address: "2001:db8::2"
"""


@pytest.fixture
def path(tmp_path, pki):
    (tmp_path / "chain.pem").symlink_to(pki.chain)
    (tmp_path / "private.pem").symlink_to(pki.key)
    file = tmp_path / "backends.yaml"
    file.write_text(TEXT)
    return file


def _run(command, path: Path, *words: object):
    """Run a command in this process; what it raises is up to `main`."""
    result = CliRunner().invoke(command, [*map(str, words), "-c", str(path)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def _difference(path: Path, *lines: str) -> str:
    return "".join(f"{line}\n" for line in (f"--- {path}", f"+++ {path}", *lines))


def test_add_shows_the_difference_and_says_that_no_gateway_runs(path):
    result = run_ntspool(
        *("backend", "add", "ntp-3", "192.0.2.3", "2001:db8::3", "--weight", 5, "--cookies", "ntpsec", "-c", path),
        *("--aeads", "15,AES-SIV-CMAC-512", "--region", "de,no", "--key-group", "g", "--port", 124),
    )
    new = [
        "",
        "  - name: ntp-3",
        '    address: [192.0.2.3, "2001:db8::3"]',
        "    port: 124",
        "    weight: 5",
        "    cookies: ntpsec",
        "    aeads: [15, AES-SIV-CMAC-512]",
        "    key_group: g",
        '    region: [de, "no"]',
    ]
    context = ["   # Old, and slow.", "   - name: ntp-2", '     address: "2001:db8::2"']
    assert result.stdout == _difference(path, "@@ -8,3 +8,12 @@", *context, *(f"+{line}" for line in new))
    socket = path.parent / "state" / "admin.sock"
    assert result.stderr == (
        f"{path} is changed; no gateway runs that could take it over "
        f"(no gateway answers at {socket}: No such file or directory)\n"
    )
    assert result.returncode == 0
    assert path.read_text() == TEXT + "".join(f"{line}\n" for line in new)
    assert config.load(path).backends[2].name == "ntp-3"


@pytest.fixture
def token(path):
    file = path.parent / "own.token"
    file.touch(mode=0o600)
    file.write_text("0123456789abcdef" * 4)
    return file


def test_a_backend_that_keeps_its_own_keys_is_added_and_changed(path, token, pki):
    words = ("own", "ntp.example", "--cookies", "fixed-key", "--ke-token", "own.token", "--ke-port", 4461)
    result = _run(cli_edit.add, path, *words, "--ke-host", "ke.example", "--no-reload")
    assert result.exit_code == 0
    new = [
        "",
        "  - name: own",
        "    address: ntp.example",
        "    cookies: fixed-key",
        "    ke: {host: ke.example, port: 4461, token: own.token}",
    ]
    assert path.read_text() == TEXT + "".join(f"{line}\n" for line in new)
    assert token.read_text() not in result.output
    changes = ("ke.host=", "ke.port=4462", f"ke.ca={pki.ca}")
    assert _run(cli_edit.set_keys, path, "own", *changes, "--no-reload").exit_code == 0
    assert path.read_text().endswith(f"    ke: {{port: 4462, token: own.token, ca: {pki.ca}}}\n")
    ke = config.load(path).backends[2].ke
    assert (ke.host, ke.port, ke.ca, ke.token) == (None, 4462, pki.ca, token)
    # From one kind to the other in one step, for neither half of it would be right.
    back = ("cookies=ntpd-rs", "ke.port=", "ke.token=", "ke.ca=")
    assert _run(cli_edit.set_keys, path, "own", *back, "--no-reload").exit_code == 0
    assert path.read_text().endswith("    cookies: ntpd-rs\n")
    assert _run(cli_edit.set_keys, path, "own", "cookies=fixed-key", "ke.token=own.token", "--no-reload").exit_code == 0
    assert config.load(path).backends[2].ke.token == token


def test_a_mapping_in_several_lines_is_changed_as_a_whole(path, token):
    lines = ("- name: own", "  address: ntp.example", "  ke:", "    token: own.token", "    port: 4461")
    block = "".join(f"  {line}\n" for line in (*lines, "  cookies: fixed-key"))
    path.write_text(TEXT + block)
    assert _run(cli_edit.set_keys, path, "own", "ke.port=4462", "--no-reload").exit_code == 0
    assert config.load(path).backends[2].ke.port == 4462
    assert path.read_text().startswith(TEXT)


def test_what_would_be_wrong_with_ke_changes_nothing(path, token):
    for words in (("cookies=fixed-key",), ("ke.token=own.token",), ("cookies=fixed-key", "ke.token=nowhere")):
        with pytest.raises(ConfigError):
            _run(cli_edit.set_keys, path, "ntp-1", *words)
    with pytest.raises(ConfigError, match="expected a whole number"):
        _run(cli_edit.set_keys, path, "ntp-1", "cookies=fixed-key", "ke.token=own.token", "ke.port=many")
    result = CliRunner().invoke(cli_edit.set_keys, ["ntp-1", "ke.tokn=x", "-c", str(path)])
    assert "did you mean ke.token?" in result.output
    assert path.read_text() == TEXT


def test_set_changes_a_value_in_its_place(path):
    result = _run(cli_edit.set_keys, path, "ntp-1", "weight=5", "region=de", "--no-reload")
    line = "  - {name: ntp-1, address: 192.0.2.1, weight: %s}  # in Berlin"
    new = line % "5, region: de"
    context = [" tls: [{certificate: chain.pem, key: private.pem}]", " state: state", " backends:"]
    behind = [" ", "   # Old, and slow.", "   - name: ntp-2"]
    assert result.stdout == _difference(path, "@@ -3,7 +3,7 @@", *context, f"-{line % 20}", f"+{new}", *behind)
    assert result.stderr == f"{path} is changed; `ntspool reload` makes it take effect\n"
    assert path.read_text() == TEXT.replace(line % 20, new)
    again = _run(cli_edit.set_keys, path, "ntp-1", "weight=5", "region=de")
    assert (again.stdout, again.stderr) == ("", f"{path} says so already; nothing to change\n")
    back = _run(cli_edit.set_keys, path, "ntp-1", "weight=20", "region=", "--no-reload")
    assert back.exit_code == 0
    assert path.read_text() == TEXT


def test_remove_tells_what_becomes_of_the_clients(path):
    result = _run(cli_edit.remove, path, "ntp-2", "--no-reload")
    assert path.read_text() == TEXT[: TEXT.index("\n  # Old")]
    assert "-  # Old, and slow.\n-  - name: ntp-2\n" in result.stdout
    assert result.stderr.splitlines()[1] == (
        "Clients that have cookies of ntp-2 go on asking it, so leave it running; `ntspool backend drain ntp-2` "
        "before it is removed lets them go first. If it was stolen, `ntspool backend revoke ntp-2`."
    )


def test_a_dry_run_writes_nothing_and_needs_no_lock(path):
    path.parent.chmod(0o500)
    before = path.stat()
    result = _run(cli_edit.remove, path, "ntp-2", "--dry-run")
    assert result.stdout.startswith(f"--- {path}\n")
    assert result.stderr.startswith("a dry run: nothing was written\n")
    assert path.stat() == before


def test_a_file_without_a_final_line_break_and_with_a_bom(path):
    path.write_bytes(b"\xef\xbb\xbf" + TEXT.rstrip().replace("\n", "\r\n").encode())
    result = _run(cli_edit.add, path, "ntp-3", "192.0.2.3", "--no-reload")
    marker = "\\ No newline at end of file\n"
    assert f'-    address: "2001:db8::2"\n{marker}+    address: "2001:db8::2"\n' in result.stdout
    assert result.stdout.endswith(f"+    address: 192.0.2.3\n{marker}")
    assert "\r" not in result.stdout
    text = TEXT + "\n  - name: ntp-3\n    address: 192.0.2.3"
    assert path.read_bytes() == b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()


def test_colours_are_for_terminals(path):
    words = ["ntp-1", "weight=5", "--dry-run", "-c", str(path)]
    result = CliRunner().invoke(cli_edit.set_keys, words, color=True)
    assert "\x1b[31m-  - {name: ntp-1" in result.output
    assert "\x1b[32m+  - {name: ntp-1" in result.output


@pytest.mark.parametrize(
    ("words", "mistakes"),
    [
        (["add", "ntp-1", "192.0.2.3"], ["12: backends[2].name: ntp-1 stands in backends[0].name (line 6) already"]),
        (["add", "ntp-3", "192.0.2.1"], ["13: backends[2].address: 192.0.2.1:123 stands in backends[0].address"]),
        (
            ["add", "ntp 3", "nowhere:1", "--weight", "high"],
            [
                "12: backends[2].name: 'ntp 3' is not a name",
                "13: backends[2].address: 'nowhere:1' is not an IP address",
                "14: backends[2].weight: 'high' is not a whole number",
            ],
        ),
        (["set", "ntp-2", "weight=300"], ["11: backends[1].weight: 300 is above 256"]),
        (["set", "ntp-1", "address="], ["6: backends[0].address: missing"]),
        (["set", "ntp-1", "aeads=17"], ["6: backends[0].aeads[0]: AES-SIV-CMAC-512 does not fit into chrony cookies"]),
    ],
)
def test_a_mistake_is_told_by_line_and_nothing_is_written(path, words, mistakes):
    result = command("backend", *words, "-c", path)
    assert result.code == 2
    assert result.out == ""
    *told, note = result.err.splitlines()
    assert len(told) == len(mistakes)
    assert all(line.startswith(f"{path}:{mistake}") for line, mistake in zip(told, mistakes, strict=True))
    assert note == f"{path} stays as it was; the lines are those it would have"
    assert path.read_text() == TEXT


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (["set", "ntp-1", "weight"], "'weight'; expected key=value, or key= to take the key out"),
        (["set", "ntp-1", "wieght=5"], "'wieght' is no key of a backend; did you mean weight?"),
        (["set", "ntp-1", "name=x"], "'name' is what a backend's keys and agents go by; remove it and add another one"),
        (["set", "ntp-1"], "Missing argument 'KEY=VALUE...'"),
        (["add", "ntp-1"], "Missing argument 'ADDRESS...'"),
    ],
)
def test_what_cannot_be_meant_exits_2(path, words, wrong):
    result = command("backend", *words, "-c", path)
    assert result.code == 2
    assert wrong in result.err
    assert path.read_text() == TEXT


def test_a_backend_that_is_not_there_exits_1(path):
    result = command("backend", "remove", "ntp-9", "-c", path)
    assert (result.code, result.out) == (1, "")
    assert result.err == f"ntspool: there is no backend 'ntp-9' in {path}; there are ntp-1, ntp-2\n"


def test_the_last_backend_is_refused_with_4(path):
    path.write_text(TEXT[: TEXT.index("\n  # Old")])
    result = command("backend", "remove", "ntp-1", "-c", path)
    assert result.code == 4
    assert result.err == "ntspool: ntp-1 is the only backend; a pool needs one, so add another one first\n"


def test_a_file_with_a_mistake_can_be_mended(path):
    path.write_text(TEXT.replace("weight: 20", "weight: 2000"))
    _run(cli_edit.set_keys, path, "ntp-1", "weight=20", "--no-reload")
    assert path.read_text() == TEXT


def test_many_at_once_do_not_lose_each_other(path):
    def add(number: int) -> int:
        return run_ntspool("backend", "add", f"new-{number}", f"192.0.2.{number}", "-c", path).returncode

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(add, range(10, 16))) == {0}
    names = [each.name for each in config.load(path).backends]
    assert names[:2] == ["ntp-1", "ntp-2"]
    assert sorted(names[2:]) == [f"new-{number}" for number in range(10, 16)]
    assert path.read_text().startswith(TEXT)


def _play(around, scene):
    """Run `scene(gateway, command)` with a gateway that serves; `command` edits its backends."""

    def command(*words):
        return asyncio.to_thread(run_ntspool, "backend", *words, "-c", around.config)

    async def run():
        gateway = Gateway(around.config)
        try:
            await gateway.start()
            return await scene(gateway, command)
        finally:
            await gateway.stop()

    return asyncio.run(run())


def _served(gateway):
    return {each.backend.name: each.backend.weight for each in gateway.served.serving}


def test_the_gateway_takes_a_change_over(tmp_path, pki):
    around = lay_out(tmp_path, pki)

    async def scene(gateway, command):
        dry = await command("set", "ntp-1", "weight=3", "--dry-run")
        assert (dry.returncode, _served(gateway)) == (0, {"ntp-1": 10, "ntp-2": 10})
        result = await command("set", "ntp-1", "weight=3")
        assert result.stderr == f"{around.config} is changed, and the gateway has taken it over\n"
        assert (result.returncode, _served(gateway)) == (0, {"ntp-1": 3, "ntp-2": 10})
        assert (await command("add", "ntp-3", "127.0.0.99", "--cookies", "ntspool")).returncode == 0
        assert (await command("remove", "ntp-1")).returncode == 0
        assert _served(gateway) == {"ntp-2": 10, "ntp-3": 10}

    _play(around, scene)


def test_a_gateway_that_refuses_is_told_with_1(tmp_path, pki, monkeypatch):
    around = lay_out(tmp_path, pki)

    async def refuse(_):
        raise StateError("the keyring is gone")

    monkeypatch.setattr(KeyKeeper, "reload", refuse)
    result = _play(around, lambda _, command: command("set", "ntp-1", "weight=3"))
    assert result.returncode == 1
    assert result.stderr == (
        f"ntspool: the gateway does not take it over: the keyring is gone\n{around.config} is changed already\n"
    )
    assert config.load(around.config).backends[0].weight == 3


def _hang_up(listener):
    listener.accept()[0].close()


def test_what_is_no_gateway_is_told_with_3(path):
    (path.parent / "state").mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path.parent / "state" / "admin.sock"))
        listener.listen()
        mute = threading.Thread(target=_hang_up, args=[listener])
        mute.start()
        result = run_ntspool("backend", "set", "ntp-1", "weight=3", "-c", path)
        mute.join()
    assert result.returncode == 3
    assert result.stderr.endswith(f"; {path} is changed already\n")
    assert config.load(path).backends[0].weight == 3


def test_backends_that_the_dns_lists_are_refused_with_4(tmp_path, pki):
    around = lay_out(tmp_path, pki)
    zone = Zone({("c.example", "A"): (60, "127.0.0.22")}, soa_ttl=0)
    zone.records["_ntp._udp.example", "SRV"] = (60, f"0 7 {around.ntp_port} c.example.")
    with dns_server(zone):
        text = around.config.read_text() + "  - {srv: _ntp._udp.example, cookies: ntspool}\n"
        around.config.write_text(f"{text}dns: {{servers: ['127.0.0.1:{zone.port}'], timeout: 100ms}}\n")

        async def scene(gateway, command):
            assert "c.example" in _served(gateway)
            # Commands know what the gateway has kept, and it keeps what it has learned a moment later.
            kept = FileStore(around.state)
            await until(lambda: "c.example" in {each.name for each in recall(kept)})
            results = [await command("remove", "c.example"), await command("set", "c.example", "weight=3")]
            assert {each.returncode for each in results} == {4}, [each.stderr for each in results]
            assert results[0].stderr == results[1].stderr
            assert results[0].stderr == (
                f"ntspool: c.example is not in {around.config} but comes from the DNS: change its SRV record, "
                "declare it by `ntspool backend add c.example c.example`, or take it out of service by "
                "`ntspool backend drain c.example`\n"
            )
            assert (await command("set", "_ntp._udp.example", "weight=3")).returncode == 0
            assert _served(gateway)["c.example"] == 3

        _play(around, scene)


def test_the_commands_of_the_manual_work(path):
    manual = (Path(__file__).parents[2] / "docs" / "backends.md").read_text()
    commands = manual.partition("## Change backends.yaml by commands\n\n```\n")[2].partition("```")[0].splitlines()
    assert [line.split()[2] for line in commands] == ["add", "set", "set", "remove"]
    for line in commands:
        result = CliRunner().invoke(cli, [*line.split()[1:], "-c", str(path), "--no-reload"])
        assert (result.exit_code, result.stdout[:3]) == (0, "---"), result.output
    assert path.read_text() == TEXT


def test_a_missing_file_exits_2(path):
    path.unlink()
    path.symlink_to(path)
    result = run_ntspool("backend", "set", "ntp-1", "weight=5", "-c", path)
    assert result.returncode == 2
    assert f"{path}:1: cannot be read: Too many levels of symbolic links" in result.stderr
