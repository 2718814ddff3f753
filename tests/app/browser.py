"""Debian's Chromium, headless, driven by Playwright; what it complains of and asks for is kept."""

import shutil
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""It runs as root in CI, and is to ask nobody but the gateway for anything."""

PATIENCE = 60_000
"""Milliseconds that a browser on a busy machine may take for one thing."""


@dataclass
class Tab:
    """One page in the browser: `complaints` of its console, and the `requests` that it made."""

    page: object
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@asynccontextmanager
async def chromium():
    """Yield a function that opens a tab of its own profile; skips the test where there is no browser."""
    playwright = pytest.importorskip("playwright.async_api", reason="no Playwright: pip install playwright")
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("no chromium; .ci/daemons installs it")
    async with playwright.async_playwright() as started:
        browser = await started.chromium.launch(executable_path=path, args=list(FLAGS))

        async def tab(url, **context):
            opened = Tab(await (await browser.new_context(**context)).new_page())
            opened.page.set_default_timeout(PATIENCE)
            opened.page.on("console", lambda message: opened.complaints.append(message.text))
            opened.page.on("pageerror", lambda error: opened.complaints.append(str(error)))
            opened.page.on("request", lambda request: opened.requests.append(request.url))
            await opened.page.goto(url)
            return opened

        try:
            yield tab
        finally:
            await browser.close()
