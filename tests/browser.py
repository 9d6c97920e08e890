"""A headless Chromium, driven over two pipes by its own protocol.

    with Chromium(tmp_path) as chromium:
        page = chromium.page(width=1280, height=800)        # as private windows are: nothing is shared
        page.open("http://127.0.0.1:8000/")
        page.click("button")
        page.wait("document.title === 'done'")

    us ── {"id": 1, "method": …} NUL ──> descriptor 3 of Chromium, and answers and events on 4

A page remembers what went wrong in it: uncaught exceptions, what the browser refused to load or run, and
dialogs that opened.
"""

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import time

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SECONDS = 30        # for what a busy machine may take long for

_OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--disable-extensions", "--disable-background-networking", "--disable-component-update",
            "--disable-sync", "--mute-audio", "--hide-scrollbars", "--password-store=basic", "--no-proxy-server",
            "--disable-features=Translate,MediaRouter,OptimizationHints", "--remote-debugging-pipe")

_KEYS = {"Enter": (13, "\r"), "Escape": (27, ""), "Tab": (9, "")}


class Failed(AssertionError):
    """The browser refused, or what was waited for did not come."""


class Chromium:
    """See the top of this file."""

    def __init__(self, folder):
        # Its profile; what Chromium keeps elsewhere goes there, too.
        home = folder / "chromium"
        home.mkdir()
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        self._log = open(folder / "chromium.log", "wb")
        command = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
        self._process = subprocess.Popen(
            ["bash", "-c", command, "chromium", PROGRAM, *_OPTIONS, f"--user-data-dir={home}"],
            pass_fds=(theirs_in, theirs_out), stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log,
            env={**os.environ, "HOME": str(home)}, start_new_session=True)
        os.close(theirs_in)
        os.close(theirs_out)
        self._buffer = b""
        self._last = 0
        self._answers = {}
        self.pages = {}         # session -> Page

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        with contextlib.suppress(Failed, OSError):
            self.ask("Browser.close")
        os.close(self._out)
        try:
            self._process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._in)
        self._log.close()

    def page(self, width=1280, height=800, dark=False):
        """A new Page with cookies of its own."""
        context = self.ask("Target.createBrowserContext")["browserContextId"]
        target = self.ask("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.pages[session] = page = Page(self, session, context)
        for domain in ("Page", "Runtime", "Log"):
            page.ask(f"{domain}.enable")
        page.resize(width, height)
        page.look(dark)
        return page

    def ask(self, method, session=None, **parameters):
        """Ask for something and wait until it is done; the result."""
        self._last += 1
        question = {"id": self._last, "method": method, "params": parameters}
        if session is not None:
            question["sessionId"] = session
        data = json.dumps(question).encode() + b"\0"
        while data:
            data = data[os.write(self._out, data):]
        until = time.monotonic() + SECONDS
        while self._last not in self._answers:
            if not self.take(until - time.monotonic()):
                raise Failed(f"Chromium did not answer {method}")
        answer = self._answers.pop(self._last)
        if "error" in answer:
            raise Failed(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def take(self, seconds):
        """Take what Chromium says next; False if it says nothing for so long."""
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._in], [], [], max(0, seconds))
            if not ready:
                return False
            data = os.read(self._in, 1 << 20)
            if not data:
                raise Failed("Chromium has ended")
            self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        said = json.loads(message)
        if "id" in said:
            self._answers[said["id"]] = said
        elif said.get("sessionId") in self.pages:
            self.pages[said["sessionId"]].happened(said["method"], said["params"])
        return True


class Page:
    """One page; `problems` lists what went wrong in it."""

    def __init__(self, chromium, session, context):
        self.problems = []
        self._chromium = chromium
        self._session = session
        self._context = context
        self._dialogs = 0

    def ask(self, method, **parameters):
        return self._chromium.ask(method, self._session, **parameters)

    def happened(self, method, params):
        if method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.problems.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.problems.append(params["entry"]["text"] + " " + params["entry"].get("url", ""))
        elif method == "Page.javascriptDialogOpening":
            self.problems.append(f"a dialog: {params['message']}")
            self._dialogs += 1

    def close(self):
        self._chromium.ask("Target.disposeBrowserContext", browserContextId=self._context)
        del self._chromium.pages[self._session]

    # -- what it shows -------------------------------------------------------

    def open(self, url):
        self.ask("Page.navigate", url=url)

    def go(self, address):
        """To another page of the console, by what stands behind # in its address."""
        self.run(f"location.hash = {json.dumps(address)}")

    def resize(self, width, height):
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                 mobile=width < 600)

    def look(self, dark, still=True):
        """Dark or light, and without motion."""
        self.ask("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce" if still else "no-preference"}])

    def run(self, expression):
        """The value of a JavaScript expression; a promise is waited for."""
        answer = self.ask("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True,
                          userGesture=True)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise Failed(details.get("exception", {}).get("description") or details["text"])
        return answer["result"].get("value")

    def wait(self, expression):
        """Return the value of an expression as soon as it is true; while a page changes it may fail."""
        until = time.monotonic() + SECONDS
        while True:
            with contextlib.suppress(Failed):
                value = self.run(expression)
                if value:
                    return value
            if time.monotonic() > until:
                raise Failed(f"{expression} did not come true; the page shows:\n"
                             f"{self.run('document.body?.innerText')}\nproblems: {self.problems}")
            self._chromium.take(0.02)

    def text(self, selector="main:not([hidden]), #main"):
        return self.run(f"document.querySelector({json.dumps(selector)})?.innerText")

    def wait_for(self, text, selector="body"):
        """Wait until an element shows this text."""
        self.wait(f"document.querySelector({json.dumps(selector)})?.innerText.includes({json.dumps(text)})")

    def picture(self, path, whole=False):
        """Write what is seen to a PNG file; or all of the page."""
        data = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))

    # -- what is done to it --------------------------------------------------

    def click(self, selector):
        """Click into the middle of an element, as a mouse does."""
        place = self.wait(f"""(() => {{
            const element = document.querySelector({json.dumps(selector)});
            if (!element || element.disabled) return null;
            element.scrollIntoView({{block: "center"}});
            const box = element.getBoundingClientRect();
            return box.width ? {{x: box.x + box.width / 2, y: box.y + box.height / 2}} : null;
        }})()""")
        for kind in ("mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **place)

    def fill(self, selector, text):
        """Put text into a field in place of what is there."""
        self.wait(f"(() => {{ const field = document.querySelector({json.dumps(selector)}); "
                  f"field?.focus(); field?.select(); return field; }})() !== null")
        self.ask("Input.insertText", text=text)

    def press(self, key, **more):
        """Press a key: a character, or one of _KEYS."""
        code, text = _KEYS.get(key, (ord(key[0].upper()), key))
        fields = {"key": key, "windowsVirtualKeyCode": code, **more}
        self.ask("Input.dispatchKeyEvent", type="keyDown", **({"text": text} if text else {}), **fields)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **fields)
