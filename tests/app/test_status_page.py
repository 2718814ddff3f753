"""The status page of a gateway process in a real browser."""

import asyncio
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from ntspool.app.adminclient import call
from tests.app.browser import chromium
from tests.app.pool import lay_out
from tests.interop.lab import free_port
from tests.processes import end_workers
from tests.waiting import until

DESKTOP, PHONE = {"width": 1440, "height": 900}, {"width": 360, "height": 740}


@asynccontextmanager
async def serving(around):
    """Run a gateway process with a status page, and yield where that is; its log is in `log`."""
    port = free_port("127.0.0.1")
    with around.config.open("a") as file:
        file.write(f"status: {{listen: ['127.0.0.1:{port}']}}\n")
    log = around.directory / "log"
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "ntspool", "serve", "--config", str(around.config), stderr=out
        )
    try:
        await until(lambda: '"event": "serving"' in log.read_text() or process.returncode is not None)
        assert process.returncode is None, log.read_text()
        yield f"http://127.0.0.1:{port}/"
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        end_workers(around.state)


@dataclass
class Stage:
    """What all tests of this module play on: a browser, and a gateway process of which two backends are UP."""

    tab: object
    url: str
    servers: dict
    state: Path


@asynccontextmanager
async def staged(around):
    around.configure(panic=100)
    async with chromium() as tab, around.time_servers() as servers, serving(around) as url:
        yield Stage(tab, url, servers, around.state)


@pytest.fixture(scope="module")
def play(tmp_path_factory, pki):
    """Yield a function that runs `scene(stage)`."""
    made = staged(lay_out(tmp_path_factory.mktemp("pool"), pki))
    with asyncio.Runner() as runner:
        stage = runner.run(made.__aenter__())
        yield lambda scene: runner.run(scene(stage))
        runner.run(made.__aexit__(None, None, None))


def check(opened, url):
    """Fail unless the browser had nothing to complain of and asked nobody else for anything."""
    assert opened.complaints == []
    assert opened.requests
    assert all(each.startswith(url) for each in opened.requests), opened.requests


def test_the_page_says_so_when_it_has_lost_the_gateway_and_when_it_is_back(play):
    async def scene(stage):
        opened = await stage.tab(stage.url)
        await opened.page.wait_for_selector("text=All 2 backends serve time")
        await opened.page.route("**/fragment", lambda route: route.abort())
        await opened.page.wait_for_selector("#news:has-text('No contact with the gateway since')")
        await opened.page.unroute("**/fragment")
        await opened.page.wait_for_selector("#news:has-text('In contact with the gateway again')")

    play(scene)


def test_a_page_that_stays_open_over_an_upgrade_loads_itself_anew(play):
    async def scene(stage):
        opened = await stage.tab(stage.url)
        page = opened.page
        await page.evaluate("window.mark = 'not reloaded'")

        async def upgraded(route):
            answer = await route.fetch()
            await route.fulfill(
                response=answer, body=(await answer.text()).replace('data-version="', 'data-version="9 ')
            )

        async with page.expect_navigation():
            await page.route("**/fragment", upgraded, times=1)
        assert await page.evaluate("window.mark") is None
        await page.wait_for_selector(".live")
        check(opened, stage.url)

    play(scene)


def test_the_page_is_whole_dark_and_light_on_desktop_and_phone_and_without_javascript(play):
    async def scene(stage):
        grounds = set()
        for scheme in ("dark", "light"):
            for size in (DESKTOP, PHONE):
                for scripted in (True, False):
                    opened = await stage.tab(
                        stage.url, viewport=size, color_scheme=scheme, java_script_enabled=scripted
                    )
                    page = opened.page
                    await page.wait_for_selector("h1:has-text('All 2 backends serve time')")
                    assert await page.locator("#pause").is_visible() == scripted
                    if scripted:
                        wide = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
                        assert await page.evaluate(wide), size
                        ground = "getComputedStyle(document.body).backgroundColor"
                        grounds.add((scheme, await page.evaluate(ground)))
                    check(opened, stage.url)
                    await page.context.close()
        assert len({ground for _, ground in grounds}) == len(grounds) == 2

    play(scene)


def test_nothing_moves_for_those_who_do_not_want_it(play):
    async def scene(stage):
        moving = {}
        for wish in ("reduce", "no-preference"):
            opened = await stage.tab(stage.url, reduced_motion=wish)
            await opened.page.wait_for_selector(".live")
            moving[wish] = await opened.page.evaluate("document.getAnimations().length")
        assert moving == {"reduce": 0, "no-preference": 1}

    play(scene)


def test_the_keyboard_reaches_everything_and_shows_where_it_is(play):
    async def scene(stage):
        opened = await stage.tab(stage.url, viewport=DESKTOP)
        page = opened.page
        await page.wait_for_selector("#pause:visible")
        focused = "document.activeElement.id || document.activeElement.className || document.activeElement.tagName"
        await page.keyboard.press("Tab")
        assert await page.evaluate(focused) == "skip"
        assert await page.locator(".skip").bounding_box() is not None
        assert (await page.locator(".skip").bounding_box())["x"] >= 0
        await page.keyboard.press("Tab")
        assert await page.evaluate(focused) == "pause"
        assert await page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        await page.keyboard.press("Enter")
        assert await page.locator("#pause").get_attribute("aria-pressed") == "true"
        await page.keyboard.press("Shift+Tab")
        await page.keyboard.press("Enter")
        assert await page.evaluate(focused) == "main"
        check(opened, stage.url)

    play(scene)


def test_a_backend_that_stops_returns_and_is_drained_is_seen_to_without_reloading(play):
    async def scene(stage):
        opened = await stage.tab(stage.url, viewport=DESKTOP)
        page = opened.page
        await page.wait_for_selector("text=All 2 backends serve time")
        await page.evaluate("window.mark = 'not reloaded'")
        assert (await page.title()).startswith("2/2 UP")
        await stage.servers["ntp-2"].stop()
        card = page.locator("article[data-name='ntp-2']")
        await card.locator("header", has_text="DOWN").wait_for()
        assert "no answer" in await card.locator("> .cause").inner_text() or "refused" in await card.inner_text()
        await page.wait_for_selector("h1:has-text('1 of 2 backends serve time')")
        assert "ntp-2 is DOWN" in await page.locator("#news").inner_text()
        assert (await page.title()).startswith("1/2 UP")
        await page.wait_for_selector("#events >> text=backend DOWN")
        await stage.servers["ntp-2"].start()
        await page.wait_for_selector("h1:has-text('All 2 backends serve time')")
        assert "ntp-2 is UP" in await page.locator("#news").inner_text()
        await asyncio.to_thread(call, stage.state / "admin.sock", "POST", "/v1/backends/ntp-1/drain")
        await page.wait_for_selector("article[data-name='ntp-1'] >> text=DRAIN")
        assert "ntp-1 is DRAIN" in await page.locator("#news").inner_text()
        assert await page.evaluate("window.mark") == "not reloaded"
        check(opened, stage.url)

    play(scene)
