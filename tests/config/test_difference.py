"""What a reload tells of two configurations."""

from datetime import UTC, datetime

import pytest

from ntspool.config import load
from ntspool.config.difference import difference
from ntspool.pool.view import ChangeView

HEAD = "pool: {names: [a.example.com]}\ntls: [{certificate: fullchain.pem, key: privkey.pem}]\n"
ONE = "backends:\n  - {name: a, address: 192.0.2.1}\n"
TWO = ONE + "  - {name: b, address: 192.0.2.9}\n"


@pytest.fixture(scope="module")
def read(pki, tmp_path_factory):
    folder = tmp_path_factory.mktemp("etc")
    pki.authority.issue(["*.example.com"], [], folder, datetime.now(UTC))

    def read(text):
        path = folder / "backends.yaml"
        path.write_text(HEAD + text)
        return load(path)

    return read


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (ONE, ONE, []),
        (ONE, ONE + "workers: 3\n", [("workers", "", "3")]),
        (ONE, ONE + "workers: auto\nbalance: random\n", []),
        (ONE, TWO, [("backends.b", "", "address 192.0.2.9")]),
        (TWO, ONE, [("backends.b", "address 192.0.2.9", "")]),
        (TWO, TWO.replace("9}", "9, weight: 3}"), [("backends.b.weight", "10", "3")]),
        (
            TWO,
            TWO.replace("192.0.2.9", "[192.0.2.8, ntp.example.com]").replace("name: b", "name: b, port: 4123"),
            [("backends.b.address", "192.0.2.9", "192.0.2.8 ntp.example.com"), ("backends.b.port", "123", "4123")],
        ),
        (
            TWO,
            TWO.replace("9}", "9, aeads: [15, 30]}"),
            [("backends.b.aeads", "AES-SIV-CMAC-256", "AES-SIV-CMAC-256 AES-128-GCM-SIV")],
        ),
        (
            ONE,
            ONE + "  - {srv: _ntp._udp.a.example}\n",
            [("backends._ntp._udp.a.example", "", "srv _ntp._udp.a.example")],
        ),
        (
            ONE,
            ONE + "listen: ['192.0.2.1:4460', {address: '[::1]:4460', proxy_from: [192.0.2.0/24]}]\n",
            [("listen", "0.0.0.0:4460 [::]:4460", "192.0.2.1:4460 address [::1]:4460, proxy_from 192.0.2.0/24")],
        ),
        (ONE, ONE + "limits: {per_address: {rate: off}}\n", [("limits.per_address.rate", "50", "")]),
        (ONE, ONE + "admin: {group: adm}\n", [("admin.group", "", "adm")]),
        (ONE, ONE + "log: {client_addresses: true}\n", [("log.client_addresses", "false", "true")]),
    ],
)
def test_what_is_different(read, before, after, told):
    old, new = read(before), read(after)
    assert difference(old, new) == tuple(ChangeView(*each) for each in told)
    # The other way round it is the same, the wrong way round.
    assert {(each.key, each.after, each.before) for each in difference(new, old)} == set(told)
