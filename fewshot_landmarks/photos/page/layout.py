"""The page as Gradio's Blocks: what is where, and which step of a visit each event is."""

import json
import re
from collections.abc import Callable
from pathlib import Path

from fewshot_landmarks.photos.model import Model
from fewshot_landmarks.photos.page.downloads import FORMS, written
from fewshot_landmarks.photos.page.session import Session
from fewshot_landmarks.photos.page.uploads import PHOTOS, Uploads
from fewshot_landmarks.photos.page.view import advice, choices, listed, shown
from fewshot_landmarks.photos.page.visit import Visit, Worker
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.markup import entities

SAID = 5  # warnings at once
LARGEST = 1e6  # of a number that a browser sends: pixels of a photo
LOOK = 1.0  # seconds between two looks at what a search has found
HELP = """\
**1** Add photos of one kind of object.\
 **2** Click its landmarks in one photo, or in up to five.\
 **3** **Adapt** finds them in all other photos; correct the worst, which come first, and adapt again.
"""
KEYS = (
    "Keys: **↓ ↑** landmark, **→ ←** photo, **n** next to correct, **r** right as it is, **x** not "
    "visible, **b** box, **Del** no box, **Ctrl-Z** undo, **a** adapt, **+ − 0** or the wheel zoom; drag "
    "to move"
)
UPLOAD = """<label class="zone"><input type="file" multiple><b>Add photos</b>
<span class="told">drop them here, or click to choose</span></label>"""
PHOTO = '<div class="frame"><img draggable="false" alt=""><svg></svg></div>'
SAVE = """watch("value", () => {
    const link = document.createElement("a");
    [link.href, link.download] = [props.value.address, props.value.name];
    link.click();
});"""
ODD = "the page was asked for what it does not know: load it again"


def script(name: str) -> str:
    """A file of this folder."""
    return Path(__file__).with_name(name).read_text("utf-8")


