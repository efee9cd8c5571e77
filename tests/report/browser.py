#!/usr/bin/env python3
"""Opens report pages in Chromium, light and dark, wide and narrow, and checks what only a browser knows.

    browser.py [--shots DIR] PAGE...

No console message, no request beside the page, nothing wider than the window, no label outside of its
picture, text with a contrast of 4.5, names for pictures in the accessibility tree, and every control
within reach of the keyboard. Speaks to the browser over a pipe, so that nothing needs to be installed but it.
"""

import argparse
import base64
import fcntl
import json
import os
import pathlib
import subprocess
import sys
import tempfile

WIDTHS = [1280, 400]
THEMES = ["light", "dark"]
# Longer than any step takes; a browser that hangs must not hang the checks.
PATIENCE_SECONDS = 120

CHECKS = r"""
(() => {
  const wrong = [];
  const root = document.documentElement;
  if (root.scrollWidth > root.clientWidth) wrong.push(`the page is ${root.scrollWidth} wide`);
  for (const svg of document.querySelectorAll("svg")) {
    const box = svg.viewBox.baseVal;
    for (const text of svg.querySelectorAll("text")) {
      const at = text.getBBox();
      if (at.x < -0.5 || at.y < -0.5 || at.x + at.width > box.width + 0.5 || at.y + at.height > box.height + 0.5)
        wrong.push(`label "${text.textContent}" is cut off in ${svg.getAttribute("aria-labelledby")}`);
    }
    const labels = [...svg.querySelectorAll("text.tick[text-anchor=middle]")].map((it) => it.getBBox());
    for (let i = 1; i < labels.length; i++)
      if (labels[i].x < labels[i - 1].x + labels[i - 1].width) wrong.push("labels of an axis touch");
  }
  const parse = (it) => (it.match(/[\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => {
    const part = (it) => ((it /= 255) <= 0.04045 ? it / 12.92 : ((it + 0.055) / 1.055) ** 2.4);
    return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  };
  const ground = (it) => {
    for (; it; it = it.parentElement) {
      const color = parse(getComputedStyle(it).backgroundColor);
      if (color.length === 3 || color[3] > 0) return color;
    }
    return [255, 255, 255];
  };
  const contrast = (a, b) => {
    const [x, y] = [light(a), light(b)].sort((p, q) => q - p);
    return (x + 0.05) / (y + 0.05);
  };
  const seen = new Set();
  for (const it of document.querySelectorAll("main *")) {
    const own = [...it.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || it.closest("title, desc") || it.matches(".sign")) continue;
    const style = getComputedStyle(it);
    const color = parse(it instanceof SVGElement ? style.fill : style.color);
    const ratio = contrast(color, ground(it));
    const what = `${it.tagName}.${it.getAttribute("class") || ""} has a contrast of ${ratio.toFixed(2)}`;
    if (ratio < 4.5 && !seen.has(what)) { seen.add(what); wrong.push(what); }
  }
  for (const rect of document.querySelectorAll("svg rect:not(.band)")) {
    const style = getComputedStyle(rect);
    const paper = parse(getComputedStyle(document.body).backgroundColor);
    const seenAs = [style.fill, style.stroke].filter((it) => it.startsWith("rgb")).map(parse);
    if (style.opacity === "1" && !seenAs.some((it) => contrast(it, paper) >= 3)) {
      const what = `a bar .${rect.getAttribute("class")} has a contrast of less than 3`;
      if (!seen.has(what)) { seen.add(what); wrong.push(what); }
    }
  }
  return { wrong, paper: getComputedStyle(document.body).backgroundColor,
           controls: document.querySelectorAll("summary, [tabindex='0']").length,
           pictures: document.querySelectorAll("svg[role=img]").length };
})()
"""

# A control in a closed box cannot be focused; the visible ones must be.
REACHABLE = r"""[...document.querySelectorAll("summary, [tabindex='0']")].filter((it) => it.checkVisibility()).length"""


