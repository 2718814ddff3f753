"""One target under libFuzzer, guided by which lines of ntspool a case reaches.

`python -m tests.fuzz.guided SECONDS NAME ...` ends after so many seconds of processor time, of which no other process
can take any from the search, and tells how many cases it tried. What follows NAME goes to libFuzzer. A case that lets
the target down ends the process too, and is written where `-artifact_prefix=` says.
"""

import os
import signal
import sys
import time
from random import Random

import atheris
import click

from tests.fuzz.engine import endless_loops_ended
from tests.fuzz.modules import find

SLOWEST = 5.0
"""Seconds of processor time of a case: instrumented code is some ten times as slow."""


class Search:
    def __init__(self, target, seconds):
        self.target, self.cases = target, 0
        self.end = time.process_time() + seconds

    def try_one(self, data):
        self.cases += 1
        signal.setitimer(signal.ITIMER_VIRTUAL, SLOWEST)
        self.target.try_one(data, Random(data))
        if time.process_time() > self.end:
            # libFuzzer has no way to be told that it is enough; what it found it has written.
            click.echo(f"{self.cases} cases")
            sys.stdout.flush()
            os._exit(0)


def main():
    seconds, name, *options = sys.argv[1:]
    with atheris.instrument_imports(include=["ntspool"]):
        target = find(name)
    search = Search(target, float(seconds))
    atheris.Setup([sys.argv[0], *options], search.try_one)
    with endless_loops_ended():
        atheris.Fuzz()


if __name__ == "__main__":
    main()
