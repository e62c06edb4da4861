"""A visitor: a headless Chromium, driven by its DevTools protocol, that joins by a link with a CSV file of digits."""

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile

from flare_edge.device.client import Client

UNTIL = """new Promise((resolve) => {
  const holds = () => (%s);
  if (holds()) return resolve();
  new MutationObserver((_, watch) => { if (holds()) { watch.disconnect(); resolve(); } })
    .observe(document, {subtree: true, childList: true, attributes: true, characterData: true});
})"""


class Browser:
    """Commands and answers are JSON, each ended by a zero byte, on the browser's file descriptors 3 and 4."""

    def __init__(self, profile):
        program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        if program is None:
            sys.exit("this needs Chromium: apt-get install chromium; or invite people with --listen")
        into, self.out = os.pipe()
        self.back, from_browser = os.pipe()
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
                   "--ignore-certificate-errors", "--remote-debugging-pipe", f"--user-data-dir={profile}"]  # fmt: skip
        self.process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{into} 4>&{from_browser}', "bash", program, *options, "about:blank"],
            pass_fds=(into, from_browser),
            stderr=subprocess.DEVNULL,
        )
        self.buffer, self.last, self.session, self.events = b"", 0, None, []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def call(self, method, **parameters):
        self.last += 1
        message = {"id": self.last, "method": method, "params": parameters}
        if self.session and not method.startswith("Browser."):
            message["sessionId"] = self.session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        while (answer := self.read()).get("id") != self.last:
            self.events.append(answer)
        return answer["result"]

    def read(self):
        while b"\0" not in self.buffer:
            self.buffer += os.read(self.back, 1 << 20)
        first, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(first)

    def evaluate(self, expression):
        found = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        return found["result"].get("value")

    def open(self, url):
        self.call("Page.enable")
        self.call("Page.navigate", url=url)
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self.read())


def visit(browser, link, path, picture):
    browser.call("Emulation.setDeviceMetricsOverride", width=360, height=740, deviceScaleFactor=1, mobile=True)
    browser.open(link)
    browser.evaluate("document.querySelector('#agree').click()")
    browser.evaluate(UNTIL % "!document.querySelector('#joined').hidden")
    root = browser.call("DOM.getDocument")["root"]["nodeId"]
    node = browser.call("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
    browser.call("DOM.setFileInputFiles", files=[path], nodeId=node)
    browser.evaluate(UNTIL % "!document.querySelector('#start').disabled")
    browser.evaluate("document.querySelector('#start').click()")
    # The end of the run, or of the gateway, if it has gone before this device could hear of the end.
    browser.evaluate(UNTIL % "/^(The run is over|Trying again)/.test(document.querySelector('#status').textContent)")
    taken = browser.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
    with open(picture, "wb") as file:
        file.write(base64.b64decode(taken["data"]))
    done, accuracy = (browser.evaluate(f"document.querySelector('#{each}').innerText") for each in ("done", "accuracy"))
    print(f"the browser trained {done} times; accuracy on its examples: {accuracy}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        with Client.join(sys.argv[1]) as client:  # waits until the gateway is there, which a browser does not
            client.leave()
        browser = Browser(profile)
        visit(browser, *sys.argv[1:])
        browser.call("Browser.close")
        browser.process.wait()
