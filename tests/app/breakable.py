"""A gateway, an agent and their disks for tests that break what they stand on; time servers run in this process."""

import asyncio
import json
import os
import re
import subprocess
import sys
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ntspool.app.adminclient import call
from ntspool.app.problems import problems
from ntspool.errors import LocalError
from ntspool.net.timeserver import TimeServer
from ntspool.wire.messages import Response
from tests.app.pool import Surroundings, lay_out
from tests.interop.lab import free_port
from tests.processes import end_workers

PATIENCE = 40.0
AGENT = "ntp-1"
"""The backend that has an agent."""

_DISKS = """
set -e
for each in "$@"; do
    mkdir -p "$each"; cp -a "$each" "$each.before"
    mount -t tmpfs -o size=2m,mode=700 ntspool "$each"; cp -a "$each.before/." "$each"
done
echo mounted; exec cat
"""


@dataclass
class Disks:
    """Mount points with small disks of their own, which only programs behind the words `inside` see."""

    holder: subprocess.Popen
    inside: tuple[str, ...]

    def path(self, path):
        """Return where a file there is to be found from here."""
        return Path(f"/proc/{self.holder.pid}/root{path}")

    def fill(self, directory):
        """Leave no byte on a disk."""
        with (self.path(directory) / "filler").open("wb", buffering=0) as file, suppress(OSError):
            for piece in (65536, 4096, 1):
                with suppress(OSError):
                    while file.write(bytes(piece)):
                        pass

    def empty(self, directory):
        """Give the room back."""
        (self.path(directory) / "filler").unlink()

    def remount(self, directory, how):
        """Make a disk read-only for whoever opens something there from now, `ro`, or take that back, `rw`."""
        bind, undo = (
            f"mount --bind {directory} {directory} && mount -o remount,bind,ro {directory}",
            f"umount --lazy {directory}",
        )
        subprocess.run([*self.inside, "sh", "-c", bind if how == "ro" else undo], check=True)


