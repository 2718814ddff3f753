"""Compare NTS-KE servers, interleaved, by sessions per CPU second of the server."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent))
import contestants
from contestants import Place, Running

KINDS = {
    "ours": contestants.gateway,
    "c": contestants.c_server,
    "chronyd": contestants.chronyd,
    "ntpsec": contestants.ntpsec,
    "plain": contestants.baseline,
}


def load(place: Place, running: Running, *words: object) -> dict:
    command = ["taskset", "-c", place.client_cores, place.tools / "loadgen", "-a", f"127.0.0.1:{running.port}"]
    command += ["-p", running.pid, *words, "--json"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True, timeout=120)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kebench", type=Path, default=os.environ.get("KEBENCH"))
    parser.add_argument("--only", default="ours,c,chronyd")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--load", default="")
    options = parser.parse_args()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ntspool-bench-")))
        place = Place(directory, Path(options.kebench), "0", "1")
        place.key.write_bytes((place.tools / "key.pem").read_bytes())
        place.key.chmod(0o600)
        servers = [stack.enter_context(KINDS[kind](place)) for kind in options.only.split(",")]
        results = {each.name: [] for each in servers}
        for _ in range(options.rounds):
            for each in servers:
                told = load(
                    place, each, "-c", options.connections, "-w", 0.3, "-t", options.seconds, *options.load.split()
                )
                results[each.name].append(told)
        for name, told in results.items():
            per = [each["per_cpu_s"] for each in told]
            print(
                f"{name:16} {median(per):7.0f} per CPU-s  {min(per):.0f}..{max(per):.0f}  rate {median(each['rate'] for each in told):.0f} p50 {median(each['p50_ms'] for each in told):.2f} p99 {median(each['p99_ms'] for each in told):.2f} errors {sum(each['errors'] for each in told)} util {median(each['server_util'] for each in told)}"
            )


if __name__ == "__main__":
    main()
