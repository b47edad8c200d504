"""Chromium, driven by Playwright; without them a test is skipped, saying what to install."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

FOLDER: Final = Path(__file__).parents[1] / "browser"
AXE: Final = FOLDER / "node_modules" / "axe-core" / "axe.min.js"
PROGRAMS: Final = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS: Final = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
EXPECTED: Final = ("Failed to load resource", "WebSocket connection to")
"""What a browser itself writes of a node that is gone or refuses; our own faults are others."""


def axe() -> Path:
    """The accessibility checker; skips the calling test where it is not installed."""
    if not AXE.is_file():
        pytest.skip("axe-core is not installed: `npm ci --prefix tests/browser`")
    return AXE


def _chromium() -> str:
    for program in PROGRAMS:
        if (found := shutil.which(program)) is not None:
            return found
    pytest.skip("no Chromium: `apt-get install chromium`")


class Browser:
    """Pages, each in a profile of its own, and what went wrong in them."""

    def __init__(self, chromium: Any) -> None:
        self._chromium = chromium
        self.faults: list[str] = []

    async def page(self, url: str, *, width: int = 1280, scheme: str = "light") -> Any:
        """Return a page that is loaded and whose stream is live."""
        size = {"width": width, "height": 900}
        context = await self._chromium.new_context(viewport=size, color_scheme=scheme)
        page = await context.new_page()
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", self._note)
        await page.goto(url)
        await page.wait_for_selector("#connection[data-state=live]", timeout=30_000)
        return page

    def _note(self, message: Any) -> None:
        is_expected = any(words in message.text for words in EXPECTED)
        if message.type == "error" and not is_expected:
            self.faults.append(message.text)


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """A browser; at the end, no page may have had a fault."""
    api = pytest.importorskip(
        "playwright.async_api",
        reason="Playwright is not installed: `pip install -r .ci/requirements-browser.txt`",
    )
    program = _chromium()
    async with api.async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        try:
            made = Browser(chromium)
            yield made
            assert not made.faults, made.faults
        finally:
            await chromium.close()
