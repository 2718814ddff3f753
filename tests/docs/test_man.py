"""The man pages are those that the manual makes, and man renders them without a warning."""

import importlib.util
import os
import subprocess
import sys

import pytest

from tests.docs.manual import DOCS
from tests.interop.lab import find

MAN = DOCS / "man"


def script():
    spec = importlib.util.spec_from_file_location("build", MAN / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build = script()


@pytest.mark.parametrize("page", build.PAGES)
def test_a_page_is_up_to_date(page):
    made_of = (MAN / page).read_text().splitlines(keepends=True)[0]
    assert made_of == build.digest(page), f"run {sys.executable} docs/man/build.py"


@pytest.mark.parametrize("page", build.PAGES)
def test_a_page_is_what_go_md2man_makes(page):
    made = subprocess.run([find("go-md2man")], input=build.source(page), stdout=subprocess.PIPE, text=True, check=True)
    assert (MAN / page).read_text() == build.digest(page) + made.stdout


@pytest.mark.parametrize("page", build.PAGES)
def test_man_renders_a_page_without_a_warning(page):
    command = [find("man"), "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", str(MAN / page)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "LC_ALL": "C.UTF-8"})
    assert done.stderr == ""
    assert done.stdout


@pytest.mark.parametrize("page", build.PAGES)
def test_nothing_is_left_to_fill_in(page):
    assert "@" not in build.source(page)


def test_every_command_has_a_section():
    text = build.source("ntspool.8") + build.source("ntspool-agent.8")
    assert "### ntspool keys rotate\n" in text
    assert "### ntspool backend weight NAME WEIGHT\n" in text
    assert "### ntspool agent enroll TOKEN\n" in text
    assert "### ntspool agent chrony-config" not in build.source("ntspool.8")
