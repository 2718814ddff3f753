"""`ntspool bench`: its report, its manners, and a real gateway under it."""

import asyncio
import json
import re
from collections import Counter

import pytest

from ntspool.app.bench import _share, is_polite
from ntspool.app.benchreport import BenchReport
from ntspool.app.gateway import Gateway
from ntspool.net.busy import Busy
from ntspool.net.load import Outcome, Plan, Tally
from ntspool.pool.histogram import Histogram
from tests.app.pool import lay_out, run_ntspool

PLAN = Plan("192.0.2.1", 4460, "ntp-pool.example.com", None, 16, 100.0, 10.0)


def _tally(ran):
    return Tally(
        outcomes=Counter({Outcome.OK: 500, Outcome.TURNED_AWAY: 3}),
        reasons={Outcome.TURNED_AWAY: "the server closed the connection without an answer"},
        latency=Histogram([0.002] * 450 + [0.01] * 50),
        sent=250_000,
        received=1_000_000,
        in_time=495,
        seconds=10.0,
        busy=Busy(ran, 0.5),
    )


TEXT = """\
Sessions         : 1000 good in 10.0 s, 99.0 per second
Failed           : 6
- closed before TLS : 6, the first: the server closed the connection without an answer
Time to cookies  : p50 2.02 ms, p90 2.02 ms, p99 10.00 ms, max 10.00 ms
TCP payload      : 500000 bytes sent, 2000000 received
Client's CPU     : 30% of a core busy, 5% waiting for one (the busiest process)
"""


def test_the_text():
    report = BenchReport.of(PLAN, [_tally(3.0), _tally(2.0)])
    assert "".join(f"{label:<16} : {value}\n" for label, value in report.lines()) == TEXT


def test_a_client_that_was_the_bottleneck_says_so():
    report = BenchReport.of(PLAN, [_tally(1.0), _tally(8.7)])
    assert report.client_bound
    assert report.lines()[-1][0] == "Bottleneck"


def test_the_json():
    told = json.loads(json.dumps(BenchReport.of(PLAN, [_tally(3.0), _tally(2.0)]).as_json()))
    latency = told.pop("latency")
    assert latency == {"p50": pytest.approx(0.002, 0.02), "p90": pytest.approx(0.002, 0.02), "p99": 0.01, "max": 0.01}
    assert told == {
        "host": "192.0.2.1",
        "port": 4460,
        "name": "ntp-pool.example.com",
        "connections": 16,
        "rate": 100.0,
        "processes": 2,
        "seconds": 10.0,
        "sessions": 1000,
        "sessions_per_second": 99.0,
        "outcomes": {each.value: 0 for each in Outcome} | {"ok": 1000, "closed before TLS": 6},
        "reasons": {"closed before TLS": "the server closed the connection without an answer"},
        "bytes_sent": 500_000,
        "bytes_received": 2_000_000,
        "client_ran": 0.3,
        "client_waited": 0.05,
        "client_bound": False,
    }


def test_nothing_good_has_no_latency():
    report = BenchReport.of(PLAN, [Tally(seconds=1.0)])
    assert report.as_json()["latency"] == {"p50": None, "p90": None, "p99": None, "max": None}
    assert "Time to cookies" not in dict(report.lines())


@pytest.mark.parametrize("processes", [1, 3, 16])
def test_processes_share_the_plan(processes):
    shares = [_share(PLAN, index, processes) for index in range(processes)]
    assert sum(each.connections for each in shares) == 16
    assert min(each.connections for each in shares) > 0
    assert sum(each.rate for each in shares) == pytest.approx(100)


@pytest.mark.parametrize(
    ("host", "rate", "connections", "polite"),
    [
        ("192.88.99.1", 100.0, 16, True),
        ("192.88.99.1", 101.0, 16, False),
        ("192.88.99.1", None, 1, False),
        ("192.88.99.1", 1.0, 17, False),
        ("2002:c058:6301::1", None, 1, False),
        ("10.1.2.3", None, 2000, True),
        ("127.0.0.1", None, 2000, True),
        ("fe80::1%lo", None, 2000, True),
    ],
)
def test_what_needs_no_consent(host, rate, connections, polite):
    assert is_polite(Plan(host, 4460, host, None, connections, rate, 10.0)) == polite


@pytest.mark.parametrize(
    "words",
    [
        ["--connections", "0"],
        ["--connections", "2001"],
        ["--rate", "0"],
        ["--rate", "fast"],
        ["--rate", "nan"],
        ["--duration", "301"],
        ["--processes", "65"],
        ["--processes", "3", "--connections", "2"],
        ["--port", "0"],
    ],
)
def test_absurd_settings_exit_2(words):
    result = run_ntspool("bench", "127.0.0.1", *words)
    assert result.returncode == 2
    assert words[0] in result.stderr


def test_a_strangers_server_is_asked_about_first():
    result = run_ntspool("bench", "192.88.99.1", "--rate", "max")
    assert result.returncode == 1
    assert (
        "192.88.99.1 port 4460, as 192.88.99.1: as many sessions as they can by at most 16 clients at once"
        in result.stderr
    )
    assert "Is it yours?" in result.stderr


@pytest.mark.parametrize(("host", "words"), [("127.0.0.1", "Connection refused"), ("nowhere.invalid", "not resolve")])
def test_nobody_there_exits_3(host, words):
    result = run_ntspool("bench", host, "--port", "1")
    assert (result.returncode, result.stdout) == (3, "")
    assert words in result.stderr


def _bench(around, *words):
    """Return the result of `ntspool bench` against a gateway."""

    async def run():
        async with around.time_servers():
            gateway = Gateway(around.config)
            await gateway.start()
            try:
                return await asyncio.to_thread(
                    run_ntspool, "bench", "localhost", "--port", around.ke_port, "--ca", around.pki.ca, *words
                )
            finally:
                await gateway.stop()

    return asyncio.run(run())


@pytest.fixture
def around(tmp_path, pki):
    return lay_out(tmp_path, pki)


def test_a_gateway_is_loaded_as_announced(around):
    result = _bench(around, "--duration", "1", "--rate", "40")
    assert result.returncode == 0, result.stderr
    assert (
        f"127.0.0.1 port {around.ke_port}, as localhost: 40 sessions a second by at most 16 clients at once, for 1 "
        in (result.stderr)
    )
    assert re.search(r"^Failed +: 0$", result.stdout, re.MULTILINE)
    assert re.search(r"^Time to cookies +: p50 [0-9.]+ ms", result.stdout, re.MULTILINE)


def test_processes_load_it_together(around):
    result = _bench(
        around, "--duration", "1", "--rate", "max", "--connections", "4", "--processes", "2", "--json", "--yes"
    )
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["processes"] == 2
    assert told["outcomes"]["ok"] == told["sessions"] == sum(told["outcomes"].values()) > 2
    assert 0 < told["latency"]["p50"] <= told["latency"]["p99"] <= told["latency"]["max"]


def test_a_name_that_the_certificate_has_not_exits_1_before_any_load(around):
    result = _bench(around, "--name", "elsewhere.test")
    assert (result.returncode, result.stdout) == (1, "")
    assert "certificate is not for elsewhere.test" in result.stderr
