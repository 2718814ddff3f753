"""A real Prometheus scrapes a gateway's metrics with our rules loaded."""

import asyncio
import shutil
from contextlib import suppress

import pytest
import yaml
from aiohttp import ClientError, ClientSession, web
from aiohttp.test_utils import TestServer

from ntspool.net.metrics import add_routes
from tests.deploy.test_prometheus import ALERTS, FOLDER, RECORDED, RULES, queries
from tests.interop.lab import DEADLINE, find, free_port, running
from tests.net.gatewayviews import backend, gateway, keys

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


async def call(session, url, **parameters):
    """Return the data of an answer of Prometheus's API."""
    async with session.get(url, params=parameters) as response:
        told = await response.json()
        assert told["status"] == "success", (parameters, told)
        return told["data"]


async def answer(session, url, query):
    """Return what an expression yields, once that is something."""
    async with asyncio.timeout(DEADLINE):
        while True:
            # It takes a moment to start: until then nobody listens, and then it says so.
            with suppress(ClientError):
                if found := (await call(session, f"{url}/api/v1/query", query=query))["result"]:
                    return [{**each["metric"], "": each["value"][1]} for each in found]
            await asyncio.sleep(0.1)


async def assess(session, url):
    """Check that every rule and every query of the dashboard can be evaluated: no labels that match doubly."""
    for query in queries():
        await call(session, f"{url}/api/v1/query", query=query)
    async with asyncio.timeout(DEADLINE):
        while "unknown" in (states := await rules(session, url)).values():
            await asyncio.sleep(0.1)
    assert states == dict.fromkeys([*RECORDED, *ALERTS], "ok")


async def rules(session, url):
    """Return what Prometheus thinks of each rule: `ok`, `unknown` until it was evaluated, or its error."""
    groups = (await call(session, f"{url}/api/v1/rules"))["groups"]
    return {rule["name"]: rule.get("lastError") or rule["health"] for group in groups for rule in group["rules"]}


@pytest.mark.parametrize("down", [False, True], ids=["well", "all backends down"])
def test_prometheus_reads_a_gateway_and_weighs_the_rules(tmp_path, down):
    name = 'ntp "weird" \\ 1'
    state = "DOWN" if down else "UP"
    backends = (backend(name, state=state), backend("ntp-2", state=state))
    view = gateway(backends=backends, ready=not down, keys=keys(name, "ntp-2"))

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
                told = await answer(session, url, 'ntspool_backend_state{state="UP"}')
                assert {each["backend"]: each[""] for each in told} == dict.fromkeys(
                    [name, "ntp-2"], "0" if down else "1"
                )
                assert [each[""] for each in await answer(session, url, 'up{job="ntspool"}')] == ["1"]
                recorded = await answer(session, url, "instance:ntspool_backends_up:sum")
                assert [each[""] for each in recorded] == ["0" if down else "2"]
                if down:
                    alerts = await answer(session, url, 'ALERTS{alertname="NtspoolNoBackendUp"}')
                    assert [each["alertstate"] for each in alerts] == ["pending"]
                await assess(session, url)

    asyncio.run(run())
