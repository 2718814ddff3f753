"""Every command that the manual shows exists as it is shown, and is run where this machine can run it."""

import re
import shlex
from collections.abc import Iterator

import click
import pytest

from ntspool.app.cli import cli
from tests.docs.manual import INDENTED, Block, blocks, inline_code, pages
from tests.interop.pool import Member
from tests.interop.rotating import Rotating, rotating_pool

PLACEHOLDERS = {
    "ADDRESS": "127.0.0.1",
    "CLIENT": "chrony",
    "DIR": "keys",
    "EPOCH": "1",
    "FILE": "file",
    "GATEWAY": "gateway.example.com",
    "HOST": "gateway.example.com",
    "N": "20",
    "NAME": "ntp-1",
    "SECONDS": "60",
    "SHELL": "bash",
    "TOKEN": "token",
    "WEIGHT": "20",
}
"""What stands for the words in capitals."""


def lines(block: Block) -> Iterator[str]:
    """Yield the commands of a block: those after `$` if there is any, else all its lines."""
    text = block.text.replace("\\\n", " ")
    prompted = re.findall(r"^\$ (.*)$", text, re.MULTILINE)
    for line in prompted or text.splitlines():
        yield from (each.strip() for each in re.sub(r"\s+#.*", "", line).split(" && "))


def shown() -> list[tuple[str, str]]:
    """Return every command of ours that stands in a block, as (where, command)."""
    found = {}
    for page in pages():
        for block in blocks(page):
            for line in lines(block):
                # Not what the README's drawing says of it.
                if line.startswith("ntspool ") and " = " not in line:
                    found.setdefault(line, str(block))
    return [(where, line) for line, where in found.items()]


def mentioned() -> list[tuple[str, str]]:
    """Return every command of ours that stands in prose, whole or by its name alone."""
    found = {}
    for page in pages():
        for code in inline_code(page):
            text = " ".join(code.text.split())
            if text.startswith("ntspool ") and "..." not in text:
                found.setdefault(text, str(code))
    return [(where, line) for line, where in found.items()]


def parse(line: str, *, whole: bool) -> None:
    """Have click read a command; raises UsageError when it would refuse it. Only a `whole` one needs its arguments."""
    # What a reader may choose or leave out; `(ntspool ... bash)` is the shell's.
    text = re.sub(r"[\[\]()<>]", " ", line.partition(" | ")[0].partition(" > ")[0])
    _, *words = (PLACEHOLDERS.get(each, each) for each in shlex.split(text))
    command: click.Command = cli
    context = click.Context(cli)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        name, *words = words
        found = command.get_command(context, name)
        if found is None:
            raise click.UsageError(f"no command {name!r}")
        command = found
    if isinstance(command, click.Group) and not words and not whole:
        return
    try:
        command.make_context("ntspool", words)
    except click.MissingParameter:
        if whole:
            raise


@pytest.mark.parametrize(("where", "line"), shown())
def test_a_command_in_a_block_is_whole(where, line):
    parse(line, whole=True)


@pytest.mark.parametrize(("where", "line"), mentioned())
def test_a_command_in_prose_exists(where, line):
    parse(line, whole=False)


@pytest.mark.parametrize(
    "line", ["ntspool statsu", "ntspool keys rotate --now", "ntspool backend drain", "ntspool keys x"]
)
def test_a_command_that_does_not_exist_is_found(line):
    with pytest.raises(click.UsageError):
        parse(f"ntspool {line}", whole=True)


NOT_RUN = {
    "ntspool serve": "it runs, as the gateway that all the others are asked of",
    "ntspool agent": "it runs, beside each backend",
    "ntspool demo": "tests/app/test_demo.py plays it",
    (
        "ntspool timeserver --listen 192.0.2.3:123 --keys own.keys --own-keys --ke-listen 192.0.2.3 "
        "--certificate fullchain.pem --private-key privkey.pem --tokens tokens"
    ): "it runs; tests/app/test_timeserving.py",
    "ntspool agent chrony-config": "it looks at this machine's chronyd; tests/app/test_cli_agent.py",
    "ntspool agent chrony-config --write": "tests/interop/test_agent_daemons.py has chronyd obey what it writes",
    "ntspool agent chrony-config --write --ntsport 4459": "the same",
    "ntspool backend set _ntske._tcp.example.com weight=5": "this pool has no such backend; tests/app/test_cli_edit.py",
    "ntspool keys export": "it is only named",
    **dict.fromkeys(
        ("ntspool cluster status", "ntspool cluster import /etc/ntspool/backends.yaml", "ntspool cluster forget NAME"),
        "this gateway is alone; tests/interop/test_cluster.py",
    ),
    "ntspool events --follow": "it has no end; tests/app/test_operating_commands.py",
}
"""Commands of ours that are not run as they are shown, and why."""

