"""What commands print, to the letter."""

import pytest

from ntspool.app.tables import age, current_epoch, keys_status, table

NOW = 1_800_000_000.0
DAY = 86400.0

STATUS = {
    "now": NOW,
    "rotated": NOW - 3 * DAY,
    "rotate": 7 * DAY,
    "life": 2 * DAY,
    "epochs": [
        {"epoch": 8, "created": NOW - 38 * DAY, "state": "previous", "sessions": 0},
        {"epoch": 9, "created": NOW - 31 * DAY, "state": "revoked", "sessions": 123456},
        {"epoch": 10, "created": NOW - 24 * DAY, "state": "current", "sessions": 98765},
        {"epoch": 15, "created": NOW - 2 * DAY, "state": "next", "sessions": 0},
        {"epoch": 16, "created": NOW - 2 * DAY, "state": "future", "sessions": 0},
        {"epoch": 17, "created": NOW - 90, "state": "future", "sessions": 0},
    ],
    "ended": [
        {"epoch": 11, "ended": NOW - 2 * DAY, "state": "revoked"},
        *({"epoch": number, "ended": NOW - (10 - number) * DAY, "state": "retired"} for number in range(7, 1, -1)),
    ],
    "backends": [
        {
            "backend": "ntp-1",
            "address": "192.0.2.1",
            "state": "UP",
            "minting": 10,
            "proved": {"8": NOW - 10 * DAY, "10": NOW - 3 * DAY, "15": NOW - 30},
            "waits": None,
        },
        {
            "backend": "ntp-2",
            "address": "2001:db8::2",
            "state": "DOWN",
            "minting": None,
            "proved": {},
            "waits": "it has not loaded epoch 9 or a newer one",
        },
    ],
    "agents": [],
}


def test_keys_status():
    assert keys_status(STATUS) == (
        "Rotation: every 7d, last 3d ago; cookies are good for 2d\n"
        "\n"
        "Epoch  Age  State     Sessions\n"
        "==============================\n"
        "   17  90s  future           0\n"
        "   16   2d  future           0\n"
        "   15   2d  next             0\n"
        "   10  24d  current      98765\n"
        "    9  31d  revoked     123456\n"
        "    8  38d  previous         0\n"
        "   11   2d  revoked          -\n"
        "    7   3d  retired          -\n"
        "    6   4d  retired          -\n"
        "    5   5d  retired          -\n"
        "    4   6d  retired          -\n"
        "\n"
        "Backend  Address      State    8  9  10   15  16  17  Mints\n"
        "===========================================================\n"
        "ntp-1    192.0.2.1    UP     10d  -  3d  30s   -   -     10\n"
        "ntp-2    2001:db8::2  DOWN     -  -   -    -   -   -      -\n"
        "\n"
        "A rotation waits for ntp-2: it has not loaded epoch 9 or a newer one\n"
    )


def test_keys_status_tells_what_agents_report():
    agents = [
        {"backend": "ntp-1", "seen": NOW - 5, "reported": NOW - 3 * DAY, "proved": [8, 9, 10, 15], "failure": None},
        {"backend": "ntp-2", "seen": NOW - 600, "reported": None, "proved": [], "failure": "key 9: NTS NAK"},
    ]
    assert keys_status({**STATUS, "agents": agents}).endswith(
        "\n"
        "Agent  Seen  Reported  Keys       Failure\n"
        "================================================\n"
        "ntp-1    5s        3d  8,9,10,15  -\n"
        "ntp-2   10m         -  -          key 9: NTS NAK\n"
        "\n"
        "A rotation waits for ntp-2: it has not loaded epoch 9 or a newer one\n"
    )


def test_keys_status_of_a_young_pool_that_nobody_rotates():
    young = {
        **STATUS,
        "rotated": NOW,
        "rotate": None,
        "epochs": [{"epoch": 3, "created": NOW, "state": "current", "sessions": 1}],
        "ended": [],
        "backends": [],
    }
    assert keys_status(young) == (
        "Rotation: by command only, last 0s ago; cookies are good for 2d\n"
        "\n"
        "Epoch  Age  State    Sessions\n"
        "=============================\n"
        "    3   0s  current         1\n"
        "\n"
        "Backend  Address  State  3  Mints\n"
        "=================================\n"
    )


def test_the_current_epoch():
    assert current_epoch(STATUS) == 10


@pytest.mark.parametrize(
    ("seconds", "spelt"),
    [
        (-5, "0s"),
        (0, "0s"),
        (0.9, "0s"),
        (119.9, "119s"),
        (120, "2m"),
        (7199, "119m"),
        (7200, "2h"),
        (2 * DAY - 1, "47h"),
        (2 * DAY, "2d"),
        (2 * 365 * DAY - 1, "729d"),
        (2 * 365 * DAY, "2y"),
    ],
)
def test_an_age_is_in_the_largest_unit_of_which_there_are_two(seconds, spelt):
    assert age(seconds) == spelt


def test_a_table_is_as_wide_as_it_must_be():
    assert table(("A", "Number"), [("long", "7"), ("x", "1234567")], right=[1]) == (
        "A      Number\n=============\nlong        7\nx     1234567\n"
    )
