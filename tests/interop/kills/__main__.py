"""The command: `python -m tests.interop.kills --count 200 --seed 1`."""

import argparse
import random
import sys
from pathlib import Path

from tests.interop.kills.run import Plan, as_text, run
from tests.interop.kills.scenes import NEED_SOCKETS, SCENES


def main() -> None:
    """Run what the command line says; exit status 1 if something was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.interop.kills", description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="kills, at least")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="makes the same kills again")
    parser.add_argument("--rate", type=float, default=50.0, help="sessions a second")
    parser.add_argument("--scene", action="append", choices=sorted(SCENES), help="this scene and no other; repeatable")
    parser.add_argument("--logs", type=Path, help="a directory for what gateway and agents log")
    parser.add_argument("--no-sockets", action="store_true", help="without ntspool.socket: the gateway opens its port")
    told = parser.parse_args()
    scenes = told.scene or [name for name in SCENES if not (told.no_sockets and name in NEED_SOCKETS)]
    plan = Plan(told.count, told.seed, scenes, rate=told.rate, activated=not told.no_sockets, logs=told.logs)
    found = run(plan, lambda line: print(line, file=sys.stderr, flush=True))  # noqa: T201
    print(as_text(found))  # noqa: T201
    sys.exit(bool(found.wrong))


if __name__ == "__main__":
    main()
