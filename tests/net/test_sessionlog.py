"""The line of a session is the one that structlog would write, and none is lost or written twice."""

import json

import pytest
import structlog

from ntspool.net.session import Outcome, Report
from ntspool.net.sessionlog import INTERVAL, MOST_FAILED, SessionLog, _words
from ntspool.net.system import set_up_logs
from ntspool.pool.balance import Choice
from ntspool.pool.model import LogSettings
from ntspool.pool.negotiation import Answer
from ntspool.wire.aead import Aead
from ntspool.wire.messages import NO_COMMON_AEAD
from tests.conftest import make_serving

CHOICE = Choice(make_serving('a "name"'), "2001:db8::1", Aead.AES_SIV_CMAC_256)
REPORTS = [
    Report(Outcome.OK, "", "localhost", Answer(NO_COMMON_AEAD, CHOICE)),
    Report(Outcome.REFUSED, 'a "reason"\n', "n\u00e4me", Answer(NO_COMMON_AEAD, reason="x")),
    Report(Outcome.TIMEOUT),
]


def without_time(line):
    return {key: value for key, value in json.loads(line).items() if key != "timestamp"}


@pytest.mark.parametrize("report", REPORTS, ids=lambda report: report.outcome.name)
@pytest.mark.parametrize("addresses", [True, False])
def test_a_line_is_what_structlog_would_write(report, addresses, capfd):
    settings = LogSettings(format="json", client_addresses=addresses)
    set_up_logs(settings)
    log = SessionLog(settings, lambda _: None)
    log.write(report, "192.0.2.9", 0.01234)
    log.flush()
    structlog.get_logger().info("session", **_words(report, "192.0.2.9" if addresses else "", 0.01234))
    ours, theirs = capfd.readouterr().err.splitlines()
    assert without_time(ours) == without_time(theirs)
    assert list(json.loads(ours)) == list(json.loads(theirs)), "in the same order"
    assert len(json.loads(ours)["timestamp"]) == len(json.loads(theirs)["timestamp"])


def test_the_lines_of_a_turn_are_written_once_and_together(capfd):
    wanted = []
    log = SessionLog(LogSettings(format="json"), wanted.append)
    for report in REPORTS:
        log.write(report, "", 0.1)
    assert len(wanted) == 1
    assert capfd.readouterr().err == ""
    wanted[0]()
    log.flush()
    assert len(capfd.readouterr().err.splitlines()) == len(REPORTS)


@pytest.mark.parametrize("level", ["warning", "error"])
def test_above_info_nothing_is_written(level, capfd):
    log = SessionLog(LogSettings(level=level, format="json"), lambda _: pytest.fail("nothing is to be flushed"))
    log.write(REPORTS[0], "", 0.1)
    log.flush()
    assert capfd.readouterr().err == ""


def test_a_flood_of_failures_has_a_hundred_lines_and_the_rest_is_counted(capfd):
    now = [0.0]
    set_up_logs(LogSettings(format="json"))
    log = SessionLog(LogSettings(format="json"), lambda _: None, lambda: now[0])
    for _ in range(2):
        for _ in range(1000):
            log.write(Report(Outcome.TLS_FAILED), "", 0.1)
        log.write(REPORTS[0], "", 0.1)
        now[0] += INTERVAL
        log.sweep()
        log.flush()
        *sessions, told = sorted(
            map(json.loads, capfd.readouterr().err.splitlines()), key=lambda line: "untold" in line
        )
        assert len(sessions) == MOST_FAILED + 1
        assert sessions[-1]["outcome"] == "ok"
        assert (told["untold"], told["outcomes"]) == (900, {"tls failed": 1000})


def test_at_level_debug_each_failure_has_its_line(capfd):
    log = SessionLog(LogSettings(level="debug", format="json"), lambda _: None)
    for _ in range(MOST_FAILED + 5):
        log.write(Report(Outcome.TLS_FAILED), "", 0.1)
    log.flush()
    assert len(capfd.readouterr().err.splitlines()) == MOST_FAILED + 5
