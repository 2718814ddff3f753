"""The status page's server: what it answers, what it says beside it, and what strangers can do to it."""

import asyncio
import re
import socket
from contextlib import AsyncExitStack
from functools import partial

import aiohttp
import pytest
from aiohttp import web

from ntspool.errors import LocalError, StateError
from ntspool.net import status
from ntspool.net.status import StatusServer
from tests.net.page import views
from tests.waiting import until

ANYWHERE = [("127.0.0.1", 0)]


def play(scene, **more):
    """Run `scene(session, url, server)` with a server that shows a made-up gateway."""

    async def run():
        server = StatusServer(ANYWHERE, **{"view": views.gateway, "events": views.events, **more})
        async with AsyncExitStack() as stack:
            stack.push_async_callback(server.stop)
            await server.start()
            session = await stack.enter_async_context(aiohttp.ClientSession())
            host, port = server.addresses[0]
            return await scene(session, f"http://{host}:{port}", server)

    return asyncio.run(run())


async def ask(session, method, url, **more):
    """Return status, headers and body of an answer."""
    async with session.request(method, url, **more) as answer:
        return answer.status, answer.headers, await answer.text()


@pytest.mark.parametrize("path", ["/", "/fragment", "/nowhere", "/static/page.css", "/static/..%2fdocument.py"])
def test_every_answer_forbids_what_the_page_does_without(path):
    async def scene(session, url, _):
        return await ask(session, "GET", url + path)

    code, headers, _ = play(scene)
    assert code == (200 if path in {"/", "/fragment"} else 404)
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Server"] == "ntspool"


def test_files_are_named_by_what_is_in_them_and_kept_for_ever():
    async def scene(session, url, _):
        page = (await ask(session, "GET", url))[2]
        links = set(re.findall(r'(?:href|src)="(static/[^"]+)"', page))
        return [(link, *(await ask(session, "GET", f"{url}/{link}"))) for link in links]

    found = sorted(play(scene), key=lambda each: each[0].partition(".")[0] + each[0].rpartition(".")[2])
    assert [re.sub(r"\.[0-9a-f]{12}\.", ".", link) for link, *_ in found] == [
        "static/icon.svg",
        "static/page.css",
        "static/page.js",
    ]
    for _, code, headers, body in found:
        assert (code, bool(body)) == (200, True)
        assert "immutable" in headers["Cache-Control"]
    assert [headers.get("Content-Type").split(";")[0] for _, _, headers, _ in found] == [
        "image/svg+xml",
        "text/css",
        "text/javascript",
    ]


@pytest.mark.parametrize("path", ["/", "/fragment"])
def test_what_has_not_changed_is_not_sent_again(path):
    async def scene(session, url, _):
        tag = (await ask(session, "GET", url + path))[1]["ETag"]
        again = await ask(session, "GET", url + path, headers={"If-None-Match": tag})
        other = await ask(session, "GET", url + path, headers={"If-None-Match": '"other"'})
        return tag, again, other

    tag, again, other = play(scene)
    assert again[0] == 304
    assert (again[1]["ETag"], again[2]) == (tag, "")
    assert other[0] == 200


def test_head_tells_as_much_as_get_without_the_page():
    async def scene(session, url, _):
        return await ask(session, "HEAD", url)

    code, headers, body = play(scene)
    assert (code, body) == (200, "")
    assert headers["ETag"]


def test_the_plots_begin_with_the_past_if_there_is_one():
    def broken():
        raise StateError("a newer history")

    async def scene(session, url, server):
        await until(lambda: server._history.covers() > 0)
        return server._history

    view = views.gateway()
    before = play(scene, past=partial(views.history, view))
    assert len(before.points("ntp-1", "192.0.2.1", 123)) > 300
    assert len(play(scene, past=broken).points("ntp-1", "192.0.2.1", 123)) == 1


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_nobody_can_do_anything_but_read(method):
    async def scene(session, url, _):
        return (await ask(session, method, url, data=b"x" * 100_000))[0]

    assert play(scene) == 405


def test_a_crowd_costs_no_more_than_one_reader():
    made = []

    def view():
        made.append(1)
        return views.gateway()

    async def scene(session, url, _):
        await asyncio.gather(*(ask(session, "GET", url) for _ in range(50)))

    play(scene, view=view)
    assert len(made) <= 4


def test_the_page_shows_what_is_now(monkeypatch):
    monkeypatch.setattr(status, "FRESH", 0.0)
    monkeypatch.setattr(status, "DUTY", 1e9)
    shown = [views.gateway()]

    async def scene(session, url, _):
        before = (await ask(session, "GET", url))[2]
        shown[0] = views.troubled()
        return before, (await ask(session, "GET", url))[2]

    before, after = play(scene, view=lambda: shown[0])
    assert "All 4 backends serve time" in before
    assert "2 of 3 backends serve time" in after


def test_a_rendering_that_takes_long_is_shown_for_longer(monkeypatch):
    monkeypatch.setattr(status, "FRESH", 0.0)
    monkeypatch.setattr(status, "DUTY", 1e-6)
    shown = [views.gateway()]

    async def scene(session, url, _):
        await ask(session, "GET", url)
        shown[0] = views.troubled()
        return (await ask(session, "GET", url))[2]

    assert "All 4 backends serve time" in play(scene, view=lambda: shown[0])


def test_who_does_not_take_gzip_gets_the_same_in_plain():
    async def scene(session, url, _):
        small = await ask(session, "GET", url)
        plain = await ask(session, "GET", url, headers={"Accept-Encoding": "identity"})
        return small, plain

    small, plain = play(scene)
    assert small[1]["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain[1]
    assert small[2] == plain[2]


def test_one_connection_too_many_ends_the_oldest(monkeypatch):
    monkeypatch.setattr(status, "CONNECTIONS", 3)

    async def scene(session, url, server):
        idle = [await asyncio.open_connection(*server.addresses[0]) for _ in range(5)]
        for reader, _ in idle[:2]:
            assert await asyncio.wait_for(reader.read(), 10) == b""
        code = (await ask(session, "GET", url))[0]
        for _, writer in idle:
            writer.close()
        return code

    assert play(scene) == 200


def test_the_plots_are_fed_without_any_reader(monkeypatch):
    monkeypatch.setattr(status, "OBSERVE_INTERVAL", 0.01)
    seen = []

    def view():
        seen.append(1)
        return views.gateway()

    async def scene(*_):
        await until(lambda: len(seen) > 3)

    play(scene, view=view)


def test_more_can_be_served_beside_the_page():
    async def healthz(_request):
        return web.Response(text="ok")

    async def scene(session, url, _):
        return await ask(session, "GET", f"{url}/healthz")

    code, headers, body = play(scene, more=lambda app: app.router.add_get("/healthz", healthz))
    assert (code, body) == (200, "ok")
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_a_port_that_is_taken_is_told():
    async def scene():
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            server = StatusServer([taken.getsockname()], views.gateway, views.events)
            with pytest.raises(LocalError, match=r"cannot listen on 127\.0\.0\.1 port [0-9]+: Address already in use"):
                await server.start()
            await server.stop()

    asyncio.run(scene())
