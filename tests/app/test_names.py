"""A gateway whose backends are names: what it serves as they resolve, and what commands know of them."""

import asyncio

import pytest
from structlog.testing import capture_logs

from ntspool import config
from ntspool.app import declared, enrol, export, lineup
from ntspool.app.gateway import Gateway
from ntspool.errors import LocalError
from ntspool.pool import resolving
from tests.app.pool import lay_out
from tests.net.dnsserver import Zone, dns_server
from tests.waiting import DEADLINE, until

SERVICE = "_ntp._udp.example"


@pytest.fixture
def around(tmp_path, pki):
    return lay_out(tmp_path, pki)


@pytest.fixture(autouse=True)
def _often(monkeypatch):
    """Let TTLs be as short as the zone has them."""
    monkeypatch.setattr(resolving, "SHORTEST_TTL", 0.1)


def _name(around, zone, more="", **hosts):
    """Put names in place of the addresses of backends, and `zone` in place of the system's DNS."""
    around.configure()
    text = around.config.read_text()
    for name, host in hosts.items():
        text = text.replace(around.address(name.replace("_", "-")), host)
    around.config.write_text(f"{text}{more}dns: {{servers: ['127.0.0.1:{zone.port}'], timeout: 100ms}}\n")


def _play(around, scene):
    async def run():
        async with around.time_servers() as servers:
            gateway = Gateway(around.config)
            await gateway.start()
            try:
                return await scene(gateway, servers)
            finally:
                await gateway.stop()

    return asyncio.run(run())


def _up(gateway):
    return {each.backend.name: [str(up.address) for up in each.up] for each in gateway.served.serving}


async def _what_is_up(gateway, _):
    return _up(gateway)


def _zone(**hosts):
    return Zone({(f"{name}.example", "A"): (0, address) for name, address in hosts.items()}, soa_ttl=0)


def test_names_are_resolved_before_the_first_client_comes(around):
    with dns_server(_zone(a="127.0.0.20")) as zone:
        _name(around, zone, ntp_1="a.example")
        assert _play(around, _what_is_up) == {"ntp-1": ["127.0.0.20"], "ntp-2": ["127.0.0.21"]}


def test_a_gateway_starts_with_what_there_is(around, monkeypatch):
    monkeypatch.setattr(lineup, "RESOLVE_DEADLINE", 0.3)
    with dns_server(_zone(a="127.0.0.20")) as zone:
        zone.mute = True
        _name(around, zone, ntp_1="a.example")

        async def scene(gateway, _):
            before, answer = _up(gateway), (await around.session()).server
            status = gateway.keys.status()
            assert await gateway._desk.wait("ntp-1", None, 0), "its agent gets its keys whether it is found or not"
            zone.mute = False
            await until(lambda: _up(gateway)["ntp-1"])
            return before, answer, [each["backend"] for each in status["backends"]]

        assert _play(around, scene) == ({"ntp-1": [], "ntp-2": ["127.0.0.21"]}, "127.0.0.21", ["ntp-2"])


def test_a_reload_takes_over_names_and_what_they_resolve_to(around):
    with dns_server(_zone(a="127.0.0.20", b="127.0.0.21")) as zone:
        _name(around, zone, ntp_1="a.example")

        async def scene(gateway, _):
            around.configure(names=("ntp-1",))
            text = around.config.read_text().replace("127.0.0.20", "b.example").replace("ntp-1", "ntp-2")
            around.config.write_text(f"{text}dns: {{servers: ['127.0.0.1:{zone.port}']}}\n")
            await gateway.reload()
            return _up(gateway)

        assert _play(around, scene) == {"ntp-2": ["127.0.0.21"]}


def test_only_the_backend_whose_addresses_changed_is_disturbed(around):
    with dns_server(_zone(a="127.0.0.20")) as zone:
        _name(around, zone, ntp_1="a.example")

        async def scene(gateway, servers):
            await servers["ntp-1"].stop()
            with capture_logs() as logs:
                zone.records["a.example", "A"] = (0, "127.0.0.22")
                await until(lambda: str(gateway.served.serving[0].backend.addresses[0]) == "127.0.0.22")
            return {entry["backend"] for entry in logs if "backend" in entry}, _up(gateway)

        assert _play(around, scene) == ({"ntp-1"}, {"ntp-1": [], "ntp-2": ["127.0.0.21"]})


def test_a_discovered_backend_is_served_and_known_to_commands(around):
    with dns_server(_zone(c="127.0.0.20")) as zone:
        zone.records[SERVICE, "SRV"] = (0, f"0 7 {around.ntp_port} c.example.")
        entry = f"  - {{srv: {SERVICE}, cookies: ntspool, key_group: ntp-1}}\n"
        _name(around, zone, entry)
        text = around.config.read_text()
        around.config.write_text("".join(line for line in text.splitlines(True) if "name: ntp-1" not in line))
        with pytest.raises(LocalError, match=r"there is no backend 'c\.example'"):
            export.key_file(around.config, "c.example")

        async def scene(gateway, _):
            return _up(gateway), gateway.served.serving[1].backend.weight

        up, weight = _play(around, scene)
        assert up == {"ntp-2": ["127.0.0.21"], "c.example": ["127.0.0.20"]}
        assert weight == 7
    assert export.key_file(around.config, "c.example")
    assert enrol.new_token(around.config, "c.example")
    assert [each.name for each in declared.backends(config.load(around.config))] == ["ntp-2", "c.example"]


def test_no_client_is_left_without_an_answer_while_an_address_takes_the_place_of_another(around):
    with dns_server(_zone(a="127.0.0.20")) as zone:
        export.write(around.key_file("ntp-2"), export.key_file(around.config, "ntp-1"))
        _name(around, zone, ntp_1="a.example")
        text = around.config.read_text()
        around.config.write_text("".join(line for line in text.splitlines(True) if "name: ntp-2" not in line))

        async def scene(gateway, _):
            served, publish = [], gateway._workers.publish

            async def listen_in(snapshot):
                served.append([str(up.address) for each in snapshot.serving for up in each.up])
                await publish(snapshot)

            gateway._workers.publish = listen_in
            zone.records["a.example", "A"] = (0, "127.0.0.21")
            async with asyncio.timeout(DEADLINE):
                while ["127.0.0.21"] not in served:
                    await gateway._snapshots.publish()
            return served

        served = _play(around, scene)
        assert all(served), served
