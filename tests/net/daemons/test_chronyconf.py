"""Where chrony's configuration contradicts what a backend needs."""

import shutil
import subprocess
from pathlib import Path

import pytest

from ntspool.errors import StateError
from ntspool.net.daemons.chronyconf import ChronySetup, contradictions, read_configuration

SETUP = ChronySetup()
GOOD = """\
# a comment
  ! another
NTSDumpDir  /var/lib/chrony
ntsrotate 0
ntsservercert /a.crt
ntsserverkey /a.key
allow 192.0.2.0/24
"""


@pytest.fixture
def conf(tmp_path):
    return tmp_path / "chrony.conf"


def found(conf, text):
    conf.write_text(text)
    return [each.removeprefix(str(conf)) for each in contradictions(conf, SETUP)]


def test_a_good_one_has_none(conf):
    assert found(conf, GOOD) == []
    assert found(conf, GOOD + "port 123\nbindcmdaddress 127.0.0.1\nbindcmdaddress /run/chrony/chronyd.sock\n") == []


@pytest.mark.parametrize(
    ("line", "contradiction"),
    [
        ("ntsrotate 604800", ":8: ntsrotate 604800: chronyd makes keys of its own"),
        ("ntsdumpdir /var/lib/other", ":8: ntsdumpdir /var/lib/other: the agent writes its key file into /var/lib/chr"),
        ("ntsservercert /b.crt", ":8: ntsservercert /b.crt: there are 2 ntsservercert and 1 ntsserverkey"),
        ("port 0", ":8: port 0: chronyd serves no time"),
        ("bindcmdaddress /", ":8: bindcmdaddress /: the agent commands chronyd over /run/chrony/chronyd.sock"),
    ],
)
def test_a_contradiction_is_told_by_line(conf, line, contradiction):
    (only,) = found(conf, GOOD + line + "\n")
    assert only.startswith(contradiction)


@pytest.mark.parametrize(
    ("name", "contradiction"),
    [
        ("ntsrotate", ": no ntsrotate 0"),
        ("NTSDumpDir", ": no ntsdumpdir"),
        ("nts", ": no ntsrotate 0"),
        ("ntsserver", ": no ntsservercert and ntsserverkey"),
        ("allow", ": no allow"),
    ],
)
def test_what_is_missing_is_told(conf, name, contradiction):
    text = "".join(line for line in GOOD.splitlines(keepends=True) if not line.startswith(name))
    assert found(conf, text)[0].startswith(contradiction)


def test_the_last_of_several_counts(conf):
    assert found(conf, "ntsrotate 5\nport 0\n" + GOOD + "port 11123\n") == []


def test_included_files_count_where_they_are_included(conf, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for directory in (first, second):
        directory.mkdir()
    (first / "b.conf").write_text("ntsrotate 1\n")
    (second / "b.conf").write_text("ntsrotate 2\n")
    (second / "a.conf").write_text("ntsrotate 3\nport 0\n")
    (first / "c.txt").write_text("ntsrotate 4\n")
    (tmp_path / "x.inc").write_text("ntsrotate 6\n")
    (first / "dhcp.sources").write_text("server 192.0.2.1\nntsrotate 7\n")
    included = f"confdir {first} {second}\ninclude {tmp_path}/*.inc\nsourcedir {first}\n"
    conf.write_text(GOOD + included)
    rotations = [each.value for each in read_configuration(conf) if each.name == "ntsrotate"]
    assert rotations == ["0", "3", "1", "6"]
    assert [each.split(": ")[0] for each in contradictions(conf, SETUP)] == [
        f"{tmp_path}/x.inc:1",
        f"{second}/a.conf:2",
    ]
    assert contradictions(conf, SETUP)[1].startswith(f"{second}/a.conf:2: port 0")
    if chronyd := shutil.which("chronyd", path="/usr/sbin:/usr/bin"):
        # chronyd itself says the same.
        printed = subprocess.run([chronyd, "-p", "-f", conf], capture_output=True, text=True, check=True).stdout
        assert [line.split()[1] for line in printed.splitlines() if line.startswith("ntsrotate")] == rotations


def test_a_file_that_includes_itself_is_told(conf):
    conf.write_text(f"include {conf}\n")
    with pytest.raises(StateError, match="10 levels deep"):
        contradictions(conf, SETUP)


def test_a_file_that_cannot_be_read_is_told():
    with pytest.raises(StateError, match=r"nowhere/chrony\.conf cannot be read: No such file or directory"):
        contradictions(Path("/nowhere/chrony.conf"), SETUP)
