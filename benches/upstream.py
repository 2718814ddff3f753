"""Compare backends that share their keys with those that keep them, behind one gateway: what a session costs and takes.

One gateway, one worker, on one core; load, time servers and the backends' NTS-KE servers on the other. Clients ask for
one group of backends after the other, round by round, so that whatever the machine does it does to all. CPU time is
that of the gateway's processes. ntpd-rs joins in where NTSPOOL_DAEMONS has an ntp-daemon. Writes docs/fixed-key.md.

The load generator is kebench's, which is not part of this repository: name the folder where it was built by --kebench
or the environment variable KEBENCH.
"""

import argparse
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benches.contestants import PATIENCE, Place, free_port, started, wait_for
from ntspool.app.throwaway import Authority, utc_now

PAGE = Path(__file__).parents[1] / "docs" / "fixed-key.md"
BEGIN, END = "<!-- benches/upstream.py writes from here -->", "<!-- to here -->"
NOCLOCK = Path(__file__).parents[1] / "tests" / "interop" / "noclock.py"
OURS = (sys.executable, "-m", "ntspool")
Told = dict[str, float]


@dataclass(frozen=True)
class Kind:
    """A kind of backend: the name that clients ask for it by, and what the table calls it."""

    name: str
    label: str
    backend: str
    address: str


SHARED = Kind("shared.test", "keys shared, minted by the gateway", "ntp-1", "127.0.0.51")
EMBEDDED = Kind("embedded.test", "fixed-key, `ntspool timeserver`", "ntp-2", "127.0.0.52")
NTPD_RS = Kind("ntpd-rs.test", "fixed-key, ntpd-rs", "ntp-3", "127.0.0.53")


@dataclass(frozen=True)
class Bench:
    """Where all that runs has its files and cores."""

    place: Place
    authority: Authority
    token: str
    port: int

    @property
    def directory(self) -> Path:
        return self.place.directory

    def certificate(self, kind: Kind) -> tuple[Path, Path]:
        folder = self.directory / kind.backend
        folder.mkdir(exist_ok=True)
        return self.authority.issue([kind.backend], [kind.address], folder, utc_now())


def ntp_daemon() -> str | None:
    return shutil.which("ntp-daemon", path=f"{os.environ.get('NTSPOOL_DAEMONS', '')}/bin")


def configure(bench: Bench, kinds: Sequence[Kind], ports: dict[Kind, tuple[int, int]]) -> Path:
    names = ["localhost", *(each.name for each in kinds)]
    pool = bench.directory / "pool"
    pool.mkdir()
    chain, key = bench.authority.issue(names, ["127.0.0.1"], pool, utc_now())
    listed = ""
    for each in kinds:
        ntp, ke = ports[each]
        own = f"fixed-key, ke: {{port: {ke}, ca: {bench.directory}/ca.pem, token: {bench.directory}/token}}"
        cookies = "ntspool" if each is SHARED else own
        listed += f"  - {{name: {each.backend}, address: {each.address}, port: {ntp}, cookies: {cookies}}}\n"
    config = bench.directory / "backends.yaml"
    config.write_text(
        f"pool: {{names: [localhost]}}\nlisten: ['127.0.0.1:{bench.port}']\nworkers: 1\n"
        f"tls: [{{certificate: {chain}, key: {key}}}]\nstate: {bench.directory}/state\nlog: {{format: json}}\n"
        f"pins: {{{', '.join(f'{each.name}: {each.backend}' for each in kinds)}}}\n"
        "health: {interval: 5s, timeout: 1s, rise: 1, fall: 3}\n"
        f"limits: {{per_address: {{sessions: off, rate: off}}, per_network: {{sessions: off, rate: off}}}}\n"
        f"backends:\n{listed}"
    )
    return config


def embedded(bench: Bench, kind: Kind, ntp: int, ke: int) -> list[object]:
    words = [*OURS, "timeserver", f"--listen={kind.address}:{ntp}", "--stratum=3"]
    if kind is SHARED:
        return [*words, f"--keys={bench.directory}/keys"]
    chain, key = bench.certificate(kind)
    words += [f"--keys={bench.directory}/own-keys", "--own-keys", f"--ke-listen={kind.address}:{ke}"]
    return [*words, f"--certificate={chain}", f"--private-key={key}", f"--tokens={bench.directory}/token"]


def ntpd_rs(bench: Bench, kind: Kind, ntp: int, ke: int, source: int) -> list[object]:
    chain, key = bench.certificate(kind)
    config = bench.directory / "ntp.toml"
    config.write_text(
        '[observability]\nlog-level = "warn"\n[synchronization]\nlocal-stratum = 15\nminimum-agreeing-sources = 1\n'
        f'[[source]]\nmode = "server"\naddress = "{SHARED.address}:{source}"\n'
        "[source-defaults]\ninitial-poll-interval = 0\npoll-interval-limits = { min = 0, max = 2 }\n"
        f'[[server]]\nlisten = "{kind.address}:{ntp}"\n[[nts-ke-server]]\nlisten = "{kind.address}:{ke}"\n'
        f'certificate-chain-path = "{chain}"\nprivate-key-path = "{key}"\nntp-port = {ntp}\n'
        f'accepted-pool-authentication-tokens = ["{bench.token}"]\n'
    )
    # It insists on setting the clock, and must not.
    return [sys.executable, NOCLOCK, str(ntp_daemon()), "-c", config]


