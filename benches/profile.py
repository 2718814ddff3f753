"""Tell where the CPU time of a session goes in a worker under load, by perf; draw a flame graph of it by py-spy.

    python -m benches.profile --kebench DIR [--tree CHECKOUT] [--python INTERPRETER] [--picture FILE.svg]

`--tree` profiles another checkout of ntspool, `--python` another interpreter, say one whose cryptography is built on
AWS-LC. It needs perf, and py-spy for a picture; DIR is as for benches/compare.py.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from benches.compare import load
from benches.contestants import Place, gateway
from benches.memory import worker

PARTS = {
    "TLS, cookies, keys (the TLS library)": r"_rust\.|libssl|libcrypto",
    "kernel": r"\[kernel|\[vdso\]",
    "Python, with cffi and uvloop": r"python|_cffi_backend|/loop\.|^loop\.|_socket|select|_json|_asyncio|array|\[JIT\]",
    "libc: memory taken, copied, given back": r"libc\.|ld-linux",
}
SECONDS = 4


def shares(data: Path) -> dict[str, float]:
    """Return what part of the samples each of PARTS has, and what is in none of them."""
    command = ["perf", "report", "-i", str(data), "--no-children", "--sort", "dso", "--stdio"]
    report = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    told = dict.fromkeys([*PARTS, "other"], 0.0)
    for share, what in re.findall(r"^ +([\d.]+)% +(\S.*?)\s*$", report, re.MULTILINE):
        told[next((part for part, pattern in PARTS.items() if re.search(pattern, what)), "other")] += float(share) / 100
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kebench", type=Path, default=os.environ.get("KEBENCH"), help="folder of the built tools")
    parser.add_argument("--tree", type=Path, help="a checkout of ntspool to profile instead of this one")
    parser.add_argument("--python", default=sys.executable, help="an interpreter that has what ntspool needs")
    parser.add_argument("--picture", type=Path, help="draw a flame graph into this file")
    options = parser.parse_args()
    tools, picture = Path(options.kebench).absolute(), options.picture and options.picture.absolute()
    if options.tree:
        os.chdir(options.tree)
    with tempfile.TemporaryDirectory(prefix="ntspool-bench-") as directory:
        place = Place(Path(directory), tools, "0", "1")
        place.copy_key()
        with gateway(place, python=options.python) as running:
            pid, data = worker(running), place.directory / "perf.data"
            words = "-c", 32, "-w", 0.3, "-t"
            spent = 1e6 / load(place, running, *words, SECONDS)["per_cpu_s"]
            record = ["perf", "record", "-q", "-F", "1999", "-e", "cpu-clock", "-o", data, "-p", pid, "sleep", SECONDS]
            with subprocess.Popen(list(map(str, record)), stderr=subprocess.DEVNULL):
                load(place, running, *words, SECONDS)
            print(f"| {running.name} | microseconds a session |\n|---|---|")
            for part, share in shares(data).items():
                print(f"| {part} | {share * spent:.0f} |")
            print(f"| sum | {spent:.0f} |")
            if picture:
                spy = ["py-spy", "record", "-f", "flamegraph", "-r", "200", "-d", SECONDS, "-o", picture]
                with subprocess.Popen([*map(str, spy), "--pid", str(pid)], stdout=subprocess.DEVNULL):
                    load(place, running, *words, SECONDS + 2)
                # Its title is py-spy's command line otherwise.
                picture.write_text(
                    re.sub(r">py-spy record[^<]*<", f">a worker of {running.name}<", picture.read_text())
                )


if __name__ == "__main__":
    main()
