"""A headless Chromium that opens one page: what it asked for, what it complained about, what it shows.

The README's pictures: python tests/support/browser.py DIR/report.html docs/report-1280.png 1280 1000
"""

import asyncio
import base64
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_START_S, _ANSWER_S = 60, 60
_PHONE_PX = 600


@dataclass
class Page:
    """A page that has been loaded."""

    requests: list[str] = field(default_factory=list)  # every address that it asked for, its own first
    complaints: list[str] = field(default_factory=list)  # of the console, errors and warnings
    loaded_s: float = 0.0
    value: Any = None  # of the script that was asked for


def opened(
    page: Path | str,
    script: str = "",
    *,
    cookies: Mapping[str, str] | None = None,
    ready: str = "",
    width: int = 1280,
    height: int = 900,
    dark: bool = False,
    picture: Path | None = None,
) -> Page:
    """Open a file or an address in a window of this size, evaluate a script in it, and take a picture if asked to.

    A page that draws itself later is waited for until it has the text `ready`.
    """
    address = page if isinstance(page, str) else page.resolve().as_uri()
    with _chromium() as url:
        return asyncio.run(_visit(url, address, script, (width, height), dark, picture, cookies or {}, ready))


@contextmanager
def _chromium() -> Iterator[str]:
    """The debugging address of a Chromium's first page; the browser ends with the block."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        command = [CHROMIUM, *flags, "--remote-debugging-port=0", f"--user-data-dir={home}", "about:blank"]
        browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield _address(browser, Path(home) / "DevToolsActivePort")
        finally:
            browser.terminate()
            browser.wait(timeout=20)


def _address(browser: "subprocess.Popen[bytes]", written: Path) -> str:
    end = time.monotonic() + _START_S
    while time.monotonic() < end and browser.poll() is None:
        if written.exists() and (lines := written.read_text().split()):
            return f"http://127.0.0.1:{lines[0]}"
        time.sleep(0.05)
    raise RuntimeError("Chromium did not start")


async def _visit(
    url: str,
    address: str,
    script: str,
    size: tuple[int, int],
    dark: bool,
    picture: Path | None,
    cookies: Mapping[str, str],
    ready: str,
) -> Page:
    async with aiohttp.ClientSession() as session, session.get(f"{url}/json/list") as answer:
        target = next(each for each in await answer.json() if each["type"] == "page")
        async with session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
            tab = _Tab(socket)
            theme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
            for domain in ("Page", "Network", "Runtime", "Log"):
                await tab.call(f"{domain}.enable")
            await tab.call("Emulation.setEmulatedMedia", features=theme)
            window = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size[0] < _PHONE_PX}
            await tab.call("Emulation.setDeviceMetricsOverride", **window)
            for name, value in cookies.items():
                await tab.call("Network.setCookie", name=name, value=value, url=address)
            began = time.monotonic()
            await tab.call("Page.navigate", url=address)
            await tab.until("Page.loadEventFired")
            await tab.shows(ready)
            tab.page.loaded_s = time.monotonic() - began
            answer = await tab.call("Runtime.evaluate", expression=script, returnByValue=True)
            tab.page.value = answer["result"].get("value")
            if picture:
                taken = await tab.call("Page.captureScreenshot")
                picture.write_bytes(base64.b64decode(taken["data"]))
            return tab.page


class _Tab:
    """Commands of the DevTools protocol, and what the page did meanwhile."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket, self._number = socket, 0
        self._events: list[str] = []
        self.page = Page()

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": params})
        while (message := await self._next()).get("id") != self._number:
            pass
        if "error" in message:
            raise RuntimeError(f"{method}: {message['error']}")
        return dict(message["result"])

    async def until(self, event: str) -> None:
        while event not in self._events:
            await self._next()

    async def shows(self, text: str) -> None:
        script, end_s = f"document.body.innerText.includes({json.dumps(text)})", time.monotonic() + _ANSWER_S
        while not (await self.call("Runtime.evaluate", expression=script))["result"]["value"]:
            assert time.monotonic() < end_s, f"{text!r} never came"
            await asyncio.sleep(0.2)

    async def _next(self) -> dict[str, Any]:
        message = json.loads((await asyncio.wait_for(self._socket.receive(), _ANSWER_S)).data)
        self._note(message.get("method", ""), message.get("params", {}))
        return dict(message)

    def _note(self, event: str, params: dict[str, Any]) -> None:
        self._events.append(event)
        if event == "Network.requestWillBeSent":
            self.page.requests.append(params["request"]["url"])
        elif event == "Runtime.exceptionThrown":
            self.page.complaints.append(str(params["exceptionDetails"]))
        elif event == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.page.complaints.append(params["entry"]["text"])
        elif event == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.page.complaints.append(str(params["args"]))


if __name__ == "__main__":
    opened(Path(sys.argv[1]), picture=Path(sys.argv[2]), width=int(sys.argv[3]), height=int(sys.argv[4]))
