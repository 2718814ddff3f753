"""What is locked, without asking anybody: it has hashes, is what pyproject.toml allows, and is installed from."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCKED = ROOT / "deploy/locked"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
STATED = {
    "run": PROJECT["project"]["dependencies"],
    "build": PROJECT["build-system"]["requires"],
    "dev": [*PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"]["dev"]],
}
ENVIRONMENTS = [
    {"python_version": version, "python_full_version": f"{version}.1", "platform_machine": machine}
    for version in ("3.11", "3.13")
    for machine in ("x86_64", "aarch64")
]


def entries(name):
    """Return what a file locks: each requirement, with its hashes."""
    text = re.sub(r"^\s*#.*\n", "", (LOCKED / f"{name}.txt").read_text(), flags=re.MULTILINE).replace("\\\n", "")
    found = []
    for line in text.splitlines():
        requirement, *hashes = re.split(r"\s+--hash=", line)
        found.append((Requirement(requirement), [each.strip() for each in hashes]))
    return found


def versions(name, environment):
    """Return the locked versions where a requirement's marker holds."""
    on = {**default_environment(), **environment}
    return {
        canonicalize_name(each.name): next(iter(each.specifier)).version
        for each, _ in entries(name)
        if each.marker is None or each.marker.evaluate(on)
    }


@pytest.mark.parametrize("name", STATED)
def test_every_entry_is_one_version_with_hashes_and_nothing_tells_where_from(name):
    assert entries(name)
    for requirement, hashes in entries(name):
        assert [each.operator for each in requirement.specifier] == ["=="], requirement
        assert requirement.url is None
        assert hashes, requirement
        assert all(re.fullmatch("sha256:[0-9a-f]{64}", each) for each in hashes), requirement


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda each: " ".join(each.values()))
@pytest.mark.parametrize("name", STATED)
def test_what_is_stated_is_locked_within_its_bounds(name, environment):
    locked = versions(name, environment)
    for requirement in map(Requirement, STATED[name]):
        if requirement.marker is None or requirement.marker.evaluate({**default_environment(), **environment}):
            assert requirement.specifier.contains(locked[canonicalize_name(requirement.name)]), requirement


@pytest.mark.parametrize("name", ["run", "build"])
def test_what_runs_and_builds_is_what_is_tested(name):
    tested = {str(requirement): hashes for requirement, hashes in entries("dev")}
    assert all(tested[str(requirement)] == hashes for requirement, hashes in entries(name))


def test_image_and_package_install_what_is_locked_and_ci_tests_it():
    for place in ("container/Containerfile", "container/Containerfile.chrony", "debian/build"):
        text = (ROOT / "deploy" / place).read_text()
        assert "deploy/locked/install" in text
        assert "pip install" not in text
    assert "--require-hashes -r deploy/locked/dev.txt" in (ROOT / ".ci/run").read_text()
