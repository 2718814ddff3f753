"""Tell how the cost of a session grows with backends, certificates and open connections.

    python -m benches.growth --kebench DIR

A gateway that has much of one thing takes turns with one that has little of all. DIR is as for benches/compare.py.
"""

import argparse
import os
import resource
import subprocess
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import median

from benches.compare import Told, load
from benches.contestants import Place, gateway


def certificates(place: Place, count: int) -> Place:
    """Return a place of which gateways have so many certificates more, for names that no client asks for."""
    folder = place.directory / "certificates"
    folder.mkdir()
    made = []
    for number in range(count):
        pair = folder / f"{number}.pem", folder / f"{number}.key"
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        command += ["-keyout", str(pair[1]), "-out", str(pair[0]), "-subj", "/CN=n", "-days", "90"]
        command += ["-addext", f"subjectAltName=DNS:name-{number}.example"]
        subprocess.run(command, check=True, capture_output=True)
        made.append(pair)
    return replace(place, more_certificates=tuple(made))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kebench", type=Path, default=os.environ.get("KEBENCH"), help="folder of the built tools")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=0.7, help="of each measurement")
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with ExitStack() as stack:
        directories = [stack.enter_context(tempfile.TemporaryDirectory(prefix="ntspool-bench-")) for _ in range(4)]
        places = [Place(Path(each), Path(options.kebench), "0", "1") for each in directories]
        for each in places:
            each.copy_key()
        few = "2 backends, 1 certificate, no other connection"
        servers = {
            few: stack.enter_context(gateway(places[0])),
            "1,000 backends": stack.enter_context(gateway(places[1], backends=1000, interval="60s")),
            "100 certificates": stack.enter_context(gateway(certificates(places[2], 99))),
            "5,000 connections held open": stack.enter_context(gateway(places[3])),
        }
        target = f"127.0.0.1:{servers['5,000 connections held open'].port}"
        hold = ["-c", "1", "--hold", "5000", "--stage", "partial", "--keep", "1000", "--timeout", "900"]
        holding = subprocess.Popen(
            [options.kebench / "loadgen", "-a", target, *hold], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        stack.callback(holding.terminate)
        assert holding.stdout is not None
        holding.stdout.readline()
        told: dict[str, list[Told]] = {name: [] for name in servers}
        for number in range(options.rounds):
            for name in list(servers) if number % 2 else list(servers)[::-1]:
                words = "-c", 32, "-w", 0.2, "-t", options.seconds
                told[name].append(load(places[0], servers[name], *words))
    print("| | microseconds a session | to few of all, median (least..most) |\n|---|---|---|")
    for name, rounds in told.items():
        ratios = [few["per_cpu_s"] / many["per_cpu_s"] for many, few in zip(rounds, told[few], strict=True)]
        spent = median(1e6 / each["per_cpu_s"] for each in rounds)
        print(f"| {name} | {spent:.0f} | {median(ratios):.2f} ({min(ratios):.2f}..{max(ratios):.2f}) |")


if __name__ == "__main__":
    main()
