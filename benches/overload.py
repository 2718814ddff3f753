"""Offer servers more and more sessions than they can serve; tell how many they serve, and how fast.

    python -m benches.overload --kebench DIR [--write]

`--write` draws docs/overload-goodput.svg and docs/overload-p99.svg. DIR is as for benches/compare.py.
"""

import argparse
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benches.compare import KINDS, load
from benches.contestants import Place, Running
from benches.plot import Axis, Line, chart

DOCS = Path(__file__).parents[1] / "docs"
TIMES = (0.5, 0.7, 0.9, 1.0, 1.5, 2.0, 3.0, 5.0)


@dataclass(frozen=True, slots=True)
class Measured:
    """What was served of an offered load: both in parts of the capacity, the 99th percentile in milliseconds."""

    offered: float
    served: float
    p99: float


def curve(place: Place, running: Running, seconds: float) -> Iterator[Measured]:
    print(f"{running.name}\n  of capacity  offered   served  of capacity    p50 ms    p99 ms   turned away")
    for times in TIMES:
        # Right before each: what the machine can do changes from minute to minute.
        capacity = load(place, running, "-c", 64, "-w", 0.5, "-t", seconds)["rate"]
        offered = capacity * times
        got = load(place, running, "-r", offered, "-c", 4000, "-w", 3, "-t", seconds, "--timeout", 5)
        print(
            f"  {times:10.1f}x {offered:8.0f} {got['rate']:8.0f} {got['rate'] / capacity:12.0%}"
            f" {got['p50_ms']:9.1f} {got['p99_ms']:9.1f} {got['errors']:13}",
            flush=True,
        )
        yield Measured(times, got["rate"] / capacity, got["p99_ms"])


def draw(curves: dict[str, list[Measured]]) -> None:
    offered = Axis("offered, in parts of the capacity", 0, max(TIMES))
    goodput = [
        Line(name, [(0, 0), *((each.offered, each.served) for each in points)], marked=True)
        for name, points in curves.items()
    ]
    ideal = Line("all that can be served", [(0, 0), (1, 1), (max(TIMES), 1)])
    title = "Sessions served when more are offered"
    (DOCS / "overload-goodput.svg").write_text(
        chart(title, offered, Axis("served, in parts of the capacity", 0, 1.2), [*goodput, ideal])
    )
    late = [Line(name, [(each.offered, each.p99) for each in points], marked=True) for name, points in curves.items()]
    title = "How long the slowest hundredth of those served waits"
    (DOCS / "overload-p99.svg").write_text(
        chart(title, offered, Axis("99th percentile, milliseconds", 1, 10_000, log=True), late)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kebench", type=Path, default=os.environ.get("KEBENCH"), help="folder of the built tools")
    parser.add_argument("--only", default="ours,chronyd", help=f"of {','.join(KINDS)}")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--cores", nargs=2, default=["0", "1"], help="of the servers and of the load")
    parser.add_argument("--write", action="store_true", help="draw the pictures of docs/")
    options = parser.parse_args()
    curves: dict[str, list[Measured]] = {}
    for kind in options.only.split(","):
        with tempfile.TemporaryDirectory(prefix="ntspool-bench-") as directory:
            place = Place(Path(directory), Path(options.kebench), *options.cores)
            place.copy_key()
            with KINDS[kind](place) as running:
                curves[running.name] = list(curve(place, running, options.seconds))
    if options.write:
        draw(curves)


if __name__ == "__main__":
    main()
