"""Key files of DNS servers: what is taken, and that no refusal shows the secret."""

import os

import dns.name
import pytest

from ntspool.errors import StateError
from ntspool.net.tsig import read_key

SECRET = "c2VjcmV0IHNlY3JldCBzZWNyZXQ="
WRITTEN = f'key "ntspool" {{\n\talgorithm hmac-sha256;\n\tsecret "{SECRET}";\n}};\n'


def written(tmp_path, text, mode=0o600):
    path = tmp_path / "key"
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    "text",
    [
        WRITTEN,
        WRITTEN.replace('"ntspool"', "NTSPOOL.").replace(f'"{SECRET}"', SECRET),
        f'# made by hand\nkey "ntspool" {{ // here\n secret "{SECRET}"; /* and\n there */ algorithm HMAC-SHA256; }}',
    ],
)
def test_what_bind_takes_is_taken(tmp_path, text):
    key = read_key(written(tmp_path, text, 0o640))
    assert key.name == "ntspool"
    assert key.opened().name == dns.name.from_text("ntspool")
    assert (key.algorithm, key.secret.reveal()) == ("hmac-sha256", b"secret secret secret")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is not a key file"),
        (SECRET, "is not a key file"),
        (WRITTEN * 2, "is not a key file"),
        (WRITTEN.replace("algorithm", "algorithms"), "is not a key file"),
        (WRITTEN.replace(SECRET, f"{SECRET}?"), "is not a key file"),
        (WRITTEN.replace("sha256", "md5"), "hmac-md5"),
        (WRITTEN.replace("key", "k\N{LATIN SMALL LETTER E WITH ACUTE}y"), "is not a key file"),
        (f"{WRITTEN}/* has no end", "is not a key file"),
        # Once they took a minute.
        (WRITTEN + " " * 60_000 + "x", "is not a key file"),
        (WRITTEN + "/* " * 20_000, "is not a key file"),
        (f'key "{"a" * 70}" {{ algorithm hmac-sha256; secret "{SECRET}"; }};', "is not a key file"),
    ],
)
def test_what_is_none_is_refused_without_its_secret(tmp_path, text, why):
    with pytest.raises(StateError, match=why) as caught:
        read_key(written(tmp_path, text))
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


def test_what_others_may_read_is_refused(tmp_path):
    with pytest.raises(StateError, match="open to every user"):
        read_key(written(tmp_path, WRITTEN, 0o644))
    with pytest.raises(StateError, match="cannot be read: No such file"):
        read_key(tmp_path / "gone")
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(StateError, match="is not a regular file"):
        read_key(tmp_path / "fifo")
