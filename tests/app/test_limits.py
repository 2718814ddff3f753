"""Limits of a whole gateway: they reach the workers, and what was turned away reaches the control process."""

import asyncio

import pytest
from structlog.testing import capture_logs

from ntspool.app import workers
from ntspool.app.gateway import Gateway
from ntspool.errors import RemoteError
from ntspool.net.keyexchange import Server, exchange_keys
from ntspool.pool.limits import TurnedAway
from ntspool.wire.messages import Response
from tests.app.pool import REQUEST, lay_out
from tests.proxying import Balancer, header
from tests.waiting import until


@pytest.fixture
def around(tmp_path, pki):
    return lay_out(tmp_path, pki)


def play(around, scene):
    async def run():
        async with around.time_servers():
            gateway = Gateway(around.config)
            await gateway.start()
            try:
                return await scene(gateway)
            finally:
                await gateway.stop()

    return asyncio.run(run())


def test_what_workers_turn_away_is_told_in_one_line_and_a_reload_lets_it_in(around, monkeypatch):
    monkeypatch.setattr(workers, "TELL_INTERVAL", 3.0)
    around.configure(workers=2)
    open_to_all = around.config.read_text()
    around.config.write_text(open_to_all + "limits: {deny: [127.0.0.0/8]}\n")

    async def scene(gateway):
        with capture_logs() as logs:
            for _ in range(12):
                with pytest.raises(RemoteError):
                    await around.session()
            await until(lambda: gateway._workers.turned_away == {TurnedAway.DENIED: 12})
            await until(lambda: sum(entry["clients"] for entry in logs if entry["event"] == "turned away") == 12)
            around.config.write_text(open_to_all)
            await gateway.reload()
            reply = await around.session()
        return reply, [entry for entry in logs if entry["event"] == "turned away"]

    reply, lines = play(around, scene)
    assert isinstance(reply, Response)
    assert sum(line["clients"] for line in lines) == 12
    assert len(lines) <= 2
    assert set(lines[0]["reasons"]) == {"denied"}


def test_clients_come_through_a_balancer_and_straight_on_other_ports(around):
    proxied = around.ntp_port
    text = around.config.read_text()
    listen = f"'127.0.0.1:{around.ke_port}', {{address: '127.0.0.1:{proxied}', proxy_from: [127.0.0.1]}}"
    around.config.write_text(
        text.replace(f"'127.0.0.1:{around.ke_port}'", listen) + "limits: {deny: ['2001:db8::/32']}\n"
    )

    async def behind(client):
        async with Balancer(("127.0.0.1", proxied), header(client)) as balancer:
            return (await exchange_keys(Server(*balancer.address, "localhost", around.pki.ca), REQUEST, 5)).reply

    async def scene(gateway):
        replies = [await around.session(), await behind("198.51.100.7")]
        with pytest.raises(RemoteError):
            await behind("2001:db8::7")
        with pytest.raises(RemoteError):
            await exchange_keys(Server("127.0.0.1", proxied, "localhost", around.pki.ca), REQUEST, 5)
        # What needs a restart does not half happen.
        around.config.write_text(text)
        await gateway.reload()
        replies.append(await behind("198.51.100.7"))
        await until(lambda: gateway._workers.turned_away.total() == 2)
        return replies, gateway._workers.turned_away

    replies, counts = play(around, scene)
    assert all(isinstance(reply, Response) for reply in replies)
    assert counts == {TurnedAway.DENIED: 1, TurnedAway.PROXY_HEADER: 1}
