"""One target under libFuzzer, guided by which lines of ntspool a case reaches: `python -m tests.fuzz.guided NAME ...`.

What follows NAME goes to libFuzzer. A case that lets the target down ends the process, and is written where
`-artifact_prefix=` says.
"""

import sys
from random import Random

import atheris

with atheris.instrument_imports(include=["ntspool"]):
    from tests.fuzz.targets import TARGETS


def main():
    name, *options = sys.argv[1:]
    target = TARGETS[name]
    atheris.Setup([sys.argv[0], *options], lambda data: target.try_one(data, Random(data)) and None)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
