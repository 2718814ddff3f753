"""chronyc is run as it must be, and its words are read."""

import asyncio

import pytest

from ntspool.errors import LocalError
from ntspool.net.daemons.chrony import Chrony
from ntspool.net.daemons.embedded import Embedded


def chrony(tmp_path, says):
    script = f"echo \"$@\" >{tmp_path}/words; echo '{says}'"
    return Chrony(tmp_path / "ntskeys", tmp_path / "chronyd.sock", ("sh", "-c", script, "chronyc"))


def test_rekey_goes_over_the_socket(tmp_path):
    asyncio.run(chrony(tmp_path, "200 OK").load())
    assert (tmp_path / "words").read_text() == f"-h {tmp_path}/chronyd.sock rekey\n"


def test_a_refusal_is_told(tmp_path):
    with pytest.raises(LocalError, match="chronyd refuses to load its keys: 501 Not authorised"):
        asyncio.run(chrony(tmp_path, "501 Not authorised").load())


@pytest.mark.parametrize("daemon", [Chrony(), Embedded()])
def test_nothing_but_the_same_keys_is_up_to_date(daemon):
    from tests.net.daemons.test_restarted import at

    assert not daemon.restarts
    assert not daemon.outdated(at(5), at(5))
    assert daemon.outdated(at(5), at(6))
