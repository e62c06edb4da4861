"""A headless Chromium for tests, spoken to over a pipe in its DevTools protocol; it reaches this host alone.

A message is JSON ended by a zero byte, on file descriptors 3 (to the browser) and 4 (from it). A tab's workers are
watched like the tab itself.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")

# Resolves with true when a condition holds, which is tried again whenever the page changes, or with the page's text.
UNTIL = """new Promise((resolve) => {
  const holds = () => (%s);
  if (holds()) return resolve(true);
  const watch = new MutationObserver(() => { if (holds()) { watch.disconnect(); resolve(true); } });
  setTimeout(() => resolve(document.body.innerText), 30_000);
  watch.observe(document, {subtree: true, childList: true, attributes: true, characterData: true});
})"""


def find_browser() -> str | None:
    """Return the path of a Chromium, or None."""
    return next((found for program in PROGRAMS if (found := shutil.which(program))), None)


class Browser:
    """A running Chromium; use it as a context manager."""

    def __init__(self, program: str) -> None:
        self._profile = tempfile.TemporaryDirectory(prefix="flare-chromium-", ignore_cleanup_errors=True)
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()
        settings = [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
            "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--disable-extensions", "--proxy-server=127.0.0.1:9", "--remote-debugging-pipe",
            "--ignore-certificate-errors",
            f"--user-data-dir={self._profile.name}", "about:blank",
        ]  # fmt: skip
        self._process = subprocess.Popen(
            ["bash", "-c", 'exec "$@" 3<&"$IN" 4>&"$OUT"', "bash", program, *settings],
            env=os.environ | {"IN": str(to_browser), "OUT": str(from_browser)},
            pass_fds=(to_browser, from_browser),
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._buffer = b""
        self._last = 0
        self.events: list[dict[str, Any]] = []
        self._context = self.call("Target.createBrowserContext")["browserContextId"]

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *failure: object) -> None:
        try:
            self.call("Browser.close")
        finally:
            os.close(self._out)
            os.close(self._in)
            self._process.wait(10)
            self._profile.cleanup()

    def tab(self, url: str, *, width: int = 1280, height: int = 900, dark: bool = False) -> Tab:
        """Open a page in a new tab, in a window of a size and in a colour scheme, and wait until it has been loaded.

        Tabs share what a browser keeps, until :meth:`forget`.
        """
        return Tab(self, url, width, height, dark)

    def forget(self) -> None:
        """Close all tabs, and remove what they have kept."""
        self.call("Target.disposeBrowserContext", browserContextId=self._context)
        self._context = self.call("Target.createBrowserContext")["browserContextId"]

    def open(self) -> str:
        """Return a new, empty tab."""
        target: str = self.call("Target.createTarget", url="about:blank", browserContextId=self._context)["targetId"]
        return target

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result; what happens meanwhile is added to ``events``."""
        number = self.send(method, session, **parameters)
        while True:
            answer = self.read()
            if answer.get("id") != number:
                continue
            if "error" in answer:
                raise AssertionError(f"{method}: {answer['error']}")
            result: dict[str, Any] = answer["result"]
            return result

    def send(self, method: str, session: str | None = None, **parameters: Any) -> int:
        """Send a command, and return its number."""
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        left = memoryview(json.dumps(message).encode() + b"\0")
        while left:
            left = left[os.write(self._out, left) :]
        return self._last

    def read(self) -> dict[str, Any]:
        """Return the next message, having noted it if it is an event; a new worker is watched, and then let run."""
        while b"\0" not in self._buffer:
            more = os.read(self._in, 1 << 20)
            if not more:
                raise AssertionError(f"the browser ended with {self._process.wait(10)}")
            self._buffer += more
        first, self._buffer = self._buffer.split(b"\0", 1)
        message: dict[str, Any] = json.loads(first)
        if "method" in message:
            self.events.append(message)
        if message.get("method") == "Target.attachedToTarget" and message["params"]["waitingForDebugger"]:
            worker = message["params"]["sessionId"]
            for method in ("Network.enable", "Runtime.enable", "Runtime.runIfWaitingForDebugger"):
                self.send(method, worker)
        return message


