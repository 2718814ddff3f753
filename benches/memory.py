"""Tell the memory of a gateway's processes: idle, with connections held open, and with many backends.

    python -m benches.memory --kebench DIR

DIR is as for benches/compare.py. "Own" is what no other process shares, the rest is the interpreter and libraries.
"""

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path

from benches.compare import load
from benches.contestants import Place, Running, gateway

HELD = {
    "tcp": "that have sent nothing",
    "partial": "in the middle of a ClientHello",
    "hello": "in the middle of the handshake",
    "done": "whose handshake is done, and that ask nothing",
}


def memory(pid: int) -> dict[str, float]:
    """Return MB of a process: resident, and its own."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    kilobytes = {name: float(rest.split()[0]) for name, _, rest in (line.partition(":") for line in rollup)}
    own = kilobytes["Private_Clean"] + kilobytes["Private_Dirty"]
    return {"resident": kilobytes["Rss"] / 1000, "own": own / 1000}


def worker(running: Running) -> int:
    """Return the only worker's process."""
    return int(Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()[0])


def tell(what: str, measured: dict[str, float]) -> None:
    print(f"| {what} | " + " | ".join(f"{each:.1f} MB" for each in measured.values()) + " |", flush=True)


def held(place: Place, connections: int) -> None:
    """Tell what so many open connections add to a worker, in a fresh one for each stage."""
    for stage, words in HELD.items():
        with gateway(place) as running:
            load(place, running, "-c", 32, "-w", 0, "-t", 1)
            served = Running(running.name, worker(running), running.port)
            told = load(place, served, "--hold", connections, "--stage", stage, "--keep", 1, "--timeout", 60)
            if told["alive"] < connections:
                print(f"only {told['alive']:.0f} of {connections} connections were held: {told}")
            print(f"| {connections:,} connections {words} | {(told['rss1_kb'] - told['rss0_kb']) / 1000:.1f} MB more |")


def fleet(place: Place, backends: int) -> None:
    """Tell what a gateway takes that has so many backends and has served a while."""
    with gateway(place, backends=backends, interval="30s") as running:
        time.sleep(10)
        load(place, running, "-c", 32, "-w", 0, "-t", 2)
        tell(f"worker, {backends} backends", memory(worker(running)))
        tell(f"control process, {backends} backends", memory(running.pid))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kebench", type=Path, default=os.environ.get("KEBENCH"), help="folder of the built tools")
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--backends", type=int, nargs="+", default=[2, 1000])
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory(prefix="ntspool-bench-") as directory:
        place = Place(Path(directory), Path(options.kebench), "0", "1")
        place.copy_key()
        print("| process | resident | own |\n|---|---|---|")
        for backends in options.backends:
            fleet(place, backends)
        held(place, options.connections)


if __name__ == "__main__":
    main()
