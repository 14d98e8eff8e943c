"""A browser for tests: the few WebDriver calls that the page's tests need, over plain HTTP."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
DRIVER = shutil.which("chromedriver")
QUIET = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class Browser:
    """One session of a headless Chromium; a context manager."""

    def __init__(self, profile: Path, *, width: int, height: int = 900, dark: bool = False) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.root = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen([str(DRIVER), f"--port={port}"], stdout=subprocess.DEVNULL)
        arguments = [*QUIET, f"--user-data-dir={profile}", *(["--force-dark-mode"] if dark else [])]
        options = {
            "binary": CHROMIUM,
            "args": arguments,
            "mobileEmulation": {
                "deviceMetrics": {"width": width, "height": height, "pixelRatio": 1.0, "mobile": False}
            },
        }
        wanted = {"alwaysMatch": {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}}
        try:
            self._wait()
            session = self._call("POST", "/session", {"capabilities": wanted})["sessionId"]
        except BaseException:
            self.process.kill()
            raise
        self.session = f"/session/{session}"

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._call("DELETE", self.session)
        finally:
            self.process.terminate()
            self.process.wait(timeout=10)

    def open(self, page: Path, place: str = "") -> None:
        """A page, at the element of that id."""
        address = page.resolve().as_uri() + (f"#{place}" if place else "")
        self._call("POST", f"{self.session}/url", {"url": address})

    def run(self, script: str, *arguments: Any) -> Any:
        """The value of a script's `return`."""
        return self._call("POST", f"{self.session}/execute/sync", {"script": script, "args": list(arguments)})

    def run_async(self, script: str, *arguments: Any) -> Any:
        """What a script hands to its last argument, a function."""
        return self._call("POST", f"{self.session}/execute/async", {"script": script, "args": list(arguments)})

    def press(self, *keys: str) -> None:
        """Press keys one after another, wherever the focus is; `ENTER` and others as WebDriver codes them."""
        codes = {"ENTER": "\ue007", "TAB": "\ue004", "RIGHT": "\ue014", "ESCAPE": "\ue00c"}
        steps = [
            {"type": kind, "value": codes.get(key, key)} for key in keys for kind in ("keyDown", "keyUp")
        ]  # fmt: skip
        actions = [{"type": "key", "id": "keyboard", "actions": steps}]
        self._call("POST", f"{self.session}/actions", {"actions": actions})

    def media(self, kind: str) -> None:
        """Show the page as `print` does; an empty kind shows it as usual."""
        command = {"cmd": "Emulation.setEmulatedMedia", "params": {"media": kind}}
        self._call("POST", f"{self.session}/goog/cdp/execute", command)

    def console(self) -> list[str]:
        """Warnings and errors since the last call."""
        entries = self._call("POST", f"{self.session}/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] in ("WARNING", "SEVERE")]

    def _wait(self) -> None:
        for _ in range(100):
            try:
                if self._call("GET", "/status")["ready"]:
                    return
            except urllib.error.URLError:
                time.sleep(0.1)
        raise TimeoutError("chromedriver does not answer")

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.root + path, data=data, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]
