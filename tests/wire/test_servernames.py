"""ntspool/wire/servernames.py: which servers a peer may name (RFC 8915 section 4.1.7, RFC 1123 section 2.1)."""

import pytest

from ntspool.errors import WireError
from ntspool.wire.servernames import check_server_name

LONGEST = ".".join(["a" * 63] * 3 + ["b" * 61])
NAMES = ["ntp.example", "NTP-1.example.", "a", "x_1.example", LONGEST]
ADDRESSES = ["192.0.2.1", "2001:db8::1", "::1", "::ffff:192.0.2.1"]
NO_NAMES = ["", ".", "..", "a..b", ".a", "-a.example", "a-.example", "a b", "a/b", "é", "a" * 64, LONGEST + "b", "$(x)"]
NO_ADDRESSES = ["192.0.2", "192.0.2.256", "192.0.2.1.", "123", "a.1", "[::1]", "::1:", "1:2:3:4:5:6:7:8:9", "::1%eth0"]
NOT_ONE_HOSTS = ["0.0.0.0", "::", "224.0.1.1", "ff02::101", "fe80::1%eth0", "192.0.2.1:123"]


@pytest.mark.parametrize("name", [*NAMES, *ADDRESSES])
def test_names_of_servers(name):
    check_server_name(name)


@pytest.mark.parametrize("name", [*NO_NAMES, *NO_ADDRESSES, *NOT_ONE_HOSTS])
def test_what_names_no_server(name):
    with pytest.raises(WireError):
        check_server_name(name)
