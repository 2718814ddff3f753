"""Offer a server more and more sessions than it can serve; tell how many it serves, and how fast."""

import argparse
import os
import tempfile
from pathlib import Path

from compare import KINDS, load
from contestants import Place, Running

TIMES = (0.5, 0.7, 0.9, 1.0, 1.5, 2.0, 3.0, 5.0)


def curve(place: Place, running: Running, seconds: float) -> None:
    capacity = load(place, running, "-c", 64, "-w", 0.5, "-t", seconds)["rate"]
    print(f"{running.name}: capacity {capacity:.0f}/s")
    print("  offered    of capacity   served/s  of capacity    p50 ms    p99 ms   turned away")
    for times in TIMES:
        offered = capacity * times
        got = load(place, running, "-r", offered, "-c", 4000, "-w", 3, "-t", seconds, "--timeout", 5)
        print(
            f"  {offered:7.0f} {times:12.1f}x {got['rate']:11.0f} {got['rate'] / capacity:11.0%}"
            f" {got['p50_ms']:10.1f} {got['p99_ms']:9.1f} {got['errors']:12}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kebench", type=Path, default=os.environ.get("KEBENCH"))
    parser.add_argument("--only", default="ours,chronyd")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--server-cores", default="0")
    parser.add_argument("--client-cores", default="1")
    words = parser.parse_args()
    for kind in words.only.split(","):
        with tempfile.TemporaryDirectory() as directory:
            place = Place(Path(directory), words.kebench, words.server_cores, words.client_cores)
            (Path(directory) / "key.pem").write_bytes((words.kebench / "key.pem").read_bytes())
            (Path(directory) / "key.pem").chmod(0o600)
            with KINDS[kind](place) as running:
                curve(place, running, words.seconds)


if __name__ == "__main__":
    main()
