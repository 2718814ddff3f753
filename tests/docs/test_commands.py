"""Every command that the manual shows exists as it is shown, and is run where this machine can run it."""

import re
import shlex
from collections.abc import Iterator

import click
import pytest

from ntspool.app.cli import cli
from tests.docs.manual import TOP, Block, blocks, inline_code, pages
from tests.interop.pool import Member
from tests.interop.rotating import rotating_pool

PLACEHOLDERS = {
    "ADDRESS": "127.0.0.1",
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


@pytest.mark.parametrize("line", ["ntspool statsu", "ntspool keys rotate --now", "ntspool backend drain", "ntspool keys x"])
def test_a_command_that_does_not_exist_is_found(line):
    with pytest.raises(click.UsageError):
        parse(line, whole=True)


NOT_RUN = {
    "ntspool serve": "it runs, as the gateway that all the others are asked of",
    "ntspool agent": "it runs, beside each backend",
    "ntspool agent chrony-config --write": "tests/interop/test_agent_daemons.py has chronyd obey what it writes",
}
"""Commands of ours in blocks that are not run as they are shown, and why."""

ELSEWHERE = {
    "python3 -m venv": "tests/interop/installed.py and CI do as much; the README's second command is what CI runs",
    "pip": "the same",
    "systemctl": "there is no systemd here",
    "journalctl": "there is no systemd here",
    "apt": "it would change this machine",
    "ls": "not ours",
    "chronyc": "tests/interop/clients.py reads what it prints",
    "python": "the benchmarks; tests/benches has their parts",
    "perf": "not ours",
    "py-spy": "not ours",
    "strace": "not ours",
    "certbot": "it needs an authority that answers",
    "curl": "not ours; tests/net/test_admin.py and test_metrics.py ask for the same",
}
"""Programs of others in shell blocks, and why they are not run here."""

REFUSED = 4
MAY_END = {"ntspool keys rotate": (0, REFUSED)}
"""Commands whose exit status may be another one than 0."""


def test_programs_of_others_are_known():
    strangers = set()
    for page in pages():
        for block in blocks(page):
            if block.language not in ("sh", "shell", "console") and "\n$ " not in f"\n{block.text}":
                continue
            for line in lines(block):
                if not line.startswith("ntspool ") and not any(line.startswith(each) for each in ELSEWHERE):
                    strangers.add((str(block), line))
    assert strangers == set()


def test_the_manuals_commands_work_on_a_pool():
    members = [Member(f"ntp-{number}", (f"127.0.0.{10 + number}",)) for number in (1, 2, 3)]
    with rotating_pool(members, life=1) as site:
        pool, gateway = site.pool, f"127.0.0.1:{site.pool.port}"
        trusted = f"--name=localhost --ca={pool.ca}"
        backup = f"{pool.directory}/keyring.backup"
        changes = {
            r"192\.0\.2\.4 2001:db8::4": "127.0.0.14",
            r"/etc/ntspool/backends\.yaml": str(pool.config),
            r"bench \S+ --duration \d+": f"bench 127.0.0.1 --port={pool.port} {trusted} --duration 1",
            r"query \S+( --name \S+)?": f"query {gateway} {trusted}",
            r"enroll TOKEN --gateway \S+": f"enroll {site.ntspool('backend', 'enroll', 'ntp-1').strip()} --gateway 127.0.0.1:{site.control} --state={pool.directory}/agent",
            r"/root/keyring\.backup": backup,
            r"--output (?!/)(\S+)": rf"--output {pool.directory}/\1",
        }
        site.ntspool("keys", "backup", "--output", backup)
        for where, line in sorted(shown(), key=lambda each: (destroys(each[1]), each[0])):
            if line in NOT_RUN:
                continue
            for pattern, ours in changes.items():
                line = re.sub(pattern, ours, line)
            _, *words = shlex.split(line)
            status, said = site.attempt(*words, config=needs_configuration(words))
            assert status in MAY_END.get(line, (0,)), (where, line, said)


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
