"""`ntspool cluster status`: every gateway in a line, and what is wrong between them."""

from dataclasses import asdict

from ntspool.app.problems import problems
from ntspool.app.tables_cluster import CLUSTER_HEAD, cluster_page, cluster_rows
from tests.net.gatewayviews import cluster, gateway, peer


def view(**changes):
    return asdict(gateway(cluster=cluster(**changes)))


def test_the_page():
    assert cluster_page(view()) == (
        "This gateway    : north\n"
        "Store           : answers, for 60m\n"
        "Leader          : north\n"
        "Problem         : gateway west is lost for 10m\n"
        "Problem         : ntp-1 is not reached from here: it answers 2 of 3 gateways, but here: no answer\n"
        "Problem         : ntp-2 is reached from here, but does not answer 2 of 3 gateways: south, west\n"
        "\n"
        "Gateway  State  Leads  Epoch  Agrees  Told   Up  Addresses\n"
        "============================================================\n"
        "north *  ready  yes        7  yes       1s  60m  192.0.2.101\n"
        "south    ready             7  yes       1s  60m  192.0.2.101\n"
        "west     LOST              7  no       10m  60m  192.0.2.101\n"
    )


def test_rows():
    head, rows = cluster_rows(view())
    assert head == CLUSTER_HEAD
    assert all(len(row) == len(head) for row in rows)
    assert [row[:4] for row in rows] == [
        ("north", "ready", True, 7),
        ("south", "ready", False, 7),
        ("west", "LOST", False, 7),
    ]


def test_states():
    gateways = (
        peer("a", alive=False, stopped=True),
        peer("b", withdrawn="cut off", ready=False),
        peer("c", ready=False),
    )
    _, rows = cluster_rows(view(gateways=gateways))
    assert [row[1] for row in rows] == ["stopped", "WITHDRAWN", "NOT ready"]
    found = problems(view(gateways=gateways, outvoted={}, unreachable={}))
    assert "gateway b wants no clients: cut off" in found
    assert not [each for each in found if "gateway a" in each]


def test_problems_between_gateways_are_problems_of_this_one():
    found = problems(view(away="nobody answers", gateways=(), outvoted={}, unreachable={}))
    assert found[0] == "the cluster's store is away for 60m, so nothing can be changed: nobody answers"
    withdrawn = asdict(gateway(ready=False, cluster=cluster(withdrawn="5 of 5 are missed")))
    found = problems(withdrawn)
    assert "this gateway wants no clients: 5 of 5 are missed" in found
    assert not [each for each in found if each.startswith("NOT ready")]
    assert "AWAY for 60m: nobody answers" in cluster_page(view(away="nobody answers"))


def test_a_gateway_alone_has_no_such_problems():
    alone = asdict(gateway(cluster=None))
    assert not [each for each in problems(alone) if "gateway" in each]