@contextmanager
def running(bench: Bench, kinds: Sequence[Kind]) -> Iterator[int]:
    """Run backends and gateway; yield the id of the gateway's control process once all are UP."""
    ports = {each: (free_port(), free_port()) for each in kinds}
    config = configure(bench, kinds, ports)
    export = [*OURS, "keys", "export", SHARED.backend, "-c", config, "-o", bench.directory / "keys"]
    subprocess.run(export, check=True, stdout=subprocess.DEVNULL)
    with ExitStack() as stack:
        for each in kinds:
            own = ntpd_rs(bench, each, *ports[each], ports[SHARED][0]) if each is NTPD_RS else None
            words = own or embedded(bench, each, *ports[each])
            stack.enter_context(started(words, bench.place.client_cores, bench.directory / f"{each.backend}.log"))
        log = bench.directory / "gateway.log"
        words = [*OURS, "serve", "-c", config]
        gateway = stack.enter_context(started(words, bench.place.server_cores, log))
        wait_for(bench.port, gateway, log)
        end = time.monotonic() + PATIENCE
        while log.read_text().count('"event": "backend UP"') < len(kinds):
            if time.monotonic() > end or gateway.poll() is not None:
                raise SystemExit(log.read_text()[-2000:])
            time.sleep(0.05)
        yield gateway.pid


def load(bench: Bench, kind: Kind, pid: int, *words: object) -> Told:
    command = ["taskset", "-c", bench.place.client_cores, bench.place.tools / "loadgen", "-p", pid]
    command += ["-a", f"127.0.0.1:{bench.port}", "-S", kind.name, "-w", 0.3, *words, "--json"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True, timeout=120)
    return json.loads(done.stdout)


def rounds(kinds: Sequence[Kind], number: int, once: Callable[[Kind], Told]) -> dict[Kind, list[Told]]:
    told: dict[Kind, list[Told]] = {each: [] for each in kinds}
    for index in range(number):
        for each in kinds if index % 2 else kinds[::-1]:
            told[each].append(once(each))
    return told


def table(costs: dict[Kind, list[Told]], waits: dict[Kind, list[Told]], rate: float) -> list[str]:
    head = "| backends | sessions per CPU second of the gateway | to shared keys, median (least..most) |"
    lines = [f"{head} p50, p99 at {rate:g}/s | errors |", "|---|---|---|---|---|"]
    for kind, told in costs.items():
        ratios = [each["per_cpu_s"] / first["per_cpu_s"] for each, first in zip(told, costs[SHARED], strict=True)]
        p50, p99 = (median(each[key] for each in waits[kind]) for key in ("p50_ms", "p99_ms"))
        errors = sum(each["errors"] for each in (*told, *waits[kind]))
        spread = f"{median(ratios):.2f} ({min(ratios):.2f}..{max(ratios):.2f})"
        cost = median(each["per_cpu_s"] for each in told)
        lines.append(f"| {kind.label} | {cost:,.0f} | {spread} | {p50:.2f} ms, {p99:.2f} ms | {errors:.0f} |")
    return lines


def write(lines: Sequence[str]) -> None:
    before, rest = PAGE.read_text().split(BEGIN)
    PAGE.write_text("\n".join([f"{before}{BEGIN}", *lines, f"{END}{rest.split(END)[1]}"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kebench", type=Path, default=os.environ.get("KEBENCH"), help="folder of the built tools")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--rate", type=float, default=200, help="sessions/s at which latency is measured")
    parser.add_argument("--cores", nargs=2, default=["0", "1"], help="of the gateway and of all the rest")
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.name}")
    options = parser.parse_args()
    if options.kebench is None or not (Path(options.kebench) / "loadgen").exists():
        parser.error("--kebench names no folder with kebench's loadgen; see the beginning of this help")
    with tempfile.TemporaryDirectory(prefix="ntspool-bench-") as name:
        place = Place(Path(name), Path(options.kebench), *options.cores)
        bench = Bench(place, Authority.make(utc_now()), secrets.token_hex(32), free_port())
        bench.authority.write(bench.directory / "ca.pem")
        (bench.directory / "token").touch(0o600)
        (bench.directory / "token").write_text(bench.token)
        kinds = (SHARED, EMBEDDED, NTPD_RS) if ntp_daemon() else (SHARED, EMBEDDED)
        crowd = ("-t", options.seconds, "-c", options.connections)
        offered = ("-t", options.seconds, "-c", 256, "-r", options.rate)
        with running(bench, kinds) as pid:
            # The first clients find a worker that is only just there.
            rounds(kinds, 1, lambda kind: load(bench, kind, pid, *crowd))
            costs = rounds(kinds, options.rounds, lambda kind: load(bench, kind, pid, *crowd))
            waits = rounds(kinds, options.rounds, lambda kind: load(bench, kind, pid, *offered))
    lines = table(costs, waits, options.rate)
    print("\n".join(lines))
    if options.write:
        write(lines)


if __name__ == "__main__":
    main()
