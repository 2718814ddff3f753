"""What more workers are worth: the same load on one and on two of each server, in turn.

    python -m benches.workers --kebench DIR [--only ours,awslc,c,chronyd]

DIR is as for benches/compare.py. One worker shares its core with the load, as two share theirs, so that the ratio is
what a second core is worth, and not where the load runs. Sessions per CPU second tell what two workers cost each other.
"""

import argparse
import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from benches.compare import KINDS, Told, load
from benches.contestants import Place


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kebench", type=Path, default=os.environ.get("KEBENCH"), help="folder of the built tools")
    parser.add_argument("--only", default="ours,c,chronyd", help="of ours,awslc,c,c4,chronyd")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    options = parser.parse_args()
    with ExitStack() as stack:
        runs, told = {}, dict[tuple[str, int], list[Told]]()
        for kind in options.only.split(","):
            for workers, cores, client in ((1, "0", "0"), (2, "0,1", "0,1")):
                directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="ntspool-bench-"))
                place = Place(Path(directory), Path(options.kebench), cores, client)
                place.copy_key()
                running = stack.enter_context(KINDS[kind](place, workers))
                runs[running.name, workers] = place, running
        for number in range(options.rounds):
            for key in list(runs) if number % 2 else list(runs)[::-1]:
                place, running = runs[key]
                words = "-c", 64, "-w", 0.3, "-t", options.seconds
                told.setdefault(key, []).append(load(place, running, *words))
    print("| server | workers | sessions/s | to one | per CPU second | to one |\n|---|---|---|---|---|---|")
    for (name, workers), rounds in sorted(told.items()):
        row = [name, str(workers)]
        for figure in ("rate", "per_cpu_s"):
            ratios = [two[figure] / one[figure] for two, one in zip(rounds, told[name, 1], strict=True)]
            row += [f"{median(each[figure] for each in rounds):,.0f}", f"{median(ratios):.2f}"]
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
