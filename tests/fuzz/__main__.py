"""Search for bytes that let a decoder down: `python -m tests.fuzz [--list] [--seconds S] [NAME ...]`.

Runs each target for so many seconds of processor time, from its samples and its corpus, and keeps what reaches new code
in the corpus. Needs atheris.
"""

import re
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from tests.fuzz import corpus
from tests.fuzz.engine import LONGEST
from tests.fuzz.targets import TARGETS

MOST_KEPT = 20_000
"""Bytes of a corpus, smallest cases first: what is worth more time than that is found anew."""

# The target bounds the time of a case: libFuzzer and atheris would count while other processes run.
LIMITS = (f"-max_len={LONGEST}", "-timeout=86400", "-rss_limit_mb=1024", "-verbosity=0")


def guided(name, seconds, *options):
    """Run one target in a process of its own; return what it wrote, its exit status and its processor time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "tests.fuzz.guided", str(seconds), name, *LIMITS, *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    said = "".join(line for line in done.stdout.splitlines(keepends=True) if not line.startswith("INFO: Instrumenting"))
    return said, done.returncode, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def fill(folder, cases):
    """Write each case to a file of its own."""
    folder.mkdir()
    for number, case in enumerate(cases):
        (folder / str(number)).write_bytes(case)


def search(name, seconds, scratch):
    """Search one target; return what came of it, and whether that is nothing."""
    seen = scratch / "seen"
    fill(seen, [*TARGETS[name].samples, *corpus.load(name)])
    said, status, spent = guided(name, seconds, f"-artifact_prefix={scratch}/found-", str(seen))
    # libFuzzer writes a case there when it reaches something new, and takes away what a smaller one reaches too.
    kept, room = [], MOST_KEPT
    for case in sorted((path.read_bytes() for path in seen.iterdir()), key=len):
        room -= len(case)
        if room >= 0:
            kept.append(case)
    corpus.save(name, kept)
    if status:
        found = [path.read_bytes().hex() for path in sorted(scratch.glob("found-*"))]
        return f"let down after {spent:.0f} s of processor time\n{said}\ncases: {found}", False
    tried = re.search(r"^(\d+) cases$", said, re.MULTILINE)[1]
    return f"nothing found in {tried} cases, {spent:.0f} s of processor time; {len(kept)} cases kept", True


@click.command()
@click.option("--list", "listed", is_flag=True, help="Tell the targets, and what each sees to; search nothing.")
@click.option("--seconds", default=600, show_default=True, help="Of processor time, for each target.")
@click.argument("names", nargs=-1, type=click.Choice(list(TARGETS)))
def main(seconds, names, listed):
    """Search the targets NAMES, or all of them, for bytes that let them down."""
    if listed:
        for name in names or TARGETS:
            click.echo(f"{name}: {TARGETS[name].invariant}")
        return
    failed = False
    for name in names or TARGETS:
        with tempfile.TemporaryDirectory() as scratch:
            told, unharmed = search(name, seconds, Path(scratch))
        click.echo(f"{name}: {told}")
        failed |= not unharmed
    sys.exit(failed)


if __name__ == "__main__":
    main()
