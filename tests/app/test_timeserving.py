"""ntspool/app/timeserving.py: the embedded time server with an NTS-KE server and keys of its own, as a process."""

import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

from ntspool.app.timeserving import read_tokens, renew
from ntspool.errors import StateError
from ntspool.net.daemons import keyfile
from ntspool.pool.cookies import CookieFormat
from ntspool.pool.ownkeys import LIFE
from ntspool.wire.poolprotocol import FixedKeyRequest, SupportQuery
from ntspool.wire.secret import Secret
from tests.interop.lab import free_port, wait_until
from tests.net.poolclient import PoolClient

TOKEN, OTHER = "f0" * 32, "0f" * 32


def token_file(tmp_path, text, mode=0o600):
    path = tmp_path / "tokens"
    path.touch()
    path.chmod(mode)
    path.write_text(text)
    return path


# Tokens.


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("", ()), (TOKEN, (TOKEN,)), (f"{TOKEN}\n\n{OTHER}\n", (TOKEN, OTHER)), ("!" * 16, ("!" * 16,))],
)
def test_tokens_one_a_line(tmp_path, text, tokens):
    assert read_tokens(token_file(tmp_path, text)) == tuple(Secret(each.encode()) for each in tokens)


@pytest.mark.parametrize("line", ["x" * 15, TOKEN + " ", TOKEN + "\r", TOKEN + "é", TOKEN + "\0", f"{TOKEN} {OTHER}"])
def test_what_is_no_token_is_told_by_line_and_not_quoted(tmp_path, line):
    path = token_file(tmp_path, f"{OTHER}\n{line}\n")
    with pytest.raises(StateError, match=re.escape(f"{path}:2: expected a token")) as caught:
        read_tokens(path)
    assert line not in str(caught.value)


def test_tokens_that_others_can_read_are_refused(tmp_path):
    with pytest.raises(StateError, match="chmod o="):
        read_tokens(token_file(tmp_path, TOKEN, 0o604))
    with pytest.raises(StateError, match="No such file"):
        read_tokens(tmp_path / "missing")


# Keys.


def test_a_new_key_a_day(tmp_path):
    path, seen = tmp_path / "keys", []
    for day in range(5):
        now = path.stat().st_mtime + LIFE if day else 0.0
        renew(path, now)
        keys = keyfile.read(path, CookieFormat.NTSPOOL)
        seen.append(keys.keys[keys.current])
        renew(path, path.stat().st_mtime + LIFE - 1)
        assert keyfile.read(path, CookieFormat.NTSPOOL) == keys
    assert keys.keys == tuple(seen[-3:])
    assert len({key.secret.reveal() for key in seen}) == 5
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_one_that_was_killed_left_half_written_is_gone_at_the_next_look(tmp_path):
    path, left = tmp_path / "keys", tmp_path / ".keys.4194305.tmp"
    renew(path, 0.0)
    left.touch()
    renew(path, path.stat().st_mtime)
    assert not left.exists()


def test_a_file_of_something_else_is_not_written_over(tmp_path):
    path = tmp_path / "keys"
    path.write_text("precious")
    with pytest.raises(StateError, match="move it away"):
        renew(path, 0.0)
    assert path.read_text() == "precious"


# The whole process.


@contextmanager
def running(tmp_path, pki, tokens):
    ntp, ke = free_port("127.0.0.1"), free_port("127.0.0.1")
    command = [sys.executable, "-m", "ntspool", "timeserver", f"--listen=127.0.0.1:{ntp}", f"--keys={tmp_path}/keys"]
    command += ["--own-keys", f"--ke-listen=127.0.0.1:{ke}", f"--certificate={pki.chain}", f"--private-key={pki.key}"]
    log = tmp_path / "log"
    with log.open("wb") as output, subprocess.Popen([*command, f"--tokens={tokens}"], stderr=output) as process:
        try:
            wait_until("it to serve", lambda: "NTS-KE server started" in log.read_text() or process.poll() is not None)
            assert process.poll() is None, log.read_text()
            yield process, ke, log
        finally:
            process.terminate()


def test_a_client_comes_from_ke_to_authenticated_time(tmp_path, pki):
    with running(tmp_path, pki, token_file(tmp_path, TOKEN)) as (_, port, _log):
        command = [sys.executable, "-m", "ntspool", "query", f"127.0.0.1:{port}", f"--ca={pki.ca}"]
        told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    assert "8" in told


def test_a_hangup_brings_new_tokens_and_bad_ones_do_not_come(tmp_path, pki):
    def cookies(port, token):
        with PoolClient("127.0.0.1", port, pki.ca) as pool:
            return hasattr(
                pool.ask(FixedKeyRequest(Secret(token.encode()), 15, Secret(os.urandom(32)), Secret(os.urandom(32)))),
                "response",
            )

    with running(tmp_path, pki, token_file(tmp_path, TOKEN)) as (process, port, log):
        assert (cookies(port, TOKEN), cookies(port, OTHER)) == (True, False)
        token_file(tmp_path, OTHER)
        process.send_signal(signal.SIGHUP)
        wait_until("the new token", lambda: cookies(port, OTHER))
        assert not cookies(port, TOKEN)
        token_file(tmp_path, "short")
        process.send_signal(signal.SIGHUP)
        wait_until("the complaint", lambda: "the old ones stay" in log.read_text())
        with PoolClient("127.0.0.1", port, pki.ca) as pool:
            assert pool.ask(SupportQuery(Secret(OTHER.encode()))).keep_alive
    assert not any(token in log.read_text() for token in (TOKEN, OTHER, "short"))
