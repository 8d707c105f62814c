"""JupyterLab, Notebook 7 and Voila over a folder, and a person before them: Chromium, driven by playwright."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
PLACES = ("HOME", "IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "TMPDIR")

LAB, NOTEBOOK, VOILA = "lab", "notebook", "voila"
SERVER = (
    "--allow-root --no-browser --ServerApp.port={port} --ServerApp.ip=127.0.0.1 --ServerApp.port_retries=0 "
    "--IdentityProvider.token= --ServerApp.disable_check_xsrf=True --ServerApp.root_dir={folder}"
)
COMMANDS = {
    LAB: f"-m jupyterlab --LabApp.expose_app_in_browser=True {SERVER}",
    NOTEBOOK: f"-m notebook --JupyterNotebookApp.expose_app_in_browser=True {SERVER}",
    VOILA: "-m nsfast.cli explore {run} --app --no-browser --port {port} --who ann",
}
PAGE = {LAB: "/lab/tree/{}?reset", NOTEBOOK: "/notebooks/{}"}
CELL = {
    LAB: ".jp-NotebookPanel .jp-Cell",
    NOTEBOOK: ".jp-NotebookPanel .jp-Cell",
    VOILA: "#rendered_cells .jp-Cell",
}
ERROR = "[data-mime-type='application/vnd.jupyter.error'], [data-mime-type$='stderr']"
FRONTS_OWN = ("Cannot read properties of undefined (reading 'schema')",)
"""Complaints of the front ends themselves: Notebook 7's, of a notebook that it has no settings of yet."""


def require_browser() -> None:
    """Skip the test where there is no Chromium or no playwright."""
    pytest.importorskip("playwright")
    if not Path(CHROMIUM).is_file():
        pytest.skip("chromium is not installed")


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def own_places(folder: Path, environment: dict[str, str]) -> dict[str, str]:
    """Return an environment in which Jupyter has nobody's settings, keeps its own below `folder`, and asks nothing."""
    settings = folder / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True, exist_ok=True)
    quiet = {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True}
    (settings / "notification.jupyterlab-settings").write_text(json.dumps(quiet))
    places = {name: folder / "jupyter" / name for name in PLACES}
    places["TMPDIR"].mkdir(parents=True, exist_ok=True)
    found = {**environment, **{name: str(place) for name, place in places.items()}}
    found |= {"JUPYTERLAB_SETTINGS_DIR": str(folder / "settings")}
    return found | {"JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces")}


@contextmanager
def served(kind: str, folder: Path, environment: dict[str, str], run: str = "runs/digits") -> Iterator[str]:
    """Start a front end over a folder; give its address, with the token where it has one; end it with its kernels.

    Args:
        kind: "lab", "notebook", or "voila" as `nsfast explore RUN --app --who ann` starts it.
        folder: where it works, and whose notebooks it serves.
        environment: of a person at a terminal.
        run: which Voila shows, relative to the folder.
    """
    require_browser()
    port = free_port()
    line = COMMANDS[kind].format(port=port, folder=folder, run=run).split()
    with serving([sys.executable, *line], port, folder, environment) as address:
        token = re.search(r"/\?token=\w+", (folder / "server.log").read_text()) if kind == VOILA else None
        yield address + (token.group() if token else "")


