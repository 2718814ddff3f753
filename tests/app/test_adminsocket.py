"""Where commands find the gateway, told without checking the configuration: as the gateway itself finds it."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntspool import config
from ntspool.app import declared
from ntspool.app.adminsocket import find_socket
from ntspool.errors import ConfigError
from tests.app.pool import lay_out


@pytest.mark.parametrize(
    "more",
    [
        "",
        "state: there",
        "state: '/var/lib/pool 1'",
        "admin: {socket: admin.socket}",
        'admin:\n  socket: "/run/ntspool/admin.sock"',
        "state: there\nadmin: {group: '0', socket: here/a.sock}",
        "admin: {group: '0'}",
        "control: {listen: ['127.0.0.1:4461']}",
        "workers: 2\nstate: there",
    ],
)
def test_it_is_where_the_gateway_opens_it(tmp_path, pki, more):
    around = lay_out(tmp_path, pki)
    stated = [line for line in around.config.read_text().splitlines() if not line.startswith(("state:", "workers:"))]
    around.config.write_text("\n".join([more, *stated]))
    expected = declared.admin_socket(config.load(around.config))
    assert find_socket(around.config) == expected
    around.config.write_text("\n".join([*stated, more]))
    assert find_socket(around.config) == expected


def test_mistakes_elsewhere_keep_nobody_from_the_running_gateway(tmp_path):
    path = tmp_path / "backends.yaml"
    path.write_text("state: there\nspeed: high\nbackends: [{state: nowhere}, [admin, {socket: no}]]\nstate: twice\n")
    assert find_socket(path) == tmp_path / "there" / "admin.sock"


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, r":1: cannot be read: No such file"), ("a: [", "not YAML"), ("a: b: c", "not YAML"), ("\xff", "not YAML")],
)
def test_what_cannot_be_read_is_told(tmp_path, content, words):
    path = tmp_path / "backends.yaml"
    if content is not None:
        path.write_bytes(content.encode("latin-1"))
    with pytest.raises(ConfigError, match=words):
        find_socket(path)


@given(st.binary(max_size=60) | st.text("{}[]:,-&*!|>'\"#%@ \nastdmincoke", max_size=40).map(str.encode))
def test_no_file_breaks_a_command(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(content)
    with contextlib.suppress(ConfigError):
        assert find_socket(path).is_absolute()


@pytest.mark.parametrize(
    "content", ["", "[]", "text", "- state", "{a: b}: c", "admin: [socket, x]", "admin: &a {}\nb: *a"]
)
def test_what_tells_nothing_leaves_the_usual_place(tmp_path, content):
    path = tmp_path / "backends.yaml"
    path.write_text(content)
    assert find_socket(path).name in {"admin.sock", "x"}
