"""deploy/prometheus: the alert rules fire when they should, and rules and dashboard ask for metrics that there are."""

import json
import re
from pathlib import Path

import pytest
import yaml

from ntspool.net.metrics import GatewayCollector
from tests.deploy.promtool import promtool
from tests.net.gatewayviews import gateway

FOLDER = Path(__file__).parents[2] / "deploy" / "prometheus"
RULES = FOLDER / "ntspool.rules.yml"
GROUPS = yaml.safe_load(RULES.read_text())["groups"]
ALERTS = {rule["alert"]: rule for group in GROUPS for rule in group["rules"] if "alert" in rule}
RECORDED = {rule["record"]: rule["expr"] for group in GROUPS for rule in group["rules"] if "record" in rule}
DASHBOARD = json.loads((FOLDER / "grafana-dashboard.json").read_text())
PANELS = DASHBOARD["panels"]
RUNBOOK = {
    "backend-down",
    "naks-rising",
    "certificate-expiring",
    "keyring-lost",
    "gateway-lost",
    "clock-wrong",
    "dns-not-published",
    "rotation-waits",
    "overload",
}
NAMES = {sample.name for family in GatewayCollector(gateway()).collect() for sample in family.samples}


def queries():
    """Return every expression of the dashboard, as Grafana would send it."""
    found = [target["expr"] for panel in PANELS for target in panel.get("targets", ())]
    found += [each["expr"] for each in DASHBOARD["annotations"]["list"]]
    return [re.sub(r"\$(job|instance|backend)", ".*", each.replace("$__rate_interval", "1m")) for each in found]


def names(text):
    """Return the metrics of ours that an expression asks for, besides those that rules record."""
    return set(re.findall(r"(?<![\w:])ntspool_\w+", text))


def test_promtool_finds_the_rules_sound():
    done = promtool("check", "rules", "--lint-fatal", RULES)
    assert done.returncode == 0, done.stdout.decode()


def test_every_alert_fires_when_it_should():
    done = promtool("test", "rules", FOLDER / "ntspool.rules.test.yml")
    assert done.returncode == 0, done.stdout.decode()


def test_promtool_takes_the_sample_configuration():
    done = promtool("check", "config", FOLDER / "prometheus.yml")
    assert done.returncode == 0, done.stdout.decode()


def test_promtool_can_read_what_the_dashboard_asks(tmp_path):
    rules = [{"record": f"asked:{place}", "expr": expression} for place, expression in enumerate(queries())]
    path = tmp_path / "asked.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "asked", "rules": rules}]}))
    done = promtool("check", "rules", path)
    assert done.returncode == 0, done.stdout.decode()


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_is_tested_both_ways(name):
    tests = yaml.safe_load((FOLDER / "ntspool.rules.test.yml").read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"] if case["alertname"] == name]
    assert any(case["exp_alerts"] for case in cases)
    assert any(not case["exp_alerts"] for case in cases)


@pytest.mark.parametrize(("name", "rule"), ALERTS.items(), ids=ALERTS)
def test_every_alert_tells_what_to_do(name, rule):
    assert re.fullmatch("Ntspool[A-Z][A-Za-z]+", name)
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook"}
    page, anchor = rule["annotations"]["runbook"].split("#")
    assert page == "docs/runbook.md"
    assert anchor in RUNBOOK


def test_every_chapter_of_the_runbook_is_what_some_alert_points_at():
    assert {rule["annotations"]["runbook"].split("#")[1] for rule in ALERTS.values()} == RUNBOOK


@pytest.mark.parametrize("expression", [*(each["expr"] for each in ALERTS.values()), *RECORDED.values(), *queries()])
def test_what_is_asked_for_is_there(expression):
    assert names(expression) - NAMES == set()
    assert set(re.findall(r"instance:\w+(?::\w+)*", expression)) <= set(RECORDED)
    assert "ntspool" in expression


def test_a_metric_that_is_not_there_would_be_found():
    assert names("rate(ntspool_session_total[5m]) > instance:ntspool_x:y") - NAMES == {"ntspool_session_total"}


def test_the_dashboard_is_sound():
    numbers = [panel["id"] for panel in PANELS]
    assert len(set(numbers)) == len(numbers)
    titles = [panel["title"] for panel in PANELS]
    assert len(set(titles)) == len(titles)
    assert DASHBOARD["templating"]["list"][0]["type"] == "datasource"
    for panel in PANELS:
        if panel["type"] == "row":
            continue
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["targets"]
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references)


def test_no_two_panels_lie_on_each_other():
    taken = set()
    for panel in PANELS:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        taken |= cells