class Tab:
    """A tab of a browser."""

    def __init__(self, browser: Browser, url: str, width: int, height: int, dark: bool) -> None:
        self._browser = browser
        browser.events.clear()
        self._target = browser.open()
        self._session = browser.call("Target.attachToTarget", targetId=self._target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "DOM"):
            self.call(f"{domain}.enable")
        self.call("Target.setAutoAttach", autoAttach=True, waitForDebuggerOnStart=True, flatten=True)
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", media="", features=scheme)
        self.call("Page.navigate", url=url)
        self._wait_for("Page.loadEventFired")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command to this tab and return its result."""
        return self._browser.call(method, self._session, **parameters)

    def reload(self) -> None:
        """Load the page again."""
        loaded = len(self._of("Page.loadEventFired"))
        self.call("Page.reload")
        self._wait_for("Page.loadEventFired", loaded + 1)

    def close(self) -> None:
        """Close the tab, as a person does: at once."""
        self._browser.call("Target.closeTarget", targetId=self._target)

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression, of a promise's when it is kept."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise AssertionError(found["exceptionDetails"])
        return found["result"].get("value")

    def until(self, condition: str) -> None:
        """Wait until a JavaScript expression is true."""
        found = self.evaluate(UNTIL % condition)
        assert found is True, f"{condition} is still false; the page says: {found}"

    def text(self, selector: str) -> str:
        """Return an element's text, as shown."""
        shown: str = self.evaluate(f"document.querySelector({json.dumps(selector)}).innerText")
        return shown

    def click(self, selector: str) -> None:
        """Press the mouse's button on the middle of an element, which is scrolled to."""
        x, y = self.evaluate(
            f"(() => {{ const it = document.querySelector({json.dumps(selector)});"
            "it.scrollIntoView({block: 'center'}); const box = it.getBoundingClientRect();"
            "return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        self.drag([(x, y)])

    def drag(self, places: list[tuple[float, float]]) -> None:
        """Press the mouse's button at the first place, move through the others, and release it."""
        moves = [("mouseMoved", place) for place in places[1:]]
        for kind, (x, y) in (("mousePressed", places[0]), *moves, ("mouseReleased", places[-1])):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)

    def press(self, key: str) -> None:
        """Press and release a key."""
        codes = {"Tab": 9, "Enter": 13, " ": 32, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
        text = {"Enter": "\r", " ": " "}.get(key, "")
        for kind in ("keyDown", "keyUp"):
            extra = {"text": text} if text and kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=codes[key], **extra)

    def choose(self, selector: str, path: Path) -> None:
        """Choose a file in a file input."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", files=[str(path)], nodeId=node)

    def screenshot(self, path: Path, *, whole: bool = True) -> None:
        """Write a picture of the page as PNG."""
        taken = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(taken["data"]))

    def requests(self) -> list[str]:
        """Return the addresses that the page and its workers asked for since it was opened."""
        return [each["params"]["request"]["url"] for each in self._of("Network.requestWillBeSent")]

    def complaints(self) -> list[str]:
        """Return errors and warnings of the console, of scripts and of the security policy."""
        logged = [each["params"]["entry"]["text"] for each in self._of("Log.entryAdded")]
        thrown = [json.dumps(each["params"]) for each in self._of("Runtime.exceptionThrown")]
        said = [json.dumps(each["params"]["args"]) for each in self._of("Runtime.consoleAPICalled")]
        return logged + thrown + said

    def _of(self, method: str) -> list[dict[str, Any]]:
        return [each for each in self._browser.events if each.get("method") == method]

    def _wait_for(self, method: str, count: int = 1) -> None:
        while len(self._of(method)) < count:
            self._browser.read()
