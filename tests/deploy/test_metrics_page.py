"""docs/metrics.md tells of every metric and alert that there is, and of no other."""

import re
from pathlib import Path

from ntspool.net.metrics import GatewayCollector
from tests.deploy.test_prometheus import ALERTS, RECORDED
from tests.net.gatewayviews import gateway

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
SUFFIXES = {"counter": "_total", "info": "_info"}


def rows(pattern):
    """Return the cells of the table rows whose first cell is such a name."""
    found = re.findall(rf"^\| `({pattern})` \|(.*)\|$", PAGE, re.MULTILINE)
    return [(name, *(cell.strip() for cell in cells.split(" | "))) for name, cells in found]


def test_every_metric_stands_there_with_its_type_and_labels():
    told = [(name, kind, set(labels.split(", ")) - {""}) for name, kind, labels, _ in rows(r"ntspool_\w+")]
    there = [
        (
            family.name + SUFFIXES.get(family.type, ""),
            family.type,
            {label for sample in family.samples for label in sample.labels} - {"le"},
        )
        for family in GatewayCollector(gateway()).collect()
    ]
    assert sorted(told, key=str) == sorted(there, key=str)


def test_every_alert_stands_there_with_how_bad_it_is_and_what_to_do():
    told = [(name, *cells[:2], cells[-1]) for name, *cells in rows("Ntspool[A-Za-z]+")]
    assert told == [
        (
            name,
            rule["labels"]["severity"],
            rule.get("for", "at once"),
            "[{1}]({0}#{1})".format(*rule["annotations"]["runbook"].removeprefix("docs/").split("#")),
        )
        for name, rule in ALERTS.items()
    ]


def test_every_recording_rule_stands_there():
    assert re.findall(r"^- `(instance:.*)`$", PAGE, re.MULTILINE) == list(RECORDED)
