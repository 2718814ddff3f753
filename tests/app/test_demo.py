"""`ntspool demo` as a process: its story, the commands that it prints, and that it leaves nothing behind."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.interop.lab import find, here, running, wait_until, working_directory

STORY = 120.0
"""Seconds that the story may take on a busy machine; four, if that is idle."""


@dataclass
class Demo:
    """A demo in a session of its own, with a directory of its own for temporary files."""

    process: subprocess.Popen
    directory: Path

    def output(self):
        return (self.directory / "log").read_text()

    def wait(self):
        """Return its exit status once it has ended; fails the test if it leaves anything behind."""
        status = self.process.wait(STORY)
        assert not list((self.directory / "tmp").iterdir())
        assert not members(self.process.pid)
        return status


@contextlib.contextmanager
def demo(*options):
    with working_directory() as directory:
        (directory / "tmp").mkdir()
        for path in (directory, directory / "tmp"):
            path.chmod(0o755)  # for chronyd, which root's demo runs as nobody
        environment = os.environ | {"TMPDIR": str(directory / "tmp"), "PYTHONUNBUFFERED": "1"}
        command = [Path(sys.executable).with_name("ntspool"), "demo", *options]
        with running(command, directory / "log", env=environment, start_new_session=True) as process:
            yield Demo(process, directory)


def members(session):
    """Return the processes of a session, but for those that have ended and only wait to be reaped."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, _, _, its_session, *_ = (process / "stat").read_text().rpartition(")")[2].split()
            if int(its_session) == session and state != "Z":
                found.append((process / "cmdline").read_text())
    return found


def check_story(output):
    for title in ("Three backends", "The gateway", "A client session", "100 sessions", "stops", "are rotated"):
        assert title in output
    assert "Authenticated        yes" in output
    assert "NTS NAKs and others  0" in output


def test_once_it_tells_its_story_and_ends():
    find("chronyd")
    with demo("--once", "--backends", "chrony") as story:
        assert story.wait() == 0, story.output()
        check_story(story.output())


@contextlib.contextmanager
def serving():
    """Run a demo while its favourite port is taken; yield it with the commands that it prints."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):  # then somebody else has the port
            taken.bind(("127.0.0.1", 4460))
            taken.listen()
        with demo() as story:
            told = wait_until(
                "the story to end", lambda: "Ctrl-C ends it" in story.output() or story.process.poll(), STORY
            )
            assert told is True, story.output()
            check_story(story.output())
            *_, query, chronyd, _ = story.output().splitlines()
            yield story, query.strip(), chronyd.strip()


def shell(command, *words):
    return subprocess.Popen([*words, "sh", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_what_it_prints_works_in_a_shell_and_ctrl_c_ends_it():
    find("chronyd")
    with serving() as (story, query, chronyd):
        assert ":4460 " not in query
        # chronyd takes six seconds, so let them run side by side; without root's rights it must work too.
        shells = [shell(query), shell(chronyd), shell(chronyd, *here().unprivileged)]
        outputs = [each.communicate(timeout=STORY)[0] for each in shells]
        assert [each.returncode for each in shells] == [0, 0, 0], outputs
        assert re.search(r"^Authenticated +: yes$", outputs[0], re.MULTILINE)
        for output in outputs[1:]:
            assert "System clock wrong by" in output
        os.killpg(story.process.pid, signal.SIGINT)  # as a terminal does
        assert story.wait() == 0
        assert "nothing is left behind" in story.output()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_in_the_middle_of_the_story_leaves_nothing_behind(number):
    with demo("--once") as story:
        wait_until("the gateway to serve", lambda: "A client session" in story.output())
        os.killpg(story.process.pid, number)
        assert story.wait() == 1
        assert "nothing is left behind" in story.output()
