"""A new operator's day with real chronyds: every step shows in status, events and metrics, and no session fails."""

import json
import re
import shutil
import signal
import socket
import urllib.request
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from ntspool.app.adminclient import call, call_list
from ntspool.app.throwaway import Authority
from tests.interop.clients import chrony_client
from tests.interop.installed import installed
from tests.interop.lab import DEADLINE, free_port, here, running, wait_until, working_directory
from tests.interop.pool import Member, Pool
from tests.interop.rotating import PATIENCE, Rotating, unkeyed
from tests.processes import end_workers

SAMPLE = Path(__file__).parents[2] / "backends.yaml"
RATE = 50
ENOUGH = 25
"""Clients of a backend while one of four times its weight gets more, but for one chance in four hundred thousand."""


@dataclass
class Day:
    """One gateway from its operator's chair; `told` is the number of the newest event that was looked at."""

    site: Rotating
    authority: Authority
    status_port: int
    told: int = 0

    def api(self, resource):
        """Ask as commands do, but without starting a process, which this looks at too often for."""
        return call_list(self.site.pool.directory / "state" / "admin.sock", "GET", f"/v1/{resource}")

    def status(self):
        """Return what `ntspool status --json` prints."""
        return call(self.site.pool.directory / "state" / "admin.sock", "GET", "/v1/status")

    def backend(self, name):
        return next(each for each in self.status()["backends"] if each["name"] == name)

    def until(self, what, condition):
        return wait_until(what, condition, PATIENCE)

    def event(self, name, subject=""):
        """Wait for an event that was not looked at before, and return it."""

        def found():
            fresh = self.api(f"events?after={self.told}")
            return next((each for each in fresh if each["event"] == name and subject in each["subject"]), None)

        event = self.until(f"the event {name} {subject}", found)
        self.told = event["number"]
        return event

    def metric(self, name, **labels):
        """Return a metric's value; 0 when it is not there."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.status_port}/metrics", timeout=10) as answer:
            families = list(text_string_to_metric_families(answer.read().decode()))
        samples = (sample for family in families for sample in family.samples)
        return sum(
            each.value for each in samples if each.name == f"ntspool_{name}" and labels.items() <= each.labels.items()
        )

    def measure(self, value, name, **labels):
        """Wait until a metric has this value: scrapes within a second may see the same."""
        self.until(f"{name} {labels} to be {value}", lambda: self.metric(name, **labels) == value)

    def assigned(self, name):
        return self.metric("backend_assignments_total", backend=name)

    def enrol(self, name):
        self.site.enroll(name)
        self.site.start_agent(name)


def configuration(pool, control, status_port):
    """Return the sample as an operator fills it in: only what differs from machine to machine is changed."""
    text, _ = SAMPLE.read_text().split("\nbackends:\n")
    changes = {
        "  names: [ntp-pool.example.com, ntp-pool.example.net]": "  names: [localhost]",
        'listen: ["0.0.0.0:4460", "[::]:4460"]': f'listen: ["127.0.0.1:{pool.port}"]',
        "workers: auto": "workers: 2",
        "/etc/ntspool/tls": str(pool.directory),
        "state: /var/lib/ntspool": f"state: {pool.directory}/state",
        "keys: {rotate: 7d, life: 1d}": "keys: {rotate: 7d, life: 1s}",
        "control: {listen: []}": f'control: {{listen: ["127.0.0.1:{control}"]}}',
        "status: {listen: []}": f'status: {{listen: ["127.0.0.1:{status_port}"]}}',
        "  interval: 16s": "  interval: 400ms",
        "  timeout: 1s": "  timeout: 390ms",
        "  fast_interval: 2s": "  fast_interval: 400ms",
        "  down_interval: 16s": "  down_interval: 400ms",
        "  fall: 3": "  fall: 10",
        # All clients of this day have one address.
        "  per_address: {sessions: 500, rate: 50, burst: 1000}": "  per_address: {sessions: off, rate: off}",
        "  per_network: {sessions: 2000, rate: 200, burst: 4000}": "  per_network: {sessions: off, rate: off}",
    }
    for sample, ours in changes.items():
        assert re.search(f"^{re.escape(sample)}|: {re.escape(sample)}", text, re.MULTILINE), sample
        text = text.replace(sample, ours)
    lines = "".join(pool.members[name].declaration() for name in ("ntp-1", "ntp-2"))
    return f"{text}\nbackends:\n{lines}"


@contextmanager
def morning():
    """Yield a site on which ntspool is installed and configured, and nothing runs but three chronyds."""
    with ExitStack() as stack:
        directory = stack.enter_context(working_directory())
        directory.chmod(0o755)
        program = installed(directory)
        members = {
            name: Member(name, (f"127.0.0.{number}",)) for name, number in (("ntp-1", 11), ("ntp-2", 12), ("ntp-3", 13))
        }
        pool = Pool(directory, here(), free_port("127.0.0.1"), members)
        control, status_port = free_port("127.0.0.1"), free_port("127.0.0.1")
        authority = Authority.make(datetime.now(UTC))
        authority.write(pool.ca)
        authority.issue(["localhost"], ["127.0.0.1"], directory, datetime.now(UTC))
        pool.config.write_text(configuration(pool, control, status_port))
        stack.callback(end_workers, directory / "state")
        for member in members.values():
            stack.enter_context(unkeyed(pool, member))
        # As ntspool.socket would have it.
        listening = stack.enter_context(socket.create_server(("127.0.0.1", pool.port), backlog=1024))
        site = Rotating(pool, 1.0, control, stack, program=(str(program),), sockets=[listening])
        yield Day(site, authority, status_port)


@contextmanager
def clients(site):
    """Let clients come, RATE a second, until the end; yield nothing, and check that each was served."""
    pool, report = site.pool, site.pool.directory / "bench"
    words = [*site.program, "bench", "127.0.0.1", f"--port={pool.port}", "--name=localhost", f"--ca={pool.ca}"]
    options = [f"--rate={RATE}", "--duration=300", "--json", "--yes"]
    with running([*words, *options], report) as process:
        yield
        process.send_signal(signal.SIGINT)
        process.wait(DEADLINE)
    told = json.loads(report.read_text().splitlines()[-1])
    assert {outcome: number for outcome, number in told["outcomes"].items() if number and outcome != "ok"} == {}, told
    # It is our own machine that may have been too busy for more.
    assert told["sessions"] >= RATE * told["seconds"] / 2


def test_a_new_operators_day():
    with morning() as day:
        site = day.site
        check(day)
        serve(day)
        enrol_two(day)
        with chrony_client(site.pool) as client, clients(site):
            client.settle()
            add_a_third(day)
            drain_one(day)
            change_a_weight(day)
            rotate_keys(day)
            replace_the_certificate(day)
            break_the_configuration(day)
            restart_the_gateway(day)
            traffic = client.settle(client.settle().good + 8)
            assert traffic.authenticated
            auth = day.until("chronyd to tell", client.auth)
            assert (auth.key_id, auth.naks) == (1, 0)
        at_the_end_of_the_day(day)


def check(day):
    pool = day.site.pool
    told = day.site.attempt("check-config", str(pool.config), config=False)
    assert told == (0, f"{pool.config}: good, 2 backends\n")


def serve(day):
    day.site.start_gateway()
    assert not day.status()["ready"]
    assert {each["cause"] for each in day.status()["backends"]} == {"NTS NAK"}
    day.measure(0, "ready")


def enrol_two(day):
    for name in ("ntp-1", "ntp-2"):
        day.enrol(name)
    for name in ("ntp-1", "ntp-2"):
        day.until(f"{name} to be UP", lambda name=name: day.backend(name)["state"] == "UP")
        day.measure(1, "backend_state", backend=name, state="UP")
    assert "backend UP" in {each["event"] for each in day.api("events")}
    day.site.ntspool("wait", "ready", f"--timeout={DEADLINE}")
    day.measure(1, "ready")


def add_a_third(day):
    member = day.site.pool.members["ntp-3"]
    said = day.site.ntspool("backend", "add", "ntp-3", *member.addresses, f"--port={member.port}")
    assert "+" in said
    assert day.event("configuration changed", "ntp-3")
    day.enrol("ntp-3")
    day.event("backend UP", "ntp-3")
    assert day.backend("ntp-3")["state"] == "UP"
    day.until("clients to be sent to ntp-3", lambda: day.assigned("ntp-3") >= 5)


def drain_one(day):
    day.site.ntspool("backend", "drain", "ntp-2")
    event = day.event("admin state", "ntp-2")
    assert "drain" in event["after"].lower()
    assert day.backend("ntp-2")["state"] == "DRAIN"
    day.measure(1, "backend_state", backend="ntp-2", state="DRAIN")

    def left_alone():
        before, others = day.assigned("ntp-2"), day.assigned("ntp-1")
        day.until("clients of ntp-1", lambda: day.assigned("ntp-1") >= others + 20)
        return day.assigned("ntp-2") == before

    # Sessions that had begun may end, and be counted, a little later.
    day.until("ntp-2 to get no more clients", left_alone)
    settled = day.assigned("ntp-2")
    day.site.ntspool("backend", "ready", "ntp-2")
    day.event("admin state", "ntp-2")
    day.until("clients to come back", lambda: day.assigned("ntp-2") > settled)


def change_a_weight(day):
    day.site.ntspool("backend", "weight", "ntp-3", "40")
    assert "40" in day.event("admin state", "ntp-3")["after"]
    assert day.backend("ntp-3")["effective_weight"] == 40
    day.measure(40, "backend_effective_weight", backend="ntp-3")
    before = {name: day.assigned(name) for name in ("ntp-1", "ntp-3")}
    day.until("enough clients", lambda: day.assigned("ntp-1") >= before["ntp-1"] + ENOUGH)
    assert day.assigned("ntp-3") - before["ntp-3"] > day.assigned("ntp-1") - before["ntp-1"]


def rotate_keys(day):
    first = day.site.current()
    day.site.rotate()
    assert day.event("keys rotated")["subject"] == f"epoch {first + 1}"
    day.until(
        "all to mint under the new epoch", lambda: {each["minting"] for each in day.status()["backends"]} == {first + 1}
    )
    day.measure(first + 1, "key_current_epoch")


def replace_the_certificate(day):
    (before,) = day.status()["certificates"]
    renewed = day.site.pool.directory / "renewed"
    renewed.mkdir()
    chain, key = day.authority.issue(["localhost"], ["127.0.0.1"], renewed, datetime.now(UTC) + timedelta(minutes=30))
    shutil.move(key, day.site.pool.directory / key.name)
    shutil.move(chain, day.site.pool.directory / chain.name)
    # It would be seen by itself, too, within some seconds.
    day.site.ntspool("reload")
    (after,) = day.status()["certificates"]
    assert after["not_after"] > before["not_after"]
    day.event("certificates reloaded")
    day.measure(after["not_after"], "certificate_not_after_timestamp_seconds")


def break_the_configuration(day):
    config = day.site.pool.config
    good = config.read_text()
    config.write_text(f"{good}  - {{name: ntp-4, adress: 127.0.0.14}}\n")
    said = day.site.ntspool("reload", status=2)
    assert f"{config}:{good.count(chr(10)) + 1}: " in said
    assert "adress" in said
    assert day.event("reload refused, the old configuration stays")
    assert {each["name"] for each in day.status()["backends"]} == day.site.pool.members.keys()
    day.measure(1, "ready")
    config.write_text(good)
    day.site.ntspool("reload")
    day.event("reloaded")


def restart_the_gateway(day):
    started = day.metric("start_time_seconds")
    day.site.stop_and_start_gateway()
    day.event("stopped")
    day.event("serving")
    day.site.ntspool("wait", "ready", f"--timeout={DEADLINE}")
    for name in day.site.pool.members:
        day.until(f"{name} to be UP", lambda name=name: day.backend(name)["state"] == "UP")
    assert day.metric("start_time_seconds") > started
    # What an operator wants of a backend survives.
    assert day.backend("ntp-3")["effective_weight"] == 40


def at_the_end_of_the_day(day):
    view = day.status()
    assert {each["state"] for each in view["backends"]} == {"UP"}
    assert view["ready"]
    # Those under way when the clients were told to stop.
    failed = {outcome for outcome, number in view["sessions"]["outcomes"].items() if number} - {"ok"}
    assert failed <= {"closed by client"}
    page = day.site.ntspool("status")
    assert all(name in page for name in day.site.pool.members)
    told = day.site.ntspool("events", "--lines=100")
    assert all(
        each in told for each in ("backend UP", "admin state", "keys rotated", "certificates reloaded", "serving")
    )