@contextmanager
def serving(line: list, port: int, folder: Path, environment: dict[str, str]) -> Iterator[str]:
    """Start a server, give its address once it answers, and end it.

    Args:
        line: the command.
        port: where it will listen.
        folder: where it works, and where its log and settings lie.
        environment: of a person at a terminal.
    """
    address, said = f"http://127.0.0.1:{port}", folder / "server.log"
    with open(said, "wb") as log:
        server = subprocess.Popen(
            line,
            env=own_places(folder, environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + 120
        while not answers(f"{address}/no-such-page"):
            assert server.poll() is None and time.monotonic() < deadline, said.read_text()
            time.sleep(0.3)
        yield address
    finally:
        server.terminate()
        server.wait(30)


def answers(url: str) -> bool:
    """Whether a server answers, whatever it says."""
    try:
        urllib.request.urlopen(url, timeout=2).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


class Visit:
    """A person before a front end.

    Args:
        page: of playwright.
        kind: of the front end.
        address: what `served` gave.

    `outside` lists the requests that would leave the machine, `errors` what the page's console and scripts complained
    of, without `FRONTS_OWN`.
    """

    def __init__(self, page: Any, kind: str, address: str):
        self.page, self.kind, self.start = page, kind, address
        self.address = address.partition("/?")[0]
        self.outside: list[str] = []
        self.errors: list[str] = []
        own = (f"{self.address}/", f"{self.address}/".replace("http", "ws", 1), "data:", "blob:")
        page.on("request", lambda r: None if r.url.startswith(own) else self.outside.append(r.url))
        page.on("websocket", lambda w: None if w.url.startswith(own) else self.outside.append(w.url))
        page.on("console", lambda m: self._complained(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: self._complained(str(error)))

    def _complained(self, text: str) -> None:
        if not any(known in text for known in FRONTS_OWN):
            self.errors.append(text)

    def open(self, notebook: str = "") -> None:
        """Open a notebook, by its path below the folder, and wait for its cells; Voila's has run then."""
        url = self.start if self.kind == VOILA else self.address + PAGE[self.kind].format(quote(notebook))
        self.page.goto(url, timeout=180_000)
        self.page.wait_for_selector(CELL[self.kind], timeout=120_000)

    def run_all(self) -> None:
        """Run all cells once the kernel has nothing to do, and wait until they have run; an error of a cell fails.

        Voila's have run when its page is open.
        """
        if self.kind != VOILA:
            self._run_all()
        wrong = self.page.locator(ERROR)
        assert not wrong.count(), wrong.all_inner_texts()

    def _run_all(self) -> None:
        self.wait_for_kernel()
        self.page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")

    def restart_kernel(self) -> None:
        """Restart the kernel, without asking, and wait for it; of Voila a page that is opened again has a new one."""
        if self.kind == VOILA:
            self.open()
            return
        for kernel in self._kernels():
            url = f"{self.address}/api/kernels/{kernel['id']}/restart"
            urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=60).close()
        self.wait_for_kernel()

    def wait_for_kernel(self) -> None:
        """Wait until the kernel that the page started has nothing to do."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            kernels = self._kernels()
            if kernels and kernels[0]["execution_state"] == "idle" and kernels[0]["connections"]:
                return
            time.sleep(0.3)
        raise AssertionError("the kernel did not start")

    def _kernels(self) -> list[dict[str, Any]]:
        try:
            with urllib.request.urlopen(f"{self.address}/api/kernels", timeout=5) as answer:
                return json.load(answer)
        except urllib.error.HTTPError:  # while one is starting, the server may stumble over it
            return []

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Drag the mouse from one point of the window to another."""
        self.page.mouse.move(*start)
        self.page.wait_for_timeout(200)
        self.page.mouse.down()
        self.page.mouse.move(*end, steps=6)
        self.page.mouse.up()

    def click(self, x: float, y: float) -> None:
        """Click a point of the window; plotly wants the mouse to be there first."""
        self.page.mouse.move(x, y)
        self.page.wait_for_timeout(200)
        self.page.mouse.click(x, y)

    def screenshot(self, name: str) -> None:
        """Keep what is seen as `NAME.png` in the folder that SCREENSHOTS names, if it names one."""
        if folder := os.environ.get("SCREENSHOTS"):
            self.page.wait_for_timeout(1500)
            self.page.screenshot(path=f"{folder}/{name}.png")


@contextmanager
def visiting(kind: str, address: str, width: int = 1280, height: int = 850) -> Iterator[Visit]:
    """Open a window before a front end; at its end nothing may have left the machine.

    Args:
        kind: of the front end.
        address: where it is.
        width, height: of the window, pixels.
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        try:
            visit = Visit(browser.new_page(viewport={"width": width, "height": height}), kind, address)
            yield visit
        except BaseException:
            visit.screenshot(f"failed-{kind}")
            raise
        finally:
            browser.close()
    assert not visit.outside, visit.outside
