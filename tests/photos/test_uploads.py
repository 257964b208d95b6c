"""What the page takes from browsers, by Gradio's own HTTP: photos, from itself, within limits."""

import gc
import io
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from argparse import Namespace
from pathlib import Path

import pytest
from PIL import Image

from baselines.proto import PROTO
from fewshot_landmarks.networks.base import BaseModel
from fewshot_landmarks.networks.small import SmallFENet
from fewshot_landmarks.photos.commands import page as command
from fewshot_landmarks.photos.commands.parsers import parser
from fewshot_landmarks.photos.model import Model
from fewshot_landmarks.photos.page.session import LANDMARKS, Session
from fewshot_landmarks.photos.page.view import advice
from fewshot_landmarks.support.errors import UserError
from tests.processes import wait_for

pytest.importorskip("gradio")

import httpx
from starlette.testclient import TestClient

from fewshot_landmarks.photos.page import uploads

OWN = "http://127.0.0.1:7860"
API = "/gradio_api"
SCRIPT = b"<html><script>alert(1)</script></html>"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


def photo(kind="JPEG", colour="red"):
    file = io.BytesIO()
    Image.new("RGB", (50, 40), colour).save(file, kind)
    return file.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def model():
    base = BaseModel(SmallFENet(16, 8), {1: 25, 9: 8}, "linear").requires_grad_(False)
    learner = PROTO(base, PROTO.Settings()).eval()
    return Model(learner, "PROTO", "small", {"channels": 16, "width": 8}, 32, None, {})


@pytest.fixture(scope="module")
def application(model, folder):
    with pytest.MonkeyPatch.context() as changed:
        changed.setenv("GRADIO_TEMP_DIR", "")  # set by `application`
        yield command.application(model, folder, ["my.server"])


@pytest.fixture(scope="module")
def client(application):
    with TestClient(application, base_url=OWN) as made:
        yield made


def send(client, **files):
    """Upload files, by names in which _ stands for the dot."""
    each = [("files", (name.replace("_", "."), content)) for name, content in files.items()]
    return client.post(f"{API}/upload", files=each)


def tell(client, event, *values, session="one", data=None, of=None):
    """What the page answers to an event of a component, called so; `values` are those of its inputs,
    `data` what a script sends with it."""
    config = client.get("/config").json()
    found = [
        each
        for each in config["dependencies"]
        if any(target[1] == event for target in each["targets"])
        and (of is None or each["targets"][0][0] == component(config, of))
    ]
    asked = {"data": [None, *values], "fn_index": found[0]["id"], "session_hash": session}
    asked["event_data"] = data
    sent = {"content": json.dumps(asked), "headers": {"content-type": "application/json"}}
    assert client.post(f"{API}/queue/join", **sent).status_code == 200
    lines = client.get(f"{API}/queue/data", params={"session_hash": session}).text.splitlines()
    said = [json.loads(line.removeprefix("data:")) for line in lines if line]
    warned = [each["log"] for each in said if each["msg"] == "log"]
    return warned, next(each for each in said if each["msg"] == "process_completed")


def arrive(client, files, session):
    """The answer to files that were uploaded, (path, name) each."""
    return tell(client, "sent", session=session, data={"files": [list(each) for each in files]})


def component(config, name):
    """The number of a component."""
    return next(c["id"] for c in config["components"] if c["props"].get("elem_id") == name)


def file(path, name):
    return {"path": path, "orig_name": name, "meta": {"_type": "gradio.FileData"}}


def kept(folder):
    """Uploaded photos that are on disk; with each are those made of it, which it cannot be without."""
    there = {path for path in (folder / "photos").rglob("*")}
    photos = [path for path in there if not path.suffix]
    made = {path.with_suffix(f".{size}") for path in photos for size in uploads.SIZES}
    assert made | set(photos) == there
    return sorted(photos)