class Browser:
    """A headless Chromium and its pipe."""

    def __init__(self, profile):
        ours_in, theirs_out = os.pipe()
        theirs_in, ours_out = os.pipe()

        def connect():
            # The pipes may have these numbers themselves.
            commands, answers = (fcntl.fcntl(it, fcntl.F_DUPFD, 10) for it in (theirs_in, theirs_out))
            os.dup2(commands, 3)
            os.dup2(answers, 4)

        command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                   "--disable-dev-shm-usage", "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"]
        self.process = subprocess.Popen(command, preexec_fn=connect, close_fds=False,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(theirs_in)
        os.close(theirs_out)
        self.reader, self.writer = os.fdopen(ours_in, "rb"), os.fdopen(ours_out, "wb")
        self.events, self.buffer, self.last, self.session = [], b"", 0, None

    def receive(self):
        while b"\0" not in self.buffer:
            chunk = os.read(self.reader.fileno(), 1 << 16)
            if not chunk:
                sys.exit("the browser has ended")
            self.buffer += chunk
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def ask(self, method, **params):
        self.last += 1
        message = {"id": self.last, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        self.writer.write(json.dumps(message).encode() + b"\0")
        self.writer.flush()
        while True:
            answer = self.receive()
            if answer.get("id") == self.last:
                if "error" in answer:
                    sys.exit(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def wait(self, method):
        while not any(it.get("method") == method for it in self.events):
            self.events.append(self.receive())

    def value(self, expression):
        found = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in found:
            sys.exit(f"a check failed: {found['exceptionDetails']}")
        return found["result"].get("value")

    def open(self):
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ["Page", "Runtime", "Log", "Network", "Accessibility"]:
            self.ask(f"{domain}.enable")

    def show(self, url, width, theme):
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])
        self.events = []
        self.ask("Page.navigate", url=url)
        self.wait("Page.loadEventFired")

    def press(self, key, code):
        text = {"text": "\r"} if key == "Enter" else {}
        self.ask("Input.dispatchKeyEvent", type="keyDown", key=key, code=key, windowsVirtualKeyCode=code, **text)
        self.ask("Input.dispatchKeyEvent", type="keyUp", key=key, code=key, windowsVirtualKeyCode=code)


def check(browser, page, width, theme, shots):
    """What is wrong with a page as it is shown."""
    url = page.resolve().as_uri()
    browser.show(url, width, theme)
    found = browser.value(CHECKS)
    wrong = found["wrong"]
    if not found["pictures"]:
        wrong.append("there are no pictures")
    tree = browser.ask("Accessibility.getFullAXTree")["nodes"]
    for node in tree:
        role = node.get("role", {}).get("value")
        if role in ["image", "img", "figure"] and role != "figure" and not node.get("name", {}).get("value"):
            wrong.append(f"a picture has no name: {node['nodeId']}")
    if sum(it.get("role", {}).get("value") in ["image", "img"] for it in tree) < found["pictures"]:
        wrong.append("a picture is not in the accessibility tree")
    # Once through the page; what was focused is marked, so that nothing counts twice.
    reachable = browser.value(REACHABLE)
    if width == WIDTHS[0]:
        for _ in range(reachable):
            browser.press("Tab", 9)
            browser.value("document.activeElement.dataset.reached = 1")
        reached = browser.value("document.querySelectorAll('[data-reached]:not(body)').length")
        if reached != reachable:
            wrong.append(f"the keyboard reaches {reached} of {reachable} controls")
        browser.value("document.querySelector('summary').focus()")
        browser.press("Enter", 13)
        if not browser.value("document.querySelector('details').open"):
            wrong.append("the keyboard opens no table")
    for event in browser.events:
        method, params = event.get("method"), event.get("params", {})
        if method in ["Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"]:
            wrong.append(f"the console says: {json.dumps(params)[:300]}")
        if method == "Network.requestWillBeSent" and params["request"]["url"] != url:
            wrong.append(f"it loads {params['request']['url']}")
    if shots:
        shot = browser.ask("Page.captureScreenshot", captureBeyondViewport=True)
        name = f"{page.stem}-{theme}-{width}.png"
        (pathlib.Path(shots) / name).write_bytes(base64.b64decode(shot["data"]))
    return wrong, found["paper"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shots", help="where pictures of the pages go")
    parser.add_argument("pages", nargs="+", type=pathlib.Path)
    args = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(profile)
        watchdog = subprocess.Popen(["sh", "-c", f"sleep {PATIENCE_SECONDS}; kill {browser.process.pid}"])
        try:
            browser.open()
            for page in args.pages:
                papers = set()
                for theme in THEMES:
                    for width in WIDTHS:
                        wrong, paper = check(browser, page, width, theme, args.shots)
                        papers.add(paper)
                        for it in wrong:
                            print(f"{page.name}, {theme}, {width}: {it}")
                        failed |= bool(wrong)
                if len(papers) != len(THEMES):
                    print(f"{page.name}: light and dark look alike")
                    failed = True
        finally:
            watchdog.kill()
            browser.process.kill()
            browser.process.wait()
    if failed:
        sys.exit(1)
    print(f"{len(args.pages)} pages are as they should be, in {len(THEMES)} themes and {len(WIDTHS)} widths")


main()
