"""The pages on clients say what `ntspool client-config` prints and the status page shows."""

import pytest

from ntspool.net.page.clients import clients
from ntspool.pool.clientlines import FILES, SEE, Client, Offer, lines
from ntspool.pool.view import CertificateView
from tests.docs.manual import DOCS, blocks
from tests.net.page.reading import read
from tests.net.page.views import gateway

NAME = "ntp-pool.example.com"
CLIENTS = [Client.CHRONY, Client.NTPSEC, Client.NTPD_RS]


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("servers", [1, 4])
def test_a_clients_page_has_its_lines(client, servers):
    page = DOCS / "clients" / f"{client}.md"
    assert lines(client, Offer(NAME, servers=servers)) in [block.text for block in blocks(page)]


@pytest.mark.parametrize("client", CLIENTS)
def test_a_clients_page_tells_file_authority_and_how_to_see_it_at_work(client):
    text = (DOCS / "clients" / f"{client}.md").read_text()
    authority = lines(client, Offer(NAME, servers=1, authority="/etc/ssl/pool-ca.pem")).splitlines()
    plain = lines(client, Offer(NAME, servers=1)).splitlines()
    (added,) = set(authority) - set(plain)
    for part in (FILES[client], added, SEE[client]):
        assert part in text


@pytest.mark.parametrize("names", [(NAME,), (NAME, f"*.{NAME}")])
def test_the_status_page_has_the_same_lines(names):
    view = gateway(names=(NAME,), listen=("0.0.0.0:4460",), certificates=(CertificateView(names, 2e9),))
    shown = "".join(read(clients(view)).text)
    for client in CLIENTS:
        assert lines(client, Offer(NAME, servers=4 if len(names) > 1 else 1)).rstrip() in shown


def test_of_timesyncd_all_say_that_it_has_no_nts():
    for text in (lines(Client.TIMESYNCD, Offer(NAME)), (DOCS / "clients" / "timesyncd.md").read_text()):
        assert "systemd-timesyncd has no NTS, up to systemd 260 at least" in text