def test_what_is_no_photo_is_removed_at_once_and_said(client, folder):
    sent = {"x_html": SCRIPT, "x_svg": SVG, "page_jpg": SCRIPT, "a_jpg": photo(), "b_json": b"{}"}
    answer = send(client, **sent, c_eps=b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    paths = answer.json()
    assert len(paths) == 6 and [str(each) for each in kept(folder)] == [paths[3]]
    for path in paths:
        assert client.get(f"{API}/file={path}").status_code == 404
    names = [name.replace("_", ".") for name in (*sent, "c_eps")]
    warned, answer = arrive(client, zip(paths, names), session="forms")
    assert answer["success"] and len(warned) == 5
    assert "a.jpg" in json.dumps(answer["output"]["data"])


def test_what_the_page_made_is_served_and_no_script(client, folder):
    (path,) = send(client, a_jpg=photo(colour="blue")).json()
    _, answer = arrive(client, [(path, "<script>x.jpg")], session="made")
    assert not [p for p in folder.rglob("*") if p.is_file() and "photos" not in p.parts]
    said = json.dumps(answer["output"]["data"])
    made = re.findall(r"/photos/[0-9a-f]{32}\.[a-z]+", said)
    assert {Path(each).name for each in made} == {f"{Path(path).name}.{s}" for s in uploads.SIZES}
    for each in made:
        answer = client.get(each)
        assert answer.status_code == 200 and answer.headers["content-type"] == "image/jpeg"
        assert Image.open(io.BytesIO(answer.content)).size == (50, 40)
    token = Path(path).name
    for other in (token, f"{token}.json", f"{'0' * 32}.large", f"..%2f{token}.large", "x", ""):
        assert client.get(f"/photos/{other}").status_code == 404, other


def test_a_download_is_its_visitors_alone_and_the_latest(client):
    (path,) = send(client, a_jpg=photo(colour="pink")).json()
    arrive(client, [(path, "a.jpg")], session="saves")
    _, answer = tell(client, "click", "coco", True, session="saves", of="download")
    assert not answer["success"] and "nothing to download" in answer["output"]["error"]
    assert tell(client, "place", session="saves", data={"photo": 0, "x1": 5, "y1": 6})[1]["success"]
    addresses = []
    for form in ("coco", "yolo"):
        _, answer = tell(client, "click", form, True, session="saves", of="download")
        (said,) = answer["output"]["data"]
        addresses.append(said["address"])
    assert client.get(addresses[0]).status_code == 404
    answer = client.get(addresses[1])
    assert answer.status_code == 200 and answer.content[:2] == b"PK"
    assert answer.headers["content-disposition"] == 'attachment; filename="yolo.zip"'
    for other in ("x", "0" * 32, "..%2fphotos", ""):
        assert client.get(f"/downloads/{other}").status_code == 404


PLACE, CORNERS = {"photo": 0, "x1": 5, "y1": 6}, {"photo": 0, "x1": 5, "y1": 6, "x2": 40, "y2": 30}
ODD = [
    *(("place", PLACE | {key: odd}) for key in PLACE
      for odd in ("5", None, [], {}, True, 1e999, -1e999, math.nan, -1, 1e9, 10**400)),
    *(("frame", CORNERS | {key: odd}) for key in ("x2", "photo") for odd in ("5", None, math.nan, {})),
    ("frame", CORNERS | {"x2": 5}), ("frame", CORNERS | {"y2": 6}), ("frame", {}),
    *(("walk", {"steps": odd}) for odd in ("1", None, math.nan, 1e999)),
    *(("turn", {"steps": odd}) for odd in ("1", None, math.nan, 1e999)),
    *(("open", {"photo": odd}) for odd in (7, -1, 0.5, "0", None, math.inf)),
    *(("place", odd) for odd in (None, 3, "x", [1])),
    *(("sent", {"files": odd}) for odd in (None, "x", 5, ["x"], [[1, 2]], [["x"]], [["x", "y", "z"]])),
    ("refused", {"why": "<b>no</b>"}), ("refused", None),
]  # fmt: skip


def test_what_no_page_sends_has_one_line_and_changes_nothing(client, capfd):
    (path,) = send(client, a_jpg=photo(colour="gray")).json()
    arrive(client, [(path, "a.jpg")], session="odd")
    for event, data in ODD:
        _, answer = tell(client, event, session="odd", data=data)
        assert not answer["success"], (event, data)
        assert answer["output"]["error"] and "\n" not in answer["output"]["error"]
        assert "Traceback" not in answer["output"]["error"]
    for event, of, values in (
        ("input", "landmark", [7]), ("input", "landmark", ["x"]), ("input", "landmark", [{}]),
        ("submit", "names", [{"a": 1}]), ("click", "download", ["../x", True]),
        ("click", "download", [[], {}]), ("click", "right", []), ("click", "unbox", []),
        ("click", "undo", []), ("click", "next", []), ("click", "adapt", []),
    ):  # fmt: skip
        _, answer = tell(client, event, *values, session="odd", of=of)
        if answer["success"]:  # a text may be anything
            assert of in ("names", "landmark")
        else:
            assert "\n" not in (answer["output"]["error"] or "")
    assert "Traceback" not in capfd.readouterr().err
    assert tell(client, "place", session="odd", data=PLACE)[1]["success"]
    assert tell(client, "frame", session="odd", data=CORNERS)[1]["success"]


@pytest.mark.parametrize(
    "host, status",
    [
        ("127.0.0.1:7860", 200), ("localhost:7860", 200), ("[::1]:7860", 200), ("my.server", 200),
        ("evil.example", 400), ("evil.example:7860", 400), ("127.0.0.1.evil.example", 400),
        ("localhost@evil.example", 400), ("", 400),
    ],
)  # fmt: skip
def test_the_page_answers_to_its_own_names(client, host, status):
    for method in ("GET", "OPTIONS"):
        asked = {"host": host, "access-control-request-method": "POST"}
        if status == 400:
            asked["origin"] = "http://evil.example:7860"
        answer = client.request(method, "/", headers=asked)
        assert answer.status_code in ((status,) if method == "GET" else (status, 404))
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "http://localhost:3000", "http://127.0.0.1", "http://[", "x"],
)
@pytest.mark.parametrize("host", ["127.0.0.1:7860", "[::1]:7860", "my.server"])
def test_no_other_page_is_answered(client, folder, origin, host):
    before = kept(folder)
    asked = {"origin": origin, "host": host, "access-control-request-method": "POST"}
    answers = [
        client.get("/config", headers=asked),
        client.options(f"{API}/upload", headers=asked),
        client.post(f"{API}/upload", files=[("files", ("a.jpg", photo()))], headers=asked),
        client.post(f"{API}/queue/join", json={"data": []}, headers=asked),
    ]
    for answer in answers:
        assert answer.status_code == 403
        assert not [name for name in answer.headers if name.startswith("access-control")]
    assert kept(folder) == before


