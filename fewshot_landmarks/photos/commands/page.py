"""The work of `fewshot-landmarks page`: `parsers.page` says what it is."""

import argparse
import logging
import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path

from fewshot_landmarks.photos.commands.common import open_model
from fewshot_landmarks.photos.model import Model
from fewshot_landmarks.support.devices import find_device
from fewshot_landmarks.support.errors import UserError

ADDRESS = "127.0.0.1"
NAMES = (ADDRESS, "localhost", "[::1]")
SESSIONS = 32  # that are remembered; of more, those that were idle longest are forgotten


def execute(arguments: argparse.Namespace) -> int:
    """Serve the page until it is interrupted."""
    from fewshot_landmarks.photos.page.uploads import own_folder

    device, on = find_device(arguments.device), (arguments.backbone, arguments.weights)
    model = open_model(arguments.model, arguments.learner, device, *on)
    # Whatever ends the page ends it as Ctrl-C does, or photos would outlive it.
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
    with listening(arguments.port) as place, own_folder() as folder:
        page = server(model, folder, arguments.host)
        address = f"http://{ADDRESS}:{place.getsockname()[1]}"
        print(f"{model.learner.name} on {address} (Ctrl-C ends it)", flush=True)
        page.run([place])
    return 0


def listening(port: int) -> socket.socket:
    """A socket at a port. Raises `UserError` where there can be none."""
    try:
        return socket.create_server((ADDRESS, port))
    except (OSError, OverflowError) as error:
        raise UserError(f"cannot serve on port {port}: choose another, --port ({error})") from None


def server(model: Model, folder: Path, hosts: Sequence[str] = ()):
    """The page's server, to be run with a socket."""
    import uvicorn

    class Server(uvicorn.Server):
        def handle_exit(self, *signalled) -> None:
            # The streams of pages that are open are cut; Uvicorn would call that an error.
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
            super().handle_exit(*signalled)

    return Server(
        uvicorn.Config(
            application(model, folder, hosts),
            log_level="warning",
            ws="none",
            timeout_graceful_shutdown=1,  # open pages keep a stream open
        )
    )


def application(model: Model, folder: Path, hosts: Sequence[str] = ()):
    """The page of a model, as an ASGI application; what it keeps lies in a folder."""
    # Before Gradio is imported, which makes a folder.
    os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": str(folder)}
    import gradio as gr
    from fastapi import FastAPI
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from fewshot_landmarks.photos.page.layout import build, script
    from fewshot_landmarks.photos.page.uploads import BYTES, DOWNLOAD, PHOTO, UPLOAD, Gate, Uploads

    uploads = Uploads(folder)
    trusted: dict = {"allowed_hosts": [*NAMES, *hosts], "www_redirect": False}
    gate = Middleware(Gate, folder=folder, hosts=hosts)
    app = FastAPI(openapi_url=None, middleware=[Middleware(TrustedHostMiddleware, **trusted), gate])
    app.add_route(UPLOAD, uploads.take, methods=["POST"])
    app.add_route(PHOTO + "{name}", uploads.photo)
    app.add_route(DOWNLOAD + "{name}", uploads.download)
    page = build(model, uploads)
    page.state_session_capacity = SESSIONS
    fonts: dict = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
    return gr.mount_gradio_app(
        app,
        page,
        "/",
        show_error=False,
        ssr_mode=False,
        run_history=False,
        enable_monitoring=False,
        mcp_server=False,
        max_file_size=BYTES,
        theme=gr.themes.Default(**fonts),
        css=script("page.css"),
        head=f"<script>{script('in_turn.js')}</script>",
        footer_links=[],
    )
