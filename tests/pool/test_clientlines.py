"""ntspool/pool/clientlines.py; that the daemons take it, tests/interop/test_client_config.py shows."""

import pytest

from ntspool.pool.clientlines import Client, Offer, lines, offered

NAME = "ntp-pool.example.com"


def test_slots_are_offered_only_where_the_certificates_cover_all_of_them():
    assert offered(NAME, 4460, {NAME, f"*.{NAME}"}).servers == 4
    assert offered(NAME, 4460, {f"{slot}.{NAME}" for slot in range(4)}).servers == 4
    for names in ({NAME}, {NAME, "*.example.com"}, {f"{slot}.{NAME}" for slot in range(3)}):
        assert offered(NAME, 4460, names) == Offer(NAME, 4460, 1)


@pytest.mark.parametrize(
    ("client", "offer", "text"),
    [
        (Client.CHRONY, Offer(NAME, servers=1), f"server {NAME} iburst nts\n"),
        (
            Client.CHRONY,
            Offer(NAME, 11460, 2, "/ca.pem"),
            (
                f"ntstrustedcerts /ca.pem\nserver 0.{NAME} iburst nts ntsport 11460\n"
                f"server 1.{NAME} iburst nts ntsport 11460\n"
            ),
        ),
        (Client.NTPSEC, Offer(NAME, servers=1), f"server {NAME} nts iburst\n"),
        (Client.NTPSEC, Offer(NAME, 11460, 1, "/ca.pem"), f"nts ca /ca.pem\nserver {NAME}:11460 nts iburst\n"),
        (Client.NTPD_RS, Offer(NAME, servers=1), f'[[source]]\nmode = "nts"\naddress = "{NAME}"\n'),
        (
            Client.NTPD_RS,
            Offer(NAME, 11460, 2, "/ca.pem"),
            (
                f'[[source]]\nmode = "nts"\naddress = "0.{NAME}:11460"\ncertificate-authority = "/ca.pem"\n\n'
                f'[[source]]\nmode = "nts"\naddress = "1.{NAME}:11460"\ncertificate-authority = "/ca.pem"\n'
            ),
        ),
    ],
)
def test_what_a_client_is_configured_with(client, offer, text):
    assert lines(client, offer) == text


def test_of_timesyncd_there_are_comments_alone():
    assert all(line.startswith("# ") for line in lines(Client.TIMESYNCD, Offer(NAME)).splitlines())
