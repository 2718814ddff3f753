"""The threat model names no test that there is not."""

import re

from tests.docs.manual import DOCS, TOP

_TEST = re.compile(r"`([a-z/_]+\.py)::(test_\w+)`")


def test_every_test_that_the_threat_model_names_is_there():
    named = _TEST.findall((DOCS / "security.md").read_text())
    assert len(named) > 30
    for path, name in named:
        assert f"def {name}(" in (TOP / "tests" / path).read_text(), f"{path}::{name}"


def test_every_threat_names_one():
    page = (DOCS / "security.md").read_text()
    table = page.partition("| threat |")[2].partition("\n\n")[0].splitlines()[2:]
    assert table
    assert all(_TEST.search(row) for row in table)