def build(model: Model, uploads: Uploads):
    """The page of a model, of what was uploaded."""
    import gradio as gr
    from gradio_client.utils import is_file_obj_with_meta, traverse

    worker = Worker()

    class Page(gr.Blocks):
        """Gradio copies any file that a browser names into what it serves, or fetches it."""

        async def preprocess_data(self, block_fn, inputs, *more, **options):
            traverse(inputs, refuse, is_file_obj_with_meta)
            try:
                return await super().preprocess_data(block_fn, inputs, *more, **options)
            except Exception:  # what a component does not take, which Gradio tells the terminal
                raise said(ODD) from None

    def refuse(_file: dict) -> None:
        raise said(ODD)

    def said(line: str) -> gr.Error:
        return gr.Error(entities(line), print_exception=False)

    def button(label: str, **options):
        return gr.Button(label, size="md", min_width=80, **options)

    with Page(title="Few-shot landmarks", analytics_enabled=False, fill_width=True) as page:
        visit = gr.State(Visit())
        off: dict = {"interactive": False}
        gr.Markdown(HELP)
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                upload = gr.HTML(
                    html_template=UPLOAD,
                    js_on_load=script("upload.js"),
                    apply_default_css=False,
                    elem_id="upload",
                )
                names = gr.Textbox(
                    label="Landmark names (optional; otherwise 1, 2, 3, ...)",
                    placeholder="left shoulder, right shoulder, hem",
                    elem_id="names",
                )
                photos = gr.HTML(
                    html_template='<div class="photos"></div>',
                    js_on_load=script("photos.js"),
                    apply_default_css=False,
                    elem_id="photos",
                )
                with gr.Row(equal_height=True):
                    form = gr.Dropdown(FORMS, value="coco", label="Form", elem_id="form")
                    both = gr.Checkbox(True, label="what was found too", elem_id="both")
                    download = button("Download", elem_id="download", **off)
                save = gr.HTML(html_template="", js_on_load=SAVE, visible="hidden")
            with gr.Column(scale=3, min_width=480):
                with gr.Row(equal_height=True):
                    with gr.Column(scale=5, min_width=200):
                        told = gr.Markdown(advice(Session()), elem_id="advice")
                    adapt = button("Adapt", variant="primary", elem_id="adapt", **off)
                    next_ = button("Next", elem_id="next", **off)
                photo = gr.HTML(
                    html_template=PHOTO,
                    js_on_load=script("viewer.js"),
                    apply_default_css=False,
                    elem_id="photo",
                )
                with gr.Row():
                    right = button("Right as it is", elem_id="right", **off)
                    hide = button("Not visible", elem_id="hide", **off)
                    undo = button("Undo", elem_id="undo", **off)
                    box = button("Draw a box", elem_id="box")
                    unbox = button("No box", elem_id="unbox", **off)
                landmark = gr.Radio(label="The next click sets landmark", elem_id="landmark")
                gr.Markdown(KEYS, elem_id="keys")
        look = gr.Timer(LOOK, active=False)
        shown_by = [photos, photo, landmark, told, adapt, next_, right, hide, undo, unbox, download, look]  # fmt: skip

        def show(visit: Visit) -> list:
            """What `shown_by` has to become; nothing of what the browser has already."""
            progress = visit.progress  # before the session: at the end of a search all is in that
            now = visit.session
            if trouble := visit.trouble:
                visit.trouble = None
                gr.Warning(entities(trouble))
            line = advice(now)
            if progress:
                line = f"*Searched {progress[0]} of {progress[1]} photos.* {line}"
            waiting, found = bool(now.queue()), now.chosen in now.found
            values = [
                json.dumps(listed(now, uploads.address)).replace("<", r"\u003c"),
                shown(now, uploads.address),
                gr.update(choices=choices(now), value=now.current),
                line,
                gr.update(interactive=bool(now.annotated)),
                gr.update(interactive=waiting),
                gr.update(interactive=found and now.chosen not in now.marks),
                gr.update(interactive=now.chosen is not None),
                gr.update(interactive=bool(now.past)),
                gr.update(interactive=now.chosen in now.boxes),
                gr.update(interactive=bool(now.annotated)),
                gr.update(active=progress is not None),
            ]
            before, visit.told = visit.told or [None] * len(values), values
            return [gr.skip() if old == new else new for old, new in zip(before, values)]

        def step(visit: Visit, go: Callable[[Session], Session]) -> list:
            try:
                visit.step(go)
            except UserError as error:
                raise said(str(error)) from None
            return show(visit)

        def on_sent(visit: Visit, event: gr.EventData) -> list:
            lines: list[str] = []

            def add(session: Session) -> Session:
                added, more = session.add(_files(event), uploads.pop)
                lines.extend(more)
                return added

            done = step(visit, add)
            for line in lines[:SAID]:
                gr.Warning(entities(line))
            if len(lines) > SAID:
                gr.Warning(f"{len(lines) - SAID} more files were not taken")
            return done

        def on_refused(event: gr.EventData) -> None:
            sent = event._data if isinstance(event._data, dict) else {}
            raise said(f"not all was sent: {str(sent.get('why'))[:300]}")

        def on_open(visit: Visit, event: gr.EventData) -> list:
            return step(visit, lambda session: session.choose(_photo(session, event)))

        def on_place(visit: Visit, event: gr.EventData) -> list:
            def click(session: Session) -> Session:
                if _photo(session, event) != session.chosen:  # another photo is shown since
                    return session
                return session.click(*_numbers(event, "x1", "y1"))

            return step(visit, click)

        def on_frame(visit: Visit, event: gr.EventData) -> list:
            def frame(session: Session) -> Session:
                if _photo(session, event) != session.chosen:
                    return session
                return session.frame(*_numbers(event, "x1", "y1", "x2", "y2"))

            return step(visit, frame)

        def on_walk(visit: Visit, event: gr.EventData) -> list:
            return step(visit, lambda session: session.walk(int(*_numbers(event, "steps"))))

        def on_turn(visit: Visit, event: gr.EventData) -> list:
            return step(visit, lambda session: session.turn(int(*_numbers(event, "steps"))))

        def on_adapt(visit: Visit) -> list:
            try:
                visit.adapt(model, worker)
            except UserError as error:
                raise said(str(error)) from None
            return show(visit)

        def on_download(visit: Visit, form: str, both: bool) -> dict:
            try:
                name, content = written(visit.session, form, both)
            except UserError as error:
                raise said(str(error)) from None
            return {"name": name, "address": uploads.offer(visit, name, content)}

        # None left out: a click may come before the last one has been shown.
        each: dict = {
            "outputs": shown_by,
            "concurrency_id": "session",
            "concurrency_limit": 1,
            "trigger_mode": "multiple",
            "show_progress": "hidden",
            "api_visibility": "private",
        }
        upload.sent(on_sent, visit, **each)
        upload.refused(on_refused, None, **each | {"outputs": None})
        photos.open(on_open, visit, **each)
        photo.place(on_place, visit, **each)
        photo.frame(on_frame, visit, **each)
        photo.walk(on_walk, visit, **each)
        photo.turn(on_turn, visit, **each)
        landmark.input(lambda v, i: step(v, lambda to: to.aim(i)), [visit, landmark], **each)
        for event in (names.submit, names.blur):
            event(lambda v, text: step(v, lambda to: to.call(text)), [visit, names], **each)
        for pressed, go in (
            (next_, Session.next), (right, Session.confirm), (hide, Session.hide),
            (undo, Session.undo), (unbox, Session.unframe),
        ):  # fmt: skip
            pressed.click(lambda v, go=go: step(v, go), visit, **each)
        box.click(
            None, js="() => document.querySelector('#photo .frame').dispatchEvent(new Event('box'))"
        )
        adapt.click(on_adapt, visit, **each)
        look.tick(show, visit, **each | {"trigger_mode": "once"})
        download.click(on_download, [visit, form, both], **each | {"outputs": save})
    return page


def _numbers(event, *names: str) -> list:
    """Numbers that a browser sent with an event. Raises `UserError` where it sent something else."""
    sent = event._data if isinstance(event._data, dict) else {}
    found: list = [sent.get(name) for name in names]
    if not all(type(n) in (int, float) and abs(n) < LARGEST for n in found):  # no NaN
        raise UserError(ODD)
    return found


def _files(event) -> list[tuple[str, Path]]:
    """Names and paths of files that were sent. Raises `UserError` where that is not what it says."""
    sent = event._data if isinstance(event._data, dict) else {}
    files = sent.get("files")
    if not isinstance(files, list) or len(files) > PHOTOS:
        raise UserError(ODD)
    for each in files:
        if not (
            isinstance(each, list) and len(each) == 2 and all(isinstance(n, str) for n in each)
        ):
            raise UserError(ODD)
    return [(_name(name), Path(path)) for path, name in files]


def _photo(session: Session, event) -> str:
    """The name of the photo that an event is of. Raises `UserError` where there is none such."""
    (number,) = _numbers(event, "photo")
    if number not in range(len(session.photos)):
        raise UserError(ODD)
    return [*session.photos][int(number)]


def _name(given: str) -> str:
    """The file name that a browser gave, without folders or what no text file can hold."""
    return re.split(r"[/\\]", given)[-1].encode("utf-8", "replace").decode()[-255:]
