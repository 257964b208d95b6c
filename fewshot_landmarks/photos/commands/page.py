"""The work of `fewshot-landmarks page`: `parsers.page` says what it is."""

import argparse
import json
import logging
import os
import re
import shutil
import signal
import socket
import tempfile
import weakref
from base64 import b64encode
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2

from fewshot_landmarks.photos.commands.common import open_model
from fewshot_landmarks.photos.model import Model
from fewshot_landmarks.photos.page import Session
from fewshot_landmarks.support.devices import find_device
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import write_text
from fewshot_landmarks.support.markup import entities

ADDRESS = "127.0.0.1"
NAMES = (ADDRESS, "localhost", "[::1]")
SESSIONS = 32  # that are remembered; of more, those that were idle longest are forgotten
DOWNLOAD = "landmarks.json"
SAID = 5  # warnings at once
HELP = """\
**1** Add photos of one kind of object.\
 **2** Click its landmarks in one photo, or in up to five.\
 **3** **Adapt** finds them in all other photos; correct what is wrong by clicking, and adapt again.
"""
STYLE = """
#photo { text-align: center; }
#photo img { cursor: crosshair; display: inline; user-select: none; }
#advice { height: 4.8em; overflow: hidden; } /* or the photo would move as the text changes */
/* Messages not over the photo or the names. */
.toast-wrap { top: auto !important; bottom: 16px; left: 16px; right: auto !important; }
#photos .caption-label { left: 2px; right: 2px; max-width: none; padding: 2px; text-align: center; }
#photos .thumbnail-item img { height: calc(100% - 28px); margin-bottom: 28px; }
"""
# A question waits until the page has closed the stream that brought the last one's answer. Gradio may
# otherwise end that stream while the question is under way, and its answer is not shown.
IN_TURN = """<script>{
    const send = window.fetch;
    let last = Promise.resolve(), answered;
    window.fetch = async (what, ...how) => {
        const url = String(what.url ?? what);
        if (url.includes("/queue/data")) what.signal.addEventListener("abort", answered);
        if (!url.includes("/queue/join")) return send(what, ...how);
        const before = last;
        let done;
        last = new Promise(resolve => { done = resolve; });
        await before;
        answered = done;
        let taken = false;
        try {
            const answer = await send(what, ...how);
            taken = answer.ok;
            return answer;
        } finally {
            if (!taken) done();
        }
    };
}</script>"""
# Not gr.Image, which leaves out clicks while the picture that follows the last one is loading. The
# frame has its size without the picture, and is not replaced between a press and its release.
PHOTO = """${value ? `<img src="${value.picture}" draggable="false" data-photo="${value.photo}"
 style="aspect-ratio: ${value.ratio}; width: min(100%, calc(54vh * ${value.ratio}))">` : ""}"""
CLICK = """element.addEventListener("pointerdown", event => {
    if (event.target.tagName !== "IMG" || event.button !== 0) return;
    const frame = event.target.getBoundingClientRect();
    trigger("click", {
        photo: Number(event.target.dataset.photo),
        x: (event.clientX - frame.left) / frame.width,
        y: (event.clientY - frame.top) / frame.height,
    });
});"""


def execute(arguments: argparse.Namespace) -> int:
    """Serve the page until it is interrupted."""
    from fewshot_landmarks.photos.uploads import own_folder

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

    from fewshot_landmarks.photos.uploads import BYTES, UPLOAD, Gate, Uploads

    uploads = Uploads(folder)
    trusted: dict = {"allowed_hosts": [*NAMES, *hosts], "www_redirect": False}
    gate = Middleware(Gate, folder=folder, hosts=hosts)
    app = FastAPI(openapi_url=None, middleware=[Middleware(TrustedHostMiddleware, **trusted), gate])
    app.add_route(UPLOAD, uploads.take, methods=["POST"])
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
        css=STYLE,
        head=IN_TURN,
        footer_links=[],
    )