ELSEWHERE = {
    ".venv/bin/": "the README's: tests/interop/installed.py and CI do as much",
    "python3 -m venv": "the same",
    "systemctl": "there is no systemd here",
    "journalctl": "there is no systemd here",
    "apt": "it would change this machine",
    "ansible-playbook": "tests/deploy/test_ansible.py",
    "cp": "not ours",
    "openssl rand": "not ours",
    "echo": "not ours",
    "deploy/": "tests/deploy runs it",
    "ls": "not ours",
    **dict.fromkeys(("cd ", "chgrp", "chmod", "install ", "ln ", "mkdir", "touch"), "part of an installation"),
    "/opt/ntspool/bin/pip": "tests/deploy/test_wheel.py",
    "/tmp/build/bin/": "it compiles for ten minutes; tests/deploy/test_awslc.py has its parts",
    "podman": "there is no container engine here",
    "for n in": "the same",
    "runuser": "who runs the tests need not be root; the command itself is run",
    "source": "the shell's",
    **dict.fromkeys(("tsig-keygen", "pdnsutil"), "DNS servers' own"),
    "chronyc": "tests/interop/clients.py reads what it prints",
    "python": "benchmarks; tests/benches has their parts",
    "perf": "not ours",
    "py-spy": "not ours",
    "strace": "not ours",
    "promtool": "tests/deploy/test_prometheus.py runs it",
    "openssl": "not ours",
    "export ETCDCTL": "part of an installation",
    "curl": "not ours; tests/net asks for the same",
}
"""Programs of others in blocks of commands, and why they are not run here."""

REFUSED = 4
MAY_END = {
    "ntspool keys rotate": (0, REFUSED),
    "ntspool backend show ntp2": (1,),
    # The pool is too young to have a history on disk.
    "ntspool report --last 30d": (0, 1),
    "ntspool report --from 2026-10-01 --to 2026-10-31 --html october.html --csv october.csv": (0, 1),
    "ntspool report --last 7d --limit 50us --limit 1ms ntp-1 ntp-2": (0, 1),
    "ntspool report --history copy.db": (1,),
    "ntspool report --from 2023-12-01 --to 2023-12-31 ntp-1 ntp-2": (0, 1),
    "ntspool report": (0, 1),
}
"""Commands whose exit status may be another one than 0."""


def test_programs_of_others_are_known():
    strangers = {
        (str(block), line)
        for page in pages()
        if page.parent.name != "man"
        for block in blocks(page)
        if block.language in (INDENTED, "sh") or block.text.startswith("$ ")
        for line in lines(block)
        if line and not line.startswith(("ntspool ", *ELSEWHERE))
    }
    assert strangers == set()


def to_run() -> list[tuple[str, str]]:
    """Return what can be run of all that is shown, what destroys the pool last."""
    found = {line: where for where, line in mentioned() if is_whole(line)}
    found |= {line.partition(" | ")[0]: where for where, line in shown()}
    kept = ((where, line) for line, where in found.items() if line not in NOT_RUN)
    return sorted(kept, key=lambda each: (destroys(each[1]), each))


def is_whole(line: str) -> bool:
    """Tell whether a command that stands in prose can be typed as it stands there."""
    try:
        parse(line, whole=True)
    except click.UsageError:
        return False
    return not PLACEHOLDERS.keys() & set(line.split()) and not set("[]()<>|") & set(line)


def test_the_manuals_commands_work_on_a_pool():
    members = [Member(f"ntp-{number}", (f"127.0.0.{10 + number}",)) for number in (1, 2)]
    with rotating_pool(members, life=1) as site:
        site.ntspool("keys", "backup", "--output", f"{site.pool.directory}/keyring.backup")
        changes = substitutions(site)
        for where, line in to_run():
            ours = line
            for pattern, replacement in changes.items():
                ours = re.sub(pattern, replacement, ours)
            _, *words = shlex.split(ours)
            status, said = site.attempt(*words, config=needs_configuration(words))
            assert status in MAY_END.get(line, (0,)), (where, line, ours, said)


def substitutions(site: Rotating) -> dict[str, str]:
    """Return what stands in the manual for a pool of one's own, as patterns, and what it is here."""
    directory, trusted = site.pool.directory, f"--name=localhost --ca={site.pool.ca}"
    token = site.ntspool("backend", "enroll", "ntp-1").strip()
    return {
        r"/etc/ntspool/backends\.yaml": str(site.pool.config),
        r"/root/keyring\.backup": f"{directory}/keyring.backup",
        r"--(output|html|csv) (?!/)(\S+)": rf"--\1 {directory}/\2",
        r"bench \S+ --duration \d+": f"bench 127.0.0.1 --port={site.pool.port} {trusted} --duration 1",
        r"check (?!-)\S+": f"check localhost:{site.pool.port} --ca={site.pool.ca} --rate=50 --days-left 0.5 0.1",
        r"--junit \S+": f"--junit {directory}/check.xml",
        r"query \S+( --name \S+)?": f"query 127.0.0.1:{site.pool.port} {trusted}",
        r"enroll TOKEN --gateway \S+": f"enroll {token} --gateway=127.0.0.1:{site.control} --state={directory}/agent",
        # ntp-3 is there already when it is added the second time.
        r"add ntp-3 (\S+) --no-reload": "add ntp-5 127.0.0.15 --no-reload",
        r"192\.0\.2\.(\d)( 2001:db8::\d)?": r"127.0.0.1\1",
        r"ntp-7\.example\.com": "ntp-3",
    }


def destroys(line: str) -> bool:
    """Tell whether what comes after a command would find another pool."""
    return any(each in line for each in ("backend remove", "backend revoke", "keys restore", "keys revoke"))


def needs_configuration(words: list[str]) -> bool:
    """Tell whether a command takes `--config`, which readers have where it is looked for."""
    command: click.Command = cli
    context = click.Context(cli)
    for word in words:
        if not isinstance(command, click.Group):
            break
        command = command.get_command(context, word) or command
    return any("--config" in each.opts for each in command.params)
