"""The Ansible roles, by Ansible's own judgement."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROLES = Path(__file__).parents[2] / "deploy/ansible"


def run(*words):
    return subprocess.run([*map(str, words)], cwd=ROLES, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.skipif(shutil.which("ansible-playbook") is None, reason="there is no ansible-playbook here")
def test_ansible_understands_the_playbook():
    done = run("ansible-playbook", "-i", "inventory.yml", "--syntax-check", "pool.yml")
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(shutil.which("ansible-lint") is None, reason="there is no ansible-lint here")
def test_ansible_lint_finds_nothing():
    done = run("ansible-lint", "--offline", "-q", "pool.yml", "roles")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_every_role_of_the_playbook_is_there_and_every_handler_that_is_notified():
    for play in yaml.safe_load((ROLES / "pool.yml").read_text()):
        for role in play["roles"]:
            tasks = yaml.safe_load((ROLES / "roles" / role / "tasks/main.yml").read_text())
            handlers = yaml.safe_load((ROLES / "roles" / role / "handlers/main.yml").read_text())
            notified = {task["notify"] for task in tasks if "notify" in task}
            assert notified == {handler["name"] for handler in handlers}