def test_the_page_itself_is_answered_behind_a_proxy_too(client):
    for origin, host in ((OWN, "127.0.0.1:7860"), ("https://my.server", "localhost:7860")):
        assert client.get("/config", headers={"origin": origin, "host": host}).status_code == 200


def test_what_the_page_never_asks_for_is_not_answered(client, folder):
    secret = folder.parent / "secret.txt"
    secret.write_text("secret")
    paths = [
        "/file=http://example.com/", "/file=https://example.com/", f"/file={secret}",
        f"/file={folder}/../secret.txt", f"/file={folder}/photos/../../secret.txt",
        "/proxy=http://example.com/", "/deep_link?session_hash=one", "/file/etc/hostname",
        "/stream/a/b/c/playlist.m3u8", "/queue/status", "/runs",
    ]  # fmt: skip
    for path in paths:
        assert client.get(API + path).status_code in (403, 404), path
    for path in ("/run/predict", "/call/x", "/process_recording", "/component_server", "/x"):
        assert client.post(API + path, json={}).status_code == 404, path
    assert client.get("/monitoring").status_code == 404
    assert client.delete("/").status_code == 404


def test_no_file_that_was_not_sent_is_read(client, folder):
    secret = folder.parent / "secret.txt"
    secret.write_text("secret")
    before = sorted(folder.rglob("*"))
    for path in (str(secret), "http://example.com/x.jpg", str(folder / "photos" / "x")):
        for value in (file(path, "a.jpg"), [file(path, "a.jpg")], {"more": [file(path, "a.jpg")]}):
            _, answer = tell(client, "submit", value, session="thief")
            assert not answer["success"]
        warned, answer = arrive(client, [(path, "a.jpg")], session="thief")
        assert "add it again" in json.dumps(warned) and path not in json.dumps(answer)
    assert sorted(folder.rglob("*")) == before


def test_fifty_megabytes_of_nothing_do_not_stay(client, folder):
    before = kept(folder)
    assert send(client, zeros_png=bytes(50 * 1024**2)).status_code == 200
    assert kept(folder) == before


def test_limits_of_bytes_and_files(client, folder, monkeypatch):
    before = kept(folder)
    monkeypatch.setattr(uploads, "BYTES", 100)
    assert send(client, a_jpg=photo()).status_code == 200 and kept(folder) == before
    monkeypatch.undo()
    monkeypatch.setattr(uploads, "PHOTOS", 3)
    many = {f"a{i}_png": photo("PNG", (i, 0, 0)) for i in range(5)}
    assert send(client, **many).status_code == 400 and kept(folder) == before
    for name, content in many.items():
        assert send(client, **{name: content}).status_code == 200
    assert len(kept(folder)) <= max(3, len(before))
    monkeypatch.undo()
    before = kept(folder)
    monkeypatch.setattr(uploads, "TOTAL", 2000)
    answer = send(client, a_jpg=photo(colour="green"))
    assert answer.status_code == 413 and kept(folder) == before
    monkeypatch.undo()
    assert client.post(f"{API}/queue/join", content=bytes(2 * 1024**2)).status_code == 413
    assert client.post(f"{API}/upload", content=iter([b"x"])).status_code == 411
    assert client.post(f"{API}/upload", content=b"x").status_code == 400
    other = client.post(f"{API}/upload", files=[("other", ("a.jpg", photo()))])
    assert other.json() == [] and kept(folder) == before


