"""A real browser to look at the pages that commands write: Debian's Chromium, without a window.

It is told what to do over two pipes, in the words of the DevTools protocol, so it listens on no port.
"""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, Optional

import msgspec
import pytest

CHROMIUM_VARIABLE: Final = "SCHEDULER_REPO_TEST_CHROMIUM"
_OPTIONS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--remote-debugging-pipe",
)
# The descriptors on which it hears and speaks are given by Chromium, the lowest for copies of them are ours.
_ITS_EAR, _ITS_MOUTH, _LOWEST_COPY = 3, 4, 10
_TIMEOUT: Final = 60.0
_LOADED: Final = """
new Promise(done => document.readyState == 'complete' ? done() : addEventListener('load', done))
"""
_COMPLAINTS: Final = frozenset({"Runtime.exceptionThrown", "Log.entryAdded"})


class ChromiumMissing(Exception):
    """There is no browser to look at pages with."""


class Page:
    """A page that is open: what it asked for, what went wrong in it, and what it shows."""

    def __init__(self, browser: "Chromium", target: str, session: str) -> None:
        self.requests: list[str] = []  # the page itself aside
        self.complaints: list[str] = []
        self._browser = browser
        self._target = target
        self._session = session

    def call(self, method: str, **parameters: object) -> Mapping[str, object]:
        """Call a method of the DevTools protocol for this page, and return its answer."""
        return self._browser.call(method, parameters, session=self._session)

    def evaluate(self, expression: str) -> object:
        """Evaluate an expression of JavaScript in the page, awaited if it is a promise."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise ValueError(f"{expression}: {answer['exceptionDetails']}")
        return msgspec.convert(answer["result"], dict[str, object]).get("value")

    def show_as(self, media: Literal["screen", "print"], scheme: Literal["light", "dark"] = "light") -> None:
        """Show the page as on paper or on a screen, to readers who prefer light or dark."""
        preferred = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", media=media, features=preferred)

    def resize(self, width: int, height: int = 900) -> None:
        """Give the window another size, in CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )

    def take_picture(self, path: Path) -> None:
        """Write the whole page as PNG, as long as it is."""
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(str(answer["data"])))

    def close(self) -> None:
        """Close it."""
        self._browser.call("Target.closeTarget", {"targetId": self._target})

    def note(self, method: str, parameters: Mapping[str, object]) -> None:
        """Note an event."""
        if method == "Network.requestWillBeSent":
            request = msgspec.convert(parameters["request"], dict[str, object])
            if parameters.get("type") != "Document" or parameters.get("frameId") != self._target:
                self.requests.append(str(request["url"]))
        elif method in _COMPLAINTS or (
            method == "Runtime.consoleAPICalled" and parameters["type"] in {"error", "warning", "assert"}
        ):
            self.complaints.append(json.dumps(parameters))


class Chromium:
    """A browser that is running; made by ``running_chromium``."""

    def __init__(self, hear: int, speak: int) -> None:
        self._hear = hear
        self._speak = speak
        self._received = b""
        self._last_id = 0
        self._pages: dict[str, Page] = {}

    def open(self, path: Path, *, width: int = 1200) -> Page:
        """Open a file, and return once it is loaded with all that it asks for."""
        target = str(self.call("Target.createTarget", {"url": "about:blank"})["targetId"])
        attached = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})
        session = str(attached["sessionId"])
        page = self._pages[session] = Page(self, target, session)
        for domain in ("Page", "Network", "Runtime", "Log"):
            page.call(f"{domain}.enable")
        page.resize(width)
        answer = page.call("Page.navigate", url=path.absolute().as_uri())
        if "errorText" in answer:
            raise ValueError(f"{path}: {answer['errorText']}")
        loaded = (
            "new Promise(done => document.readyState == 'complete' ? done() : addEventListener('load', done))"
        )
        page.evaluate(loaded)
        return page

    def call(
        self, method: str, parameters: Mapping[str, object], *, session: Optional[str] = None
    ) -> Mapping[str, object]:
        """Call a method of the DevTools protocol, and return its answer; what happens meanwhile is noted."""
        self._last_id += 1
        asked: dict[str, object] = {"id": self._last_id, "method": method, "params": dict(parameters)}
        if session is not None:
            asked["sessionId"] = session
        content = json.dumps(asked).encode() + b"\0"
        while content:
            content = content[os.write(self._speak, content) :]
        deadline = time.monotonic() + _TIMEOUT
        while True:
            message = self._receive(deadline, method)
            if message.get("id") == self._last_id:
                if "error" in message:
                    raise ValueError(f"{method}: {message['error']}")
                return msgspec.convert(message["result"], dict[str, object])
            page = self._pages.get(str(message.get("sessionId")))
            if page is not None and "method" in message:
                page.note(str(message["method"]), msgspec.convert(message["params"], dict[str, object]))

    def _receive(self, deadline: float, awaited: str) -> dict[str, object]:
        while b"\0" not in self._received:
            ready, _, _ = select.select([self._hear], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError(f"Chromium has not answered to {awaited} within {_TIMEOUT:g} s")
            chunk = os.read(self._hear, 1 << 20)
            if not chunk:
                raise ConnectionError(f"Chromium has ended before it answered to {awaited}")
            self._received += chunk
        line, _, self._received = self._received.partition(b"\0")
        return msgspec.json.decode(line, type=dict[str, object])


def find_chromium() -> str:
    """Find the browser's program; raises ChromiumMissing, which says what to do."""
    named = os.environ.get(CHROMIUM_VARIABLE)
    found = shutil.which(named or "chromium")
    if found is None:
        raise ChromiumMissing(
            f"there is no {named or 'chromium'} to look at pages with: install Debian's package chromium, "
            f"or name a program in {CHROMIUM_VARIABLE}"
        )
    return found


def _pipe() -> tuple[int, int]:
    """Make a pipe whose descriptors are none of those that Chromium expects."""
    ends = os.pipe()
    read, write = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, _LOWEST_COPY) for end in ends)
    for end in ends:
        os.close(end)
    return read, write


@contextmanager
def running_chromium(program: str) -> Iterator[Chromium]:
    """Run a browser with a profile of its own, for as long as the block runs."""
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        (its_ear, speak), (hear, its_mouth) = _pipe(), _pipe()

        def connect() -> None:
            os.dup2(its_ear, _ITS_EAR)
            os.dup2(its_mouth, _ITS_MOUTH)

        process = subprocess.Popen(
            [program, *_OPTIONS, f"--user-data-dir={profile}", "about:blank"],
            env={**os.environ, "HOME": profile, "XDG_CONFIG_HOME": profile, "XDG_CACHE_HOME": profile},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=connect,
            pass_fds=(_ITS_EAR, _ITS_MOUTH),
        )
        os.close(its_ear)
        os.close(its_mouth)
        try:
            yield Chromium(hear, speak)
        finally:
            # It ends by itself when nobody speaks to it any more.
            os.close(speak)
            try:
                process.wait(_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            os.close(hear)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chromium]:
    """A browser; without one the test is skipped, but not where one was named or in continuous integration."""
    try:
        program = find_chromium()
    except ChromiumMissing as missing:
        if os.environ.get(CHROMIUM_VARIABLE) or os.environ.get("CI"):
            raise
        pytest.skip(str(missing))
    with running_chromium(program) as browser:
        yield browser
