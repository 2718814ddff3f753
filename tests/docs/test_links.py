"""The manual hangs together: every link leads somewhere, and every page can be found."""

import re

import pytest

from tests.docs.manual import DOCS, README, TOP, anchors, pages, without_fences

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_RUNBOOK = {
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


def links(page):
    return _LINK.findall(without_fences(page.read_text()))


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(TOP)))
def test_every_link_leads_somewhere(page):
    for link in links(page):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_on_the_map():
    mapped = {(DOCS / link.partition("#")[0]).resolve() for link in links(DOCS / "index.md")}
    known = {page for page in pages() if page.is_relative_to(DOCS) and page.parent.name != "man"}
    assert known - mapped == {DOCS / "index.md"}
    assert "docs/index.md" in links(README)


def test_the_runbook_has_the_sections_that_alarms_point_to():
    assert anchors(DOCS / "runbook.md") >= _RUNBOOK
    for rules in (TOP / "deploy").rglob("*.rules.yml"):
        pointed = set(re.findall(r"runbook: docs/runbook\.md#(\S+)", rules.read_text()))
        assert pointed
        assert pointed <= _RUNBOOK
