"""What it costs to keep the history of many backends: CPU, bytes on disk, and the time that a report takes.

    python -m benches.history [--backends 1000] [--interval 16] [--hours 4]

Probes are made up: offsets of some ten microseconds around a drifting mean, uncertainties of some milliseconds.
"""

import argparse
import random
import tempfile
import time
from contextlib import closing
from pathlib import Path

from ntspool.app.reporting import examine
from ntspool.net.historyreader import HistoryReader
from ntspool.net.historywriter import Bounds, HistoryWriter
from ntspool.net.recorder import WRITE_INTERVAL
from ntspool.pool.observation import Measured, Observation, Where
from ntspool.pool.report import Period

START = 1_800_000_000.0 // 3600 * 3600
DAY = 86400.0


def probes(wheres: list[Where], interval: float, hours: int) -> list[Observation]:
    chance = random.Random(1)
    paths = {where: (chance.uniform(0.0005, 0.02), chance.gauss(0, 30e-6)) for where in wheres}
    found = []
    for turn in range(int(hours * 3600 / interval)):
        for number, where in enumerate(wheres):
            delay, mean = paths[where]
            noisy = delay + abs(chance.gauss(0, delay / 50))
            offset = mean + chance.gauss(0, 10e-6)
            measured = Measured(offset, offset - 4e-6, noisy / 2 + 0.001, noisy, 2, 0, f"192.0.2.{number % 200}")
            at = START + turn * interval + number * interval / len(wheres)
            found.append(Observation(where, at, True, "", True, interval, measured))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backends", type=int, default=1000)
    parser.add_argument("--interval", type=float, default=16.0)
    parser.add_argument("--hours", type=int, default=4)
    words = parser.parse_args()
    wheres = [Where(f"ntp-{number}", f"10.0.{number // 250}.{number % 250}", 123) for number in range(words.backends)]
    made = probes(wheres, words.interval, words.hours)
    at_once = round(words.backends * WRITE_INTERVAL / words.interval)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "history.db"
        writer = HistoryWriter(path)
        began = time.thread_time()
        for first in range(0, len(made), at_once):
            writer.write(made[first : first + at_once], [])
        spent, size = time.thread_time() - began, writer.size()
        seconds = words.hours * 3600
        print(f"writing  {spent / seconds:.3%} of a core, {spent / len(made) * 1e6:.1f} us a probe")
        print(f"probes   {size / len(made):.1f} bytes each, {size / words.hours * 24 / 2**20:.0f} MiB a day")
        began = time.thread_time()
        with closing(HistoryReader(path)) as reader:
            examine(reader, Period(START, START + seconds)).addresses((1e-4,))
        print(f"report   {(time.thread_time() - began) / len(made) * 1e6:.1f} us a probe, exact")
        began = time.thread_time()
        while writer.tidy(START + 8 * DAY, Bounds(400 * DAY, 7 * DAY, 2**40)):
            pass
        folded, size = time.thread_time() - began, writer.size()
        hours = words.backends * words.hours
        print(f"folding  {folded / seconds:.3%} of a core, {folded / words.hours:.2f} s an hour")
        print(f"hours    {size / hours:.0f} bytes each, {size / words.hours * 24 / 2**20:.1f} MiB a day")
        began = time.thread_time()
        with closing(HistoryReader(path)) as reader:
            examine(reader, Period(START, START + seconds)).addresses((1e-4,))
        print(f"report   {(time.thread_time() - began) / hours * 1e6:.0f} us an hour of a backend, approximate")
        writer.close()


if __name__ == "__main__":
    main()
