"""Compare NTS-KE servers, interleaved, by what a session costs each of them; writes docs/performance.md.

One server after the other gets a load for a moment, and so on for several rounds: whatever the machine does
meanwhile, it does to all. CPU time is that of the server's processes, as the kernel accounts it.

The load generator and the C server are kebench, which is not part of this repository: name the folder where it was
built by --kebench or the environment variable KEBENCH. It must hold loadgen, cserver, cert.pem and key.pem.
"""

import argparse
import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from statistics import median

from benches import contestants
from benches.contestants import Place, Running

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
BEGIN, END = "<!-- benches/compare.py writes from here -->", "<!-- to here -->"
KINDS: dict[str, Callable[..., AbstractContextManager[Running]]] = {
    "ours": contestants.gateway,
    "awslc": contestants.gateway_awslc,
    "c": contestants.c_server,
    "c4": contestants.c_server_4,
    "chronyd": contestants.chronyd,
    "ntpsec": contestants.ntpsec,
    "plain": contestants.baseline,
}
Told = dict[str, float]


def load(place: Place, running: Running, *words: object) -> Told:
    command = ["taskset", "-c", place.client_cores, place.tools / "loadgen", "-a", f"127.0.0.1:{running.port}"]
    command += ["-p", running.pid, *words, "--json"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True, timeout=120)
    return json.loads(done.stdout)


def saturate(
    place: Place, servers: Sequence[Running], options: argparse.Namespace
) -> tuple[list[str], dict[str, list[Told]]]:
    """Measure what a session costs; return the lines of a table, and what was measured."""
    words = ("-c", options.connections, "-w", 0.3, "-t", options.seconds)
    told: dict[str, list[Told]] = {each.name: [] for each in servers}
    for number in range(options.rounds):
        for each in servers if number % 2 else servers[::-1]:
            told[each.name].append(load(place, each, *words))
    lines = ["| server | per CPU second | to chronyd, median (least..most) | errors |", "|---|---|---|---|"]
    first = told[next((each.name for each in servers if each.name.startswith("chronyd")), servers[0].name)]
    for name, rounds in told.items():
        ratios = [each["per_cpu_s"] / other["per_cpu_s"] for each, other in zip(rounds, first, strict=True)]
        spread = f"{median(ratios):.2f} ({min(ratios):.2f}..{max(ratios):.2f})"
        errors = sum(each["errors"] for each in rounds)
        lines.append(f"| {name} | {median(each['per_cpu_s'] for each in rounds):,.0f} | {spread} | {errors:.0f} |")
    return lines, told


def offer(place: Place, servers: Sequence[Running], rate: float, options: argparse.Namespace) -> list[str]:
    """Measure latency at one offered load for all; return the lines of a table."""
    lines = [f"| server, {rate:.0f} sessions/s offered | p50 | p99, median (least..most) |", "|---|---|---|"]
    told: dict[str, list[Told]] = {each.name: [] for each in servers}
    for number in range(options.rounds):
        for each in servers if number % 2 else servers[::-1]:
            told[each.name].append(load(place, each, "-c", 256, "-r", rate, "-w", 0.3, "-t", options.seconds))
    for name, rounds in told.items():
        p50, *p99 = median(each["p50_ms"] for each in rounds), *(each["p99_ms"] for each in rounds)
        lines.append(f"| {name} | {p50:.2f} ms | {median(p99):.2f} ms ({min(p99):.2f}..{max(p99):.2f}) |")
    return lines


def write(lines: Sequence[str]) -> None:
    before, rest = PAGE.read_text().split(BEGIN)
    after = rest.split(END)[1]
    PAGE.write_text("\n".join([f"{before}{BEGIN}", *lines, f"{END}{after}"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kebench", type=Path, default=os.environ.get("KEBENCH"), help="folder of the built tools")
    parser.add_argument("--only", default="ours,c,chronyd,plain", help=f"of {','.join(KINDS)}")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--rate", type=float, default=0, help="measure latency at so many sessions/s as well")
    parser.add_argument("--share", type=float, default=0, help="or at this share of what the first can do on its core")
    parser.add_argument("--cores", nargs=2, default=["0", "1"], help="of the servers and of the load")
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.name}")
    options = parser.parse_args()
    if options.kebench is None or not (Path(options.kebench) / "loadgen").exists():
        parser.error("--kebench names no folder with kebench's loadgen; see the beginning of this help")
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ntspool-bench-")))
        place = Place(directory, Path(options.kebench), *options.cores)
        place.copy_key()
        servers = [stack.enter_context(KINDS[each](place)) for each in options.only.split(",")]
        lines, told = saturate(place, servers, options)
        capacity = median(each["rate"] for each in told[servers[0].name])
        if rate := options.rate or options.share * capacity:
            lines += ["", *offer(place, servers, rate, options)]
    print("\n".join(lines))
    if options.write:
        write(lines)


if __name__ == "__main__":
    main()