def build(model: Model, uploads):
    """The page of a model, as Gradio's Blocks, of what was uploaded to `uploads.Uploads`."""
    import gradio as gr
    from gradio_client.utils import is_file_obj_with_meta, traverse

    class Upload(gr.File):
        """Files by the names that they have on the visitor's side, which Gradio changes."""

        is_template = True  # drawn as its parent is

        def preprocess(self, payload):
            return [(_name(file.orig_name or file.path), Path(file.path)) for file in payload or []]

    class Page(gr.Blocks):
        """Gradio copies any file that a browser names into what it serves, or fetches it."""

        async def preprocess_data(self, block_fn, inputs, *more, **options):
            traverse(inputs, self.refuse_unsent, is_file_obj_with_meta)
            return await super().preprocess_data(block_fn, inputs, *more, **options)

        def refuse_unsent(self, file: dict) -> None:
            if file["path"] not in uploads:
                raise gr.Error("That file was not sent.", print_exception=False)

    with Page(title="Few-shot landmarks", analytics_enabled=False, fill_width=True) as page:
        session = gr.State(Session())
        gr.Markdown(HELP)
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                upload = Upload(label="Add photos", file_count="multiple", height=120)
                names = gr.Textbox(
                    label="Landmark names (optional; otherwise 1, 2, 3, ...)",
                    placeholder="left shoulder, right shoulder, hem",
                    elem_id="names",
                )
                photos = gr.Gallery(
                    show_label=False, columns=3, height="52vh", object_fit="contain",
                    format="jpeg", allow_preview=False, interactive=False, buttons=[],
                    elem_id="photos",
                )  # fmt: skip
            with gr.Column(scale=3, min_width=480):
                off: dict = {"interactive": False}
                with gr.Row(equal_height=True):
                    with gr.Column(scale=5, min_width=200):
                        advice = gr.Markdown(Session().advice(), elem_id="advice")
                    adapt = gr.Button(
                        "Adapt", variant="primary", min_width=90, elem_id="adapt", **off
                    )
                    download = gr.DownloadButton(
                        "Download", min_width=110, elem_id="download", **off
                    )
                photo = gr.HTML(
                    html_template=PHOTO, js_on_load=CLICK, min_height=40, elem_id="photo"
                )
                with gr.Row():
                    landmark = gr.Radio(
                        label="The next click sets landmark", scale=4, elem_id="landmark"
                    )
                    hide = gr.Button("Not visible", size="md", min_width=110, elem_id="hide", **off)
                    undo = gr.Button("Undo", size="md", min_width=80, elem_id="undo", **off)

        shown = [session, photos, photo, landmark, advice, hide, undo, adapt, download]

        def show(before: Session, after: Session) -> list:
            """What `shown` has to become."""
            written = Path(tempfile.mkdtemp(dir=uploads.folder)) / DOWNLOAD
            write_text(written, json.dumps(after.coco(), ensure_ascii=False) + "\n")
            weakref.finalize(after, shutil.rmtree, written.parent, ignore_errors=True)
            chosen = None if after.chosen is None else [*after.photos].index(after.chosen)
            thumbnails = gr.skip()
            if not after.listed_like(before):
                uploads.check_room()
                thumbnails = gr.Gallery(after.thumbnails(), selected_index=chosen)
            return [
                after,
                thumbnails,
                _framed(after, chosen),
                gr.Radio(after.landmarks(), value=after.current),
                after.advice(),
                gr.Button(interactive=after.chosen is not None),
                gr.Button(interactive=bool(after.past)),
                gr.Button(interactive=bool(after.annotated)),
                gr.DownloadButton(value=str(written), interactive=bool(after.annotated)),
            ]

        def step(before: Session, go: Callable[[Session], Session]) -> list:
            try:
                return show(before, go(before))
            except UserError as error:
                raise gr.Error(entities(str(error)), print_exception=False) from None

        def on_upload(before: Session, files: list) -> list:
            after, lines = before.add(files, uploads.pop)
            for line in lines[:SAID]:
                gr.Warning(entities(line))
            if len(lines) > SAID:
                gr.Warning(f"{len(lines) - SAID} more files were not taken")
            return [*step(before, lambda _: after), None]

        def on_choose(before: Session, event: gr.SelectData) -> list:
            name = [*before.photos][event.index]
            return step(before, lambda session: session.choose(name))

        def on_click(before: Session, event: gr.EventData) -> list:
            name = [*before.photos][event.photo]
            if name != before.chosen:  # another photo is shown since
                return show(before, before)
            if not all(type(x) in (int, float) and 0 <= x <= 1 for x in (event.x, event.y)):
                raise gr.Error("That is outside the photo.", print_exception=False)
            there = before.photos[name]
            place = event.x * there.width, event.y * there.height
            return step(before, lambda session: session.click(*place))

        # None left out: a click may come before the last one has been shown.
        each: dict = {
            "outputs": shown,
            "concurrency_id": "session",
            "concurrency_limit": 1,
            "trigger_mode": "multiple",
            "show_progress": "hidden",
            "api_visibility": "private",
        }
        upload.upload(on_upload, [session, upload], **each | {"outputs": [*shown, upload]})
        photos.select(on_choose, session, **each)
        photo.click(on_click, session, **each)
        landmark.input(lambda s, i: step(s, lambda to: to.aim(i)), [session, landmark], **each)
        for event in (names.submit, names.blur):
            event(lambda s, text: step(s, lambda to: to.call(text)), [session, names], **each)
        hide.click(lambda s: step(s, Session.hide), session, **each)
        undo.click(lambda s: step(s, Session.undo), session, **each)
        busy = {"trigger_mode": "once", "show_progress": "full", "show_progress_on": photo}
        adapt.click(lambda s: step(s, lambda to: to.adapt(model)), session, **each | busy)
    return page


def _name(given: str) -> str:
    """The file name that a browser gave, without folders or what no text file can hold."""
    return re.split(r"[/\\]", given)[-1].encode("utf-8", "replace").decode()[-255:]


def _framed(session: Session, number: int | None) -> dict | None:
    """The shown photo as the template `PHOTO` takes it."""
    picture = session.picture()
    if picture is None:
        return None
    height, width = picture.shape[:2]
    coded = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
    data = b64encode(coded.tobytes()).decode()
    source = f"data:image/jpeg;base64,{data}"
    return {"picture": source, "ratio": width / height, "photo": number}
