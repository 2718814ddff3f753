"""What the control process of a whole gateway costs that probes many backends, answered by embedded responders.

    python -m benches.probes_gateway [--backends 1000] [--interval 16] [--rounds 2]

As benches/probes.py, but with everything that `ntspool serve` does beside probing; its workers are not counted.
"""

import argparse
import multiprocessing
import os
import resource
import sys
import time
from pathlib import Path

from benches.probes import GROUP, bind, serve
from ntspool.app.export import key_store
from tests.interop.lab import running, wait_until
from tests.interop.pool import Member, laid_out


def usage(pid: int) -> tuple[float, float]:
    """Return the CPU seconds of a process, and its memory in MiB."""
    words = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK"), pages * resource.getpagesize() / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backends", type=int, default=1000)
    parser.add_argument("--interval", type=float, default=16.0)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--history", default="{}", help="as in backends.yaml")
    words = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4 * words.backends + 1024), hard))
    sockets, backends, _ = bind(words.backends, 0)
    lines = [
        f"  - {{name: {each.name}, address: {each.addresses[0]}, port: {each.port}, "
        f"cookies: ntspool, aeads: [15], key_group: {GROUP}}}\n"
        for each in backends
    ]
    with laid_out([Member("none", ("127.0.0.1",))], health=f"{{interval: {words.interval}s}}") as pool:
        head, _, _ = pool.config.read_text().partition("backends:\n")
        pool.config.write_text(f"{head}history: {words.history}\nbackends:\n{''.join(lines)}")
        keyring = key_store(pool.config).load_or_create(time.time())
        responders = multiprocessing.get_context("fork").Process(target=serve, args=(sockets, keyring), daemon=True)
        responders.start()
        for each in sockets:
            each.close()
        command = [sys.executable, "-m", "ntspool", "serve", f"--config={pool.config}"]
        try:
            with running(command, pool.directory / "log") as gateway:
                (serving,) = wait_until("the gateway to serve", lambda: pool.log("serving"), 60)
                began, (used, _) = time.monotonic(), usage(gateway.pid)
                time.sleep(words.rounds * words.interval)
                spent, memory = usage(gateway.pid)
                share = (spent - used) / (time.monotonic() - began)
                print(f"start    {used:.2f} s of CPU, UP {serving['up']} of {serving['backends']}")
                print(f"steady   {share:.1%} of a core, {memory:.1f} MiB")
        finally:
            responders.kill()


if __name__ == "__main__":
    main()