def test_photos_go_with_the_session_that_has_them(client, application, folder):
    paths = send(client, a_jpg=photo(), b_jpg=photo()).json()
    arrive(client, [(paths[0], "a.jpg"), (paths[1], "a.jpg")], session="short")
    there = [str(each) for each in kept(folder)]
    assert paths[0] in there and paths[1] not in there, "the second is of the first's name"
    tell(client, "place", session="short", data=PLACE)
    gradio = application.routes[-1].app
    gradio.state_holder.session_data.clear()
    gc.collect()
    assert paths[0] not in [str(each) for each in kept(folder)]


def test_a_click_sets_a_landmark_that_there_can_be(tmp_path):
    (tmp_path / "a.jpg").write_bytes(photo())
    session = Session().add([("a.jpg", tmp_path / "a.jpg")])[0]
    for number in (10**9, LANDMARKS, -1):
        with pytest.raises(UserError):
            session.aim(number).click(1, 1)
    with pytest.raises(UserError):
        session.call(",".join(f"n{i}" for i in range(LANDMARKS + 1)))
    with pytest.raises(UserError):
        session.call("n" * 10_000)


def test_names_show_as_they_are_written(tmp_path):
    (tmp_path / "a.jpg").write_bytes(photo())
    session = Session().add([("a.jpg", tmp_path / "a.jpg")])[0]
    said = advice(session.call("![x](http://evil.example/x.png)<img src=x>, \ud800"))
    assert not [sign for sign in ("![", "<", "](", "http:") if sign in said]
    session.call("\ud800").names[0].encode("utf-8")


@pytest.mark.parametrize("name", ["*", "*.x", "a*b", "http://x", "x:80", "", "x y"])
def test_a_host_is_a_name(name, capsys):
    with pytest.raises(SystemExit):
        parser().parse_args(["page", "--host", name])
    assert "--host" in capsys.readouterr().err


def test_what_a_killed_page_left_is_removed_and_no_other_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    left = tmp_path / "fewshot-landmarks-left"
    (left / "photos").mkdir(parents=True)
    (left / "photos" / "1").write_bytes(photo())
    (left / uploads.LOCK).touch()
    mine = tmp_path / "fewshot-landmarks-main"  # as somebody unpacked it
    shutil.copytree(left / "photos", mine / "photos")
    (mine / "lock").touch()
    with uploads.own_folder() as first:
        assert not left.exists() and [*(mine / "photos").iterdir()]
        with uploads.own_folder() as second:
            assert first.exists() and second != first
        assert first.exists() and not second.exists()
    assert [*tmp_path.iterdir()] == [mine]


def serving(place):
    """A page in a process, once it answers; its temporary files lie in a folder."""
    page = subprocess.Popen(
        [sys.executable, "-m", "fewshot_landmarks", "page", "--learner", "PROTO", "--port", "0"],
        env={**os.environ, "TMPDIR": str(place)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert "http://" in page.stdout.readline()
    return page


def left_over(place):
    return [each.name for each in place.iterdir() if not each.name.startswith("torchinductor")]


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_page_that_is_ended_leaves_nothing(model, tmp_path, monkeypatch, capsys, name):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(command, "open_model", lambda *_: model)
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP)}
    for each in before:  # a shell that is gone, as with nohup, lets its children ignore some
        signal.signal(each, signal.SIG_DFL)
    seen = []

    def end():
        said = wait_for(lambda: capsys.readouterr().out)
        address = next(word for word in said.split() if word.startswith("http:"))
        files = {"files": ("a.jpg", photo())}
        sent = httpx.post(f"{address}{API}/upload", files=files, timeout=60).json()
        seen.extend(Path(each).is_file() for each in sent)
        with httpx.stream("GET", f"{address}{API}/heartbeat/one"):  # as an open page does
            os.kill(os.getpid(), getattr(signal, name))
            time.sleep(0.5)

    options = dict.fromkeys(("model", "learner", "backbone", "weights"))
    try:
        threading.Thread(target=end, daemon=True).start()
        with pytest.raises(KeyboardInterrupt):
            command.execute(Namespace(**options, device="cpu", port=0, host=[]))
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    assert seen == [True] and [*tmp_path.iterdir()] == []


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
def test_however_a_page_ends_the_next_leaves_nothing(tmp_path):
    for name in ("SIGKILL", "SIGHUP", "SIGKILL", "SIGINT", "SIGTERM"):
        page = serving(tmp_path)
        wait_for(lambda: len(left_over(tmp_path)) == 1)
        page.send_signal(getattr(signal, name))
        assert "Traceback" not in page.communicate(timeout=200)[0]
    assert left_over(tmp_path) == []
