"""Serve one notebook with Voila, to this machine alone and to who has the token."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import webbrowser
from pathlib import Path
from typing import Any

from nsfast.errors import NsfastError

HERE = "127.0.0.1"
EXTENSIONS = ["@voila-dashboards/widgets-manager8", "@jupyter-widgets/jupyterlab-manager", "anywidget"]
"""What the page needs of JupyterLab's extensions; others that are installed are not loaded."""


def serve(notebook: Path, port: int, browser: bool = True) -> None:
    """Serve a notebook until Ctrl-C, and say where; its kernels end with it.

    Nothing but the notebook's page is served, whoever asks for it needs the token, and the page may ask nobody else for
    anything.

    Args:
        notebook: its path.
        port: on which; see `free_port`.
        browser: whether to open it.
    """
    from jupyter_server import DEFAULT_STATIC_FILES_PATH
    from traitlets.config import Config
    from voila.app import Voila

    token = secrets.token_hex(24)
    folders = [str(Path(__file__).parent), os.environ.get("JUPYTER_PATH")]
    os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, folders))  # where the template is
    config = Config()
    config.VoilaConfiguration.update(
        template="nsfast",
        allow_template_override="NO",
        strip_sources=True,
        show_tracebacks=True,  # the template makes one line of it
        file_allowlist=[],
        extension_allowlist=EXTENSIONS,
        prelaunch_hook=_let_page_end_its_kernel,
    )
    logging.getLogger("tornado").setLevel(logging.ERROR)  # it warns of Jupyter's own settings
    address = f"http://{HERE}:{port}/"
    print(f"the explorer is at {address}?token={token}\nCtrl-C ends it", flush=True)
    if browser:
        threading.Timer(2, webbrowser.open, [f"{address}?token={token}"]).start()
    Voila.launch_instance(
        argv=[],
        config=config,
        notebook_path=str(notebook),
        ip=HERE,
        port=port,
        port_retries=0,
        token=token,
        open_browser=False,
        config_file_paths=[],  # whatever a person has set for other pages
        tornado_settings={
            "headers": {"Content-Security-Policy": policy(port)},
            "static_path": DEFAULT_STATIC_FILES_PATH,  # Voila's page for what is forbidden wants it
        },
        log_level="ERROR",
    )


def _let_page_end_its_kernel(request: Any, notebook: Any, cwd: str) -> None:
    """Have the page's cookie set without which its last request, that its kernel be ended, is refused."""
    request.xsrf_token  # noqa: B018


def policy(port: int) -> str:
    """Return what the page may fetch: what this server has, and what it carries in itself."""
    own = "'self' data: blob:"
    sockets = f"ws://{HERE}:{port} ws://localhost:{port}"
    return (
        f"default-src {own}; script-src {own} 'unsafe-inline' 'unsafe-eval'; style-src {own} 'unsafe-inline'; "
        f"connect-src {own} {sockets}; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
    )


def free_port(wanted: int = 0) -> int:
    """Return a port that is free on this machine: the one that is wanted, or any.

    Raises:
        NsfastError: it is in use, or not this person's to use.
    """
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((HERE, wanted))
        except (OSError, OverflowError) as error:
            raise NsfastError(f"--port {wanted} cannot be used ({error}); give another one") from None
        return tried.getsockname()[1]