@asynccontextmanager
async def disks(*directories):
    """Put a small disk in the place of each directory, with what it holds; skips the test where none is granted."""
    if os.geteuid():
        pytest.skip("only root can mount a disk")
    command = ["unshare", "--mount", "sh", "-c", _DISKS, "sh", *map(str, directories)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with holder:
        if holder.stdout.readline() != b"mounted\n":
            pytest.skip(f"this machine grants no mount: {holder.communicate()[1].decode().strip()}")
        yield Disks(holder, ("nsenter", f"--mount=/proc/{holder.pid}/ns/mnt"))
        holder.stdin.close()


@dataclass
class Site:
    """What runs: `start` the gateway, `start_agent` where it is wanted; all of it ends with `site`."""

    around: Surroundings
    control: int
    stack: AsyncExitStack
    inside: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    processes: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)
    logs: dict[str, Path] = field(default_factory=dict)

    def configure(self, *more, **options):
        """Write the configuration, with these lines at its end."""
        self.around.configure(**options)
        lines = (
            f"admin: {{socket: {self.around.directory}/admin.sock}}",
            f"control: {{listen: ['127.0.0.1:{self.control}']}}",
            # All clients of a test have one address.
            "limits: {per_address: {sessions: off, rate: off}, per_network: {sessions: off, rate: off}}",
            *more,
        )
        with self.around.config.open("a") as file:
            file.write("".join(f"{line}\n" for line in lines))

    async def mount(self, *directories):
        """Have what is started from now find a small disk at each directory; return them."""
        found = await self.stack.enter_async_context(disks(*directories))
        self.inside = found.inside
        return found

    async def serve_time(self, name, key_file=None):
        """Run the time server of a backend."""
        where = self.around.address(name), self.around.ntp_port
        server = TimeServer([where], key_file or self.around.key_file(name), 3, poll_interval=0.05)
        return await self.stack.enter_async_context(server)

    async def start(self, *, serves=True, stderr=None):
        """Run the gateway, from when it serves, or, if it should not, return its exit code and what it says."""
        process = await self._run("gateway", "serve", f"--config={self.around.config}", stderr=stderr)
        if not serves:
            async with asyncio.timeout(PATIENCE):
                return await process.wait(), self.said("gateway")
        if stderr is None:
            await self.until(lambda: self.log("gateway", "serving") or process.returncode is not None)
            assert self.log("gateway", "serving"), self.said("gateway")
        return process

    async def start_agent(self, state, key_file):
        """Run the agent of the first backend, which was enrolled in `state`."""
        where = f"{self.around.address(AGENT)}:{self.around.ntp_port}"
        return await self._run("agent", "agent", f"--state={state}", f"--key-file={key_file}", f"--ntp={where}")

    async def end(self, name):
        """End a process in good order; return its exit code."""
        process = self.processes[name]
        with suppress(ProcessLookupError):
            process.terminate()
        async with asyncio.timeout(PATIENCE):
            return await process.wait()

    async def kill(self, name):
        """Kill a process as a crash would."""
        self.processes[name].kill()
        await self.processes[name].wait()

    async def ntspool(self, *words, config=True, stdout=subprocess.PIPE):
        """Run a command; return its exit code and what it printed, errors included."""
        command = [*self.inside, sys.executable, "-m", "ntspool", *map(str, words)]
        command += [f"--config={self.around.config}"] if config else []
        process = await asyncio.create_subprocess_exec(*command, stdout=stdout, stderr=subprocess.STDOUT)
        async with asyncio.timeout(PATIENCE):
            out, _ = await process.communicate()
        return process.returncode, "" if out is None else out.decode()

    async def ask(self, method, resource, body=None):
        """Ask the gateway as commands do; raises what they would print."""
        return await asyncio.to_thread(call, self.around.directory / "admin.sock", method, resource, body)

    async def refused(self, words, method, resource, body=None):
        """Ask for what must fail with these words."""
        with pytest.raises(LocalError, match=words):
            await self.ask(method, resource, body)

    async def current(self):
        """Return the number of the current epoch."""
        epochs = (await self.ask("GET", "/v1/keys"))["epochs"]
        return next(each["epoch"] for each in epochs if each["state"] == "current")

    async def minting(self):
        """Return the epoch that is minted under for each backend that is UP."""
        backends = (await self.ask("GET", "/v1/status"))["backends"]
        return {each["name"]: each["minting"] for each in backends if each["state"] == "UP"}

    async def problems(self):
        """Return what `ntspool status` says is wrong."""
        return problems(await self.ask("GET", "/v1/status"))

    def said(self, name):
        """Return all that a process has printed, all its runs."""
        return self.logs[name].read_text(errors="replace")

    def log(self, name, event):
        """Return what a process has logged of an event, since it was last started."""
        text = self.said(name).rpartition("--- started\n")[2]
        lines = (line for line in text[: text.rfind("\n") + 1].splitlines() if line.startswith("{"))
        return [line for line in map(json.loads, lines) if line["event"] == event]

    def check_that_nothing_broke(self):
        """See that no process has printed a traceback."""
        for name in self.logs:
            found = re.search(r"Traceback.*", self.said(name), re.DOTALL)
            assert found is None, f"{name}: {found[0][:4000]}"

    async def session(self):
        """Be a client once, who must be served."""
        reply = await self.around.session()
        assert isinstance(reply, Response), reply
        return reply

    @asynccontextmanager
    async def steady(self):
        """Have one client after the other come meanwhile, and see in the end that each was served."""
        done, served = asyncio.Event(), []

        async def come():
            while not done.is_set():
                served.append(await self.session())
                await asyncio.sleep(0.05)
            served.append(await self.session())

        clients = asyncio.create_task(come())
        try:
            yield
        finally:
            done.set()
            await clients

    async def until(self, condition):
        """Return once `condition()` is true."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0.05)

    async def until_told(self, condition):
        """Return once `condition()`, which is awaited and may run commands, is true."""
        async with asyncio.timeout(PATIENCE):
            while not await condition():
                await asyncio.sleep(0.3)

    async def _run(self, name, *words, stderr=None):
        log = self.logs.setdefault(name, self.around.directory / f"{name}.log")
        with log.open("ab") as out:
            out.write(b"--- started\n")
            out.flush()
            process = await asyncio.create_subprocess_exec(
                *self.inside, sys.executable, "-m", "ntspool", *words, stderr=stderr or out, env=os.environ | self.env
            )
        self.processes[name] = process
        self.stack.push_async_callback(_end, process)
        return process


async def _end(process):
    with suppress(ProcessLookupError):
        process.terminate()
    with suppress(TimeoutError):
        async with asyncio.timeout(10):
            await process.wait()
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()


@asynccontextmanager
async def site(directory, pki, **options):
    """Lay out a pool of two; nothing of it runs yet. `options` are those of `Site.configure`."""
    async with AsyncExitStack() as stack:
        around = lay_out(directory, pki)
        place = Site(around, free_port("127.0.0.1"), stack)
        place.configure(**options)
        stack.callback(end_workers, around.state)
        yield place
