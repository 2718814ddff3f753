"""A real Prometheus scrapes a gateway's metrics with our rules loaded."""

import asyncio
import shutil
from dataclasses import replace

import pytest
import yaml
from aiohttp import ClientError, ClientSession, web
from aiohttp.test_utils import TestServer

from ntspool.net.metrics import add_routes
from tests.deploy.test_prometheus import FOLDER, RULES
from tests.interop.lab import DEADLINE, find, free_port, running
from tests.net.gatewayviews import backend, gateway

LOOPBACK = "127.0.0.1"


def configure(directory, target):
    """Write the sample configuration, made to scrape `target`, and fast."""
    shutil.copy(RULES, directory)
    sample = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    sample["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    sample["scrape_configs"][0]["static_configs"] = [{"targets": [target]}]
    path = directory / "prometheus.yml"
    path.write_text(yaml.safe_dump(sample))
    return path


async def answer(session, url, query):
    """Return what an expression yields, once that is something."""
    async with asyncio.timeout(DEADLINE):
        while True:
            try:
                async with session.get(f"{url}/api/v1/query", params={"query": query}) as response:
                    found = (await response.json())["data"]["result"] if response.status == 200 else []
            except ClientError:
                found = []
            if found:
                return [{**each["metric"], "": each["value"][1]} for each in found]
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("down", [False, True], ids=["well", "all backends down"])
def test_prometheus_reads_a_gateway_and_weighs_the_rules(tmp_path, down):
    name = 'ntp "weird" \\ 1'
    view = gateway(backends=(replace(backend(name), state="DOWN" if down else "UP"),), ready=not down)

    async def run():
        app = web.Application()
        add_routes(app, lambda: view)
        port = free_port(LOOPBACK)
        url = f"http://{LOOPBACK}:{port}"
        async with TestServer(app) as server, ClientSession() as session:
            command = [
                find("prometheus"),
                f"--config.file={configure(tmp_path, f'{LOOPBACK}:{server.port}')}",
                f"--storage.tsdb.path={tmp_path / 'data'}",
                f"--web.listen-address={LOOPBACK}:{port}",
            ]
            with running(command, tmp_path / "log"):
                state = await answer(session, url, 'ntspool_backend_state{state="UP"}')
                assert [(each["backend"], each[""]) for each in state] == [(name, "0" if down else "1")]
                assert [each[""] for each in await answer(session, url, 'up{job="ntspool"}')] == ["1"]
                recorded = await answer(session, url, "instance:ntspool_backends_up:sum")
                assert [each[""] for each in recorded] == ["0" if down else "1"]
                if down:
                    alerts = await answer(session, url, 'ALERTS{alertname="NtspoolNoBackendUp"}')
                    assert [each["alertstate"] for each in alerts] == ["pending"]

    asyncio.run(run())
