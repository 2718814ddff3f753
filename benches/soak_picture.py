"""Draw a soak and tell its verdict again, from its figures, as far as they have come.

    python -m benches.soak_picture DIRECTORY [--write]

`--write` draws docs/soak-*.svg and keeps a line a minute of the figures in docs/soak.csv.
"""

import argparse
import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benches.plot import Axis, Line, chart
from benches.soak_figures import MEMORY, Row, verdict

DOCS = Path(__file__).parents[1] / "docs"
SIZES = {"agents": 12, "timeservers": 4, "chronyds": 8}
"""How many processes a group has, if more than one."""

NAMES = {
    "control": "control process",
    "worker": "elder worker",
    "agents": "agent (mean of 12)",
    "timeservers": "time server (mean of 4)",
    "chronyds": "chronyd (mean of 8)",
}


def read(path: Path) -> list[Row]:
    """Return the figures that a soak has written."""
    with path.open(newline="") as file:
        return [{key: float(value) for key, value in line.items()} for line in csv.DictReader(file)]


def minutely(rows: Sequence[Row]) -> list[Row]:
    """Return the last line of each minute, with how it went in the slowest ten seconds of that."""
    minutes: dict[int, list[Row]] = {}
    for row in rows:
        minutes.setdefault(int((row["seconds"] - 1) // 60), []).append(row)
    slowest = ("p50_ms", "p99_ms", "max_ms")
    return [{**part[-1], **{key: max(row[key] for row in part) for key in slowest}} for part in minutes.values()]


def draw(rows: Sequence[Row]) -> dict[str, str]:
    """Return the pictures, by name."""
    across = Axis("minutes", 0, rows[-1]["seconds"] / 60)

    def line(label: str, key: str, times: float = 1.0) -> Line:
        # The first line has nothing before it to be compared with; a logarithm takes no 0.
        return Line(label, [(row["seconds"] / 60, row[key] * times) for row in rows[1:] if row[key] or times != 1.0])

    memory = [line(NAMES[group], f"{group}_mib", 1 / SIZES.get(group, 1)) for group in MEMORY]
    most = max(value for each in memory for _, value in each.points)
    waits = {"half": "p50_ms", "99 of 100": "p99_ms", "all": "max_ms"}
    core = {"gateway and load": "ours", "others": "others", "nobody": "idle"}
    return {
        "soak-memory.svg": chart("Memory of each process", across, Axis("MiB", 0, 1.2 * most), memory),
        "soak-latency.svg": chart(
            "Until clients have their cookies, in ten seconds each",
            across,
            Axis("milliseconds", 1, 10_000, log=True),
            [line(f"{part}, within", key) for part, key in waits.items()],
        ),
        "soak-core.svg": chart(
            "Who had the core", across, Axis("percent", 0, 100), [line(who, key, 100.0) for who, key in core.items()]
        ),
    }


def table(rows: Sequence[Row]) -> list[str]:
    """Return the lines of a table: each process's memory and descriptors after a minute and at the end."""
    shown = rows[min(6, len(rows) - 1)], rows[-1]
    lines = ["| | MiB after a minute | at the end | descriptors after a minute | at the end |", "|---|---|---|---|---|"]
    for group in MEMORY:
        size = SIZES.get(group, 1)
        cells = [f"{row[f'{group}_mib'] / size:.1f}" for row in shown]
        cells += [f"{row[f'{group}_fds'] / size:.0f}" for row in shown]
        lines.append(f"| {NAMES[group]} | {' | '.join(cells)} |")
    return lines


def keep(rows: Sequence[Row], path: Path) -> None:
    """Write a line a minute."""
    kept = minutely(rows)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, kept[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: f"{value:.10g}" for key, value in row.items()} for row in kept)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--rotations", type=int, default=18, help="that were wanted")
    parser.add_argument("--write", action="store_true", help="into docs/")
    options = parser.parse_args()
    rows = read(options.directory / "figures.csv")
    with (options.directory / "events.csv").open(newline="") as file:
        done = Counter(name for _, name, _ in csv.reader(file))
    last = rows[-1]
    print(f"{last['seconds'] / 60:.1f} minutes; {dict(done)}")
    print({key: int(last[key]) for key in ("started", "done", "cut", "turned_away", "answered", "exchanges", "deaths")})
    for kept, words in verdict(rows, done["rotate"], options.rotations):
        print("kept  " if kept else "BROKEN", words)
    print(*table(rows), sep="\n")
    if options.write:
        for name, picture in draw(rows).items():
            (DOCS / name).write_text(picture)
        keep(rows, DOCS / "soak.csv")


if __name__ == "__main__":
    main()
