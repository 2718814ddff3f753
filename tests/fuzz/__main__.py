"""Search for bytes that let a decoder down: `python -m tests.fuzz [--seconds S] [NAME ...]`.

Runs each target for so many seconds on one core, from its samples and its corpus, and keeps what reaches new code in
the corpus. Needs atheris.
"""

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

LIMITS = (f"-max_len={LONGEST}", "-timeout=5", "-rss_limit_mb=1024", "-verbosity=0")


def guided(name, *options):
    """Run one target in a process of its own; return what it wrote, and its exit status."""
    command = [sys.executable, "-m", "tests.fuzz.guided", name, *LIMITS, *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.stdout, done.returncode


def fill(folder, cases):
    """Write each case to a file of its own."""
    folder.mkdir()
    for number, case in enumerate(cases):
        (folder / str(number)).write_bytes(case)


def search(name, seconds, scratch):
    """Search one target; return None, or what let it down."""
    seen = scratch / "seen"
    fill(seen, [*TARGETS[name].samples, *corpus.load(name)])
    said, status = guided(name, f"-max_total_time={seconds}", f"-artifact_prefix={scratch}/found-", str(seen))
    if status:
        found = [path.read_bytes().hex() for path in sorted(scratch.glob("found-*"))]
        return f"{said}\ncases: {found}"
    # libFuzzer writes a case there when it reaches something new, and takes away what a smaller one reaches too.
    kept, room = [], MOST_KEPT
    for case in sorted((path.read_bytes() for path in seen.iterdir()), key=len):
        room -= len(case)
        if room >= 0:
            kept.append(case)
    corpus.save(name, kept)
    return None


@click.command()
@click.option("--seconds", default=600, show_default=True, help="For each target.")
@click.argument("names", nargs=-1, type=click.Choice(list(TARGETS)))
def main(seconds, names):
    """Search the targets NAMES, or all of them, for bytes that let them down."""
    failed = False
    for name in names or TARGETS:
        with tempfile.TemporaryDirectory() as scratch:
            let_down = search(name, seconds, Path(scratch))
        click.echo(f"{name}: {let_down or f'nothing found in {seconds} s, {len(corpus.load(name))} cases kept'}")
        failed |= let_down is not None
    sys.exit(failed)


if __name__ == "__main__":
    main()
