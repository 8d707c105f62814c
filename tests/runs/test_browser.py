"""A person opens a notebook in JupyterLab, runs it all, moves the slider and sees the numbers follow."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from nsfast.pipeline.notebooks import notebook_path

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture
def lab(copy_of_finished, plain_environment):
    """A JupyterLab over a folder that holds a finished run and the notebooks; its address."""
    pytest.importorskip("playwright")
    if not Path(CHROMIUM).is_file():
        pytest.skip("chromium is not installed")
    shutil.copytree(notebook_path("teacher").parent, copy_of_finished / "notebooks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = copy_of_finished / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    quiet = {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True}
    (settings / "notification.jupyterlab-settings").write_text(json.dumps(quiet))
    places = ("HOME", "IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")
    environment = {**plain_environment, **{name: str(copy_of_finished / "jupyter" / name) for name in places}}
    environment |= {"JUPYTERLAB_SETTINGS_DIR": str(copy_of_finished / "settings")}
    environment |= {"JUPYTERLAB_WORKSPACES_DIR": str(copy_of_finished / "workspaces")}
    line = f"""-m jupyterlab --no-browser --allow-root --ServerApp.port={port} --ServerApp.ip=127.0.0.1
        --ServerApp.port_retries=0 --IdentityProvider.token= --ServerApp.disable_check_xsrf=True
        --ServerApp.root_dir={copy_of_finished} --LabApp.expose_app_in_browser=True"""
    with open(copy_of_finished / "lab.log", "wb") as log:
        server = subprocess.Popen(
            [sys.executable, *line.split()], env=environment, cwd=copy_of_finished, stdout=log, stderr=log
        )
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{address}/api/status", timeout=2).close()
                break
            except OSError:
                assert time.monotonic() < deadline, (copy_of_finished / "lab.log").read_text()
                time.sleep(0.3)
        yield address
    finally:
        server.terminate()
        server.wait(20)


def wait_for_idle_kernel(address: str) -> None:
    """Wait until the kernel that the page started has nothing to do."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with urllib.request.urlopen(f"{address}/api/kernels", timeout=5) as answer:
            kernels = json.load(answer)
        if kernels and kernels[0]["execution_state"] == "idle":
            return
        time.sleep(0.3)
    raise AssertionError("the kernel did not start")


@pytest.mark.timeout(300)
def test_the_threshold_slider_moves_the_numbers_and_nothing_leaves_the_machine(lab):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 1600})
        outside = []
        page.on(
            "request",
            lambda r: outside.append(r.url) if not r.url.startswith((lab, "data:", "blob:")) else None,
        )
        page.goto(f"{lab}/lab/tree/notebooks/03_balancing.ipynb?reset")
        page.wait_for_selector(".jp-NotebookPanel .jp-Cell", timeout=60_000)
        wait_for_idle_kernel(lab)
        page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")
        assert (
            page.locator(".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.error']").count() == 0
        )
        slider = page.locator(".widget-slider .noUi-handle").first
        slider.wait_for(timeout=60_000)
        slider.scroll_into_view_if_needed()
        summary = page.locator(".widget-html").first
        before, box = summary.inner_text(), slider.bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.mouse.down()
        page.mouse.move(box["x"] - 300, box["y"] + box["height"] / 2, steps=6)
        page.mouse.up()
        try:
            changed = "before => document.querySelector('.widget-html').innerText !== before"
            page.wait_for_function(changed, arg=before, timeout=10_000)
        finally:
            if folder := os.environ.get("SCREENSHOTS"):
                page.wait_for_timeout(1500)
                page.screenshot(path=f"{folder}/balancing.png")
        browser.close()
    assert not outside, outside
