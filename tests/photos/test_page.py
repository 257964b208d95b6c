"""The page: what it does step by step, and once from start to download in a browser."""

import io
import json
import re
import shutil
import threading
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from baselines.proto import PROTO
from fewshot_landmarks.data.formats.annotations import read_annotations
from fewshot_landmarks.networks.base import BaseModel
from fewshot_landmarks.networks.small import SmallFENet
from fewshot_landmarks.photos.commands import page as command
from fewshot_landmarks.photos.model import Model
from fewshot_landmarks.photos.page import session as sessions
from fewshot_landmarks.photos.page.downloads import FORMS, written
from fewshot_landmarks.photos.page.session import Finding, Session, UploadedPhoto
from fewshot_landmarks.photos.page.view import choices, listed, shown
from fewshot_landmarks.photos.page.visit import Visit, Worker
from fewshot_landmarks.support.errors import UserError
from tests.processes import wait_for

SIZES = {"a.png": (120, 90), "b.png": (80, 100), "c.png": (90, 90)}  # width, height
CLICKS = [(20, 10), (60, 70), (100, 30)]
# Answers come late, as on a busy machine: the page may ask before it has seen the last one.
LATE = """const send = window.fetch;
window.fetch = async (...what) => {
    const answer = await send(...what);
    if (!answer.url.includes("/queue/data")) return answer;
    const late = new TransformStream({
        transform(piece, out) { setTimeout(() => out.enqueue(piece), 150); },
        flush: () => new Promise(done => setTimeout(done, 200)),
    });
    return new Response(answer.body.pipeThrough(late), answer);
};"""
CHROMIUM = shutil.which("chromium")
ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    base = BaseModel(SmallFENet(16, 8), {1: 25, 9: 8}, "linear").requires_grad_(False)
    learner = PROTO(base, PROTO.Settings()).eval()
    return Model(learner, "PROTO", "small", {"channels": 16, "width": 8}, 32, None, {})


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for name, (width, height) in SIZES.items():
        pixels = rng.integers(0, 256, (height // 10, width // 10, 3), np.uint8)
        Image.fromarray(pixels).resize((width, height)).save(folder / name)
    return [(name, folder / name) for name in SIZES]


@pytest.fixture
def begun(files):
    return Session().add(files)[0]


def adapt(session, model):
    """A session when all is found."""
    since = session
    for found in session.adapt(model):
        session = session.take(found, since)
    return session


def clicked(session, places=CLICKS):
    for place in places:
        session = session.click(*place)
    return session


def test_landmarks_are_numbered_in_the_order_of_clicks_on_the_first_photo(begun):
    assert (begun.chosen, begun.names, begun.current) == ("a.png", (), 0)
    first = clicked(begun)
    assert first.names == ("1", "2", "3")
    assert first.marks == {"a.png": dict(enumerate(map(tuple, CLICKS)))}
    second = clicked(first.choose("b.png"), [(1, 2), (3, 4), (5, 6), (7, 8)])
    assert second.names == ("1", "2", "3"), "a later photo adds no landmark"
    assert second.marks["b.png"] == {0: (1, 2), 1: (3, 4), 2: (7, 8)}
    assert begun.marks == {}, "a session never changes"


def test_a_landmark_is_moved_by_choosing_it_and_clicking_again(begun):
    moved = clicked(begun).aim(1).click(5, 6)
    assert moved.marks["a.png"] == {0: CLICKS[0], 1: (5, 6), 2: CLICKS[2]}
    assert moved.names == ("1", "2", "3")


def test_a_click_goes_on_to_the_next_landmark_that_is_not_set(begun):
    other = clicked(begun).choose("b.png").aim(1)
    assert other.click(1, 1).current == 2
    assert other.click(1, 1).hide().current == 0
    assert clicked(begun).current == 3, "on the first photo, a new one"


def test_a_photo_is_annotated_once_a_landmark_is_set(begun):
    other = clicked(begun).choose("b.png").hide()
    assert other.annotated == ["a.png"]
    assert other.click(1, 1).annotated == ["a.png", "b.png"]
    assert other.hide().hide().annotated == ["a.png"]


def test_a_photo_that_shows_no_landmark_is_not_searched(begun):
    other = clicked(begun).choose("b.png").hide().hide()
    assert other.others == ["b.png", "c.png"]
    assert other.hide().others == ["c.png"]


def test_a_landmark_that_nobody_has_seen_cannot_be_called_not_visible(begun):
    with pytest.raises(UserError, match="landmark 4"):
        clicked(begun).hide()


def test_the_queue_has_what_teaches_most_first_and_not_what_is_labelled():
    """Four photos of three kinds, one of them as the labelled one is; the last is the least sure."""
    looks = np.eye(3)[[0, 1, 1, 2]] + np.array([[0, 0, 0], [0, 0, 0], [0.1, 0, 0], [0, 0, 0]])
    scores = np.array([0.9, 0.9, 0.9, 0.3])[:, None] * np.ones((4, 2))
    found = {
        name: Finding(np.zeros((2, 2)), sure, np.zeros(4), look, np.array([[1.0, 0, 0]]))
        for name, sure, look in zip("wxyz", scores, looks)
    }
    photos = dict.fromkeys("wxyz", UploadedPhoto(None, 50, 50))
    session = Session(photos=photos).take(found, Session(photos=photos))
    assert session.queue()[0] == "z" and session.queue()[1] in "xy"
    labelled = replace(session, marks={"z": {0: (1.0, 1.0)}})
    assert labelled.queue() == session.queue()[1:]


def test_undo_takes_back_clicks_one_by_one_and_shows_their_photo(begun):
    there = clicked(begun).choose("b.png").click(1, 1).hide().choose("c.png")
    once = there.undo()
    assert (once.chosen, once.current, once.marks["b.png"]) == ("b.png", 1, {0: (1, 1)})
    back = once.undo().undo()
    assert (back.chosen, back.current, back.names) == ("a.png", 2, ("1", "2"))
    with pytest.raises(UserError):
        back.undo().undo().undo()


def test_names_are_given_before_or_after_the_clicks(begun):
    before = begun.call(" hem , left cuff,\nright cuff")
    assert before.names == ("hem", "left cuff", "right cuff")
    assert clicked(before).current == 2 and clicked(before).click(1, 1).names == before.names
    after = clicked(begun).call("x, y, z, w")
    assert after.names == ("x", "y", "z", "w") and after.current == 3
    assert after.call("").names == ("1", "2", "3")
    assert after.undo().names == after.names
    with pytest.raises(UserError, match="2 names for 3"):
        clicked(begun).call("x, y")
    with pytest.raises(UserError, match="x"):
        begun.call("x, y, x")


def test_files_that_are_no_photos_are_said_and_the_others_taken(files, tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    turned = Image.new("RGB", (40, 20), "red")
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif)
    given = [("notes.txt", tmp_path / "notes.txt"), *files, ("turned.jpg", tmp_path / "turned.jpg")]
    session, lines = Session().add(given)
    assert [*session.photos] == [*SIZES, "turned.jpg"]
    assert len(lines) == 1 and lines[0].startswith("notes.txt: ")
    assert (session.photos["turned.jpg"].width, session.photos["turned.jpg"].height) == (20, 40)
    again, lines = session.add(files[:1])
    assert [*again.photos] == [*session.photos] and lines[0].startswith("a.png: ")


def test_landmarks_are_found_in_all_photos_that_are_not_annotated(begun, model):
    adapted = adapt(clicked(begun), model)
    assert set(adapted.found) == {"b.png", "c.png"}
    least = min(adapted.found, key=lambda name: adapted.found[name].scores.mean())
    assert adapted.queue()[0] == least and adapted.next().chosen == least
    assert adapted.next().current == adapted.found[least].scores.argmin()
    for name, found in adapted.found.items():
        assert found.points.shape == (3, 2) and found.scores.shape == (3,)
        inside = (found.points >= 0) & (found.points < SIZES[name])
        assert (inside | np.isnan(found.points)).all()


def test_a_landmark_that_no_photo_shows_is_not_found_nor_proposed(begun, model):
    adapted = adapt(clicked(begun.call("never, x, y, z").aim(1)), model)
    assert all(np.isnan(found.points[0]).all() for found in adapted.found.values())
    assert adapted.next().current != 0


def test_what_was_found_is_taken_over_by_the_first_correction(begun, model):
    adapted = adapt(clicked(begun), model).choose("b.png").aim(1)
    corrected = adapted.click(7, 8)
    found = adapted.found["b.png"].points
    assert corrected.annotated == ["a.png", "b.png"]
    assert corrected.marks["b.png"][1] == (7, 8)
    rest = {i: tuple(found[i].tolist()) for i in (0, 2) if np.isfinite(found[i, 0])}
    assert {i: place for i, place in corrected.marks["b.png"].items() if i != 1} == rest
    assert "b.png" not in corrected.undo().marks
    assert adapt(corrected, model).queue() == ["c.png"]


def test_adapting_needs_a_landmark_and_a_photo_to_search(begun, files, model):
    with pytest.raises(UserError, match="no landmark"):
        adapt(begun, model)
    with pytest.raises(UserError, match="all photos"):
        adapt(clicked(Session().add(files[:1])[0]), model)


def test_the_learner_gets_the_annotated_photos_as_they_were_clicked(begun, files, model):
    given = {}

    class Spy:
        def adapt(self, images, landmarks, **options):
            given.update(options, images=images, landmarks=landmarks)
            return model.adapt(images, landmarks, **options)

    session = clicked(begun.call("x, y, z")).choose("c.png").aim(2).click(45, 30)
    adapt(session, Spy())
    assert given["images"] == [files[0][1], files[2][1]] and given["names"] == ("x", "y", "z")
    np.testing.assert_allclose(given["landmarks"][0], CLICKS)
    np.testing.assert_array_equal(np.isfinite(given["landmarks"][1, :, 0]), [False, False, True])
    x1, y1, x2, y2 = given["boxes"][0]
    assert 0 <= x1 < 20 and 0 <= y1 < 10 and 100 < x2 < 120 and 70 < y2 < 90
    np.testing.assert_array_equal(given["boxes"][1], [0, 0, 90, 90], "one landmark: all of it")


def test_corrections_teach_at_the_next_adapt(begun, files, model):
    """As they are clicked, or called right."""
    given = []

    class Spy:
        def adapt(self, images, landmarks, **options):
            given.append((list(images), landmarks))
            return model.adapt(images, landmarks, **options)

    adapted = adapt(clicked(begun), model).choose("b.png")
    right = adapted.confirm()
    assert right.annotated == ["a.png", "b.png"] and right.chosen == "c.png"
    np.testing.assert_allclose(right.placed("b.png"), adapted.found["b.png"].points)
    with pytest.raises(UserError, match="nothing was found"):
        right.choose("b.png").confirm()
    moved = right.aim(2).click(5, 6)
    with pytest.raises(UserError, match="all photos"):
        adapt(moved, Spy())
    more = files[0][1].parent / "d.png"
    Image.new("RGB", (50, 50)).save(more)
    adapt(moved.add([("d.png", more)])[0], Spy())
    ((images, landmarks),) = given
    assert images == [path for _, path in files]
    np.testing.assert_allclose(landmarks[1], adapted.found["b.png"].points)
    np.testing.assert_allclose(landmarks[2][2], (5, 6))
    back = right.undo()
    assert (back.chosen, back.annotated, back.marks) == ("b.png", ["a.png"], adapted.marks)


def test_photos_come_in_the_order_of_the_queue(begun, model):
    adapted = adapt(clicked(begun), model)
    first, last = adapted.queue()
    assert adapted.found[first].score <= adapted.found[last].score
    assert adapted.next().chosen == first and adapted.next().next().chosen == last
    assert adapted.next().next().next().chosen == first
    once = adapted.next().confirm()
    assert once.queue() == [last] == [once.chosen]
    assert [
        one["caption"].split(" · ")[0] for one in listed(once, address) if "next" in one["caption"]
    ]
    done = once.confirm()
    assert done.queue() == [] and done.chosen == last
    with pytest.raises(UserError, match="no photo is left"):
        done.next()


def test_a_box_that_is_drawn_is_learnt_from_and_searched(begun, model):
    given = []

    class Spy:
        def adapt(self, images, landmarks, **options):
            given.append(options["boxes"])
            finder = model.adapt(images, landmarks, **options)
            return SpyFinder(finder)

    class SpyFinder:
        def __init__(self, finder):
            self.finder = finder

        def predict(self, images, boxes=None):
            given.append((len(images), boxes))
            return self.finder.predict(images, boxes)

        def looks(self, images, boxes):
            return self.finder.looks(images, boxes)

        @property
        def support_looks(self):
            return self.finder.support_looks

    framed = clicked(begun).frame(110, 85, 5, 2)
    assert framed.boxes == {"a.png": (5, 2, 110, 85)}, "whatever corner comes first"
    framed = framed.choose("c.png").frame(-20, 10, 60, 200)
    assert framed.boxes["c.png"] == (0, 10, 60, 90), "cut off at the photo"
    adapted = adapt(framed, Spy())
    np.testing.assert_array_equal(given[0], [[5, 2, 110, 85]])
    (others, none), (count, boxes) = given[1:]
    np.testing.assert_array_equal(boxes, [[0, 10, 60, 90]])
    assert (count, others, none) == (1, 1, None)
    np.testing.assert_allclose(adapted.found["c.png"].box, [0, 10, 60, 90])
    assert set(adapted.found) == {"b.png", "c.png"}
    again = framed.frame(1, 1, 30, 30)
    assert again.boxes["c.png"] == (1, 1, 30, 30) and again.undo().boxes == framed.boxes
    assert set(again.unframe().boxes) == {"a.png"}
    assert again.unframe().undo().boxes == again.boxes
    with pytest.raises(UserError, match="no box"):
        again.unframe().unframe()


@pytest.mark.parametrize(
    "corners",
    [(5, 5, 5, 50), (5, 5, 6, 50), (5, 5, 5, 5), (-9, -9, -2, -2), (np.nan, 0, 9, 9), (0, 0, np.inf, 9)],
)  # fmt: skip
def test_a_box_has_a_size_and_lies_in_the_photo(begun, corners):
    with pytest.raises(UserError, match="box"):
        begun.frame(*corners)


@pytest.mark.parametrize("place", [(-1, 5), (5, 91), (np.nan, 5), (5, np.inf)])
def test_a_click_lies_in_the_photo(begun, place):
    with pytest.raises(UserError, match="outside"):
        begun.click(*place)


def test_photos_and_landmarks_are_walked_through(begun):
    assert [begun.walk(n).chosen for n in (1, 2, 3, -1)] == ["b.png", "c.png", "a.png", "c.png"]
    session = clicked(begun)
    assert [session.turn(n).current for n in (-1, 1, 2)] == [2, 0, 1]
    assert session.choose("b.png").turn(-1).current == 2, "in other photos no new one is offered"
    assert Session().walk(1).chosen is None and Session().turn(1).current == 0
    with pytest.raises(UserError):
        session.aim("1")


def test_clicks_made_while_photos_are_searched_stay(begun, model):
    since = clicked(begun).choose("b.png").hide()
    steps = since.adapt(model)
    assert next(steps) == {}
    later = since.choose("c.png").click(3, 4)
    for found in steps:
        later = later.take(found, since)
    assert set(later.found) == {"b.png"}, "what was said before the search gives way to it"
    assert later.marks["c.png"] == {0: (3, 4)} and "b.png" not in later.marks
    assert later.undo().marks["b.png"] == {0: None}


def test_a_newer_search_ends_the_older(begun, model, monkeypatch):
    monkeypatch.setattr(sessions, "AT_ONCE", 1)
    visit, searches = Visit(), []

    class Kept:
        def begin(self, steps):
            searches.append(steps)

    with pytest.raises(UserError, match="no landmark"):
        visit.adapt(model, Kept())
    visit.step(lambda _: clicked(begun))
    visit.adapt(model, Kept())
    assert visit.progress == (0, 2)
    next(searches[0]), next(searches[0])
    assert visit.progress == (1, 2) and len(visit.session.found) == 1
    assert visit.session.chosen == visit.session.queue()[0], "nobody clicked: it leads there"
    visit.step(lambda session: session.choose("a.png").aim(0).click(30, 30))
    visit.adapt(model, Kept())
    assert list(searches[0]) == [] and visit.progress == (0, 2)
    for _ in searches[1]:
        pass
    assert visit.progress is None and visit.trouble is None and len(visit.session.found) == 2
    assert visit.session.marks["a.png"][0] == (30, 30)


def test_a_search_that_fails_is_said_and_others_go_on(begun, model, capsys):
    class Broken:
        def adapt(self, *arguments, **options):
            raise {"user": UserError("two mice"), "other": ValueError("a bug")}[kind]

    worker, visits = Worker(), []
    for kind in ("user", "other", "none"):
        visit = Visit()
        visit.step(lambda _: clicked(begun))
        visit.adapt(model if kind == "none" else Broken(), worker)
        wait_for(lambda: visit.progress is None)
        visits.append(visit)
    assert visits[0].trouble == "two mice" and "terminal" in visits[1].trouble
    assert visits[2].trouble is None and len(visits[2].session.found) == 2
    assert "a bug" in capsys.readouterr().err


def test_searches_of_two_visitors_take_turns(begun, model, monkeypatch):
    monkeypatch.setattr(sessions, "AT_ONCE", 1)
    turns, first, second = [], Visit(), Visit()

    class Noted(Session):
        pass

    for visit in (first, second):
        visit.step(lambda _: clicked(begun))
        take = visit.take
        visit.take = lambda *found, visit=visit, take=take: (turns.append(visit), take(*found))
    worker = Worker()
    ready = threading.Event()

    def hold():
        ready.wait(60)
        yield

    worker.begin(hold())  # until both wait
    first.adapt(model, worker)
    second.adapt(model, worker)
    ready.set()
    wait_for(lambda: first.progress is None and second.progress is None)
    assert turns == [first, second] * 3
    assert set(first.session.found) == set(second.session.found) == {"b.png", "c.png"}


def test_a_search_ends_with_its_visit(begun, model):
    visit, searches = Visit(), []

    class Kept:
        def begin(self, steps):
            searches.append(steps)

    visit.step(lambda _: clicked(begun))
    visit.adapt(model, Kept())
    next(searches[0])
    del visit
    assert list(searches[0]) == []


def address(photo, size):
    return f"{photo.path.name}/{size}"


def test_what_is_shown_are_places_in_the_photos_pixels(begun, model):
    assert shown(Session(), address) is None and listed(Session(), address) == []
    session = clicked(begun.call("x, y, z")).frame(1, 2, 60, 70)
    view = shown(session, address)
    assert (view["photo"], view["width"], view["height"]) == (0, 120, 90)
    assert view["source"] == "a.png/large" and view["box"] == [1, 2, 60, 70]
    assert [(one["x"], one["y"]) for one in view["landmarks"]] == CLICKS
    assert {one["score"] for one in view["landmarks"]} == {None}
    assert [one["name"] for one in view["landmarks"]] == ["x", "y", "z"]
    assert [label for label, _ in choices(session)] == ["1 x ✓", "2 y ✓", "3 z ✓"]
    adapted = adapt(session, model).choose("c.png")
    view, found = shown(adapted, address), adapted.found["c.png"]
    there = np.isfinite(found.points[:, 0])
    np.testing.assert_allclose(
        [(one["x"], one["y"]) for one in view["landmarks"]], found.points[there], atol=0.01
    )
    np.testing.assert_allclose(
        [one["score"] for one in view["landmarks"]], found.scores[there], atol=0.01
    )
    np.testing.assert_allclose(view["searched"], found.box, atol=0.1)
    lines = listed(adapted, address)
    assert [line["chosen"] for line in lines] == [False, False, True]
    assert lines[0]["dots"] == {"own": "M20 10h0M60 70h0M100 30h0"}
    assert sum(path.count("M") for path in lines[2]["dots"].values()) == there.sum()
    ranks = {line["name"]: line["caption"].split(" · ")[0] for line in lines}
    assert [ranks[name] for name in adapted.queue()] == ["next 1", "next 2"]


SAVED = {
    "coco": "landmarks.json",
    "labelme": "labelme",
    "cvat": "annotations.xml",
    "label-studio": "label-studio/tasks.json",
    "yolo": "yolo",
    "deeplabcut": "CollectedData_page.csv",
    "sleap": "landmarks.slp",
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("both", [True, False])
def test_the_download_is_read_back(begun, files, model, tmp_path, form, both):
    session = adapt(clicked(begun.call("x, y, z, w")).hide(), model).choose("b.png").aim(0)
    session = session.click(11.5, 12)
    name, content = written(session, form, both)
    assert (name, content) == written(session, form, both)
    if name.endswith(".zip"):
        zipfile.ZipFile(io.BytesIO(content)).extractall(tmp_path / form)
    else:
        (tmp_path / name).write_bytes(content)
    read = read_annotations(tmp_path / SAVED[form], images=files[0][1].parent)
    assert not read.index.skipped
    # Where an annotator tells people's from models', what people made is what is read.
    apart = form in ("label-studio", "sleap")
    count = 3 if both and not apart else 2
    names = [read.photos[i].path.name for i in read.index.photo]
    assert names == [*SIZES][:count]
    (category,) = {read.categories[i].names for i in read.index.category.tolist()}
    order = [category.index(each) for each in ("x", "y", "z")]
    points, visible = read.index.landmarks(0)
    np.testing.assert_allclose(points[order], CLICKS, atol=0.01)
    assert (visible[order] == 2).all() and visible.sum() == 6
    np.testing.assert_allclose(read.index.landmarks(1)[0][order[0]], (11.5, 12), atol=0.01)
    if count == 3:
        found = session.found["c.png"]
        seen = np.isfinite(found.points[:3, 0])
        points, visible = read.index.landmarks(2)
        np.testing.assert_allclose(points[order][seen], found.points[:3][seen], atol=0.01)
        assert (visible[order] > 0).tolist() == seen.tolist()


def test_found_photos_have_scores_and_labelled_ones_none(begun, model):
    session = adapt(clicked(begun), model)
    rows = json.loads(written(session, "coco", True)[1])["annotations"]
    assert [row["image_id"] for row in rows] == [1, 2, 3]
    assert ["keypoint_scores" in row for row in rows] == [False, True, True]
    found = session.found["c.png"]
    np.testing.assert_allclose(rows[2]["keypoint_scores"], found.scores, atol=1e-4)
    assert rows[2]["score"] == pytest.approx(found.score, abs=1e-4)
    tasks = json.loads(
        zipfile.ZipFile(io.BytesIO(written(session, "label-studio", True)[1])).read("tasks.json")
    )
    assert ["predictions" in task for task in tasks] == [False, True, True]
    assert "score" not in json.dumps(tasks[0])
    labelme = zipfile.ZipFile(io.BytesIO(written(session, "labelme", True)[1]))
    told = [json.loads(labelme.read(f"{name}.json"))["shapes"][1]["description"] for name in "ab"]
    assert told[0] == "" and "score" in told[1]
    framed = json.loads(written(session.choose("a.png").frame(2, 3, 50, 60), "coco", False)[1])
    assert framed["annotations"][0]["bbox"] == [2, 3, 48, 57]


def test_a_download_that_cannot_be_is_said(begun, files, tmp_path):
    with pytest.raises(UserError, match="nothing to download"):
        written(begun, "coco", True)
    with pytest.raises(UserError, match="form"):
        written(clicked(begun), "../coco", True)
    Image.open(files[0][1]).save(tmp_path / "a.jpg")
    twins = clicked(begun.add([("a.jpg", tmp_path / "a.jpg")])[0]).choose("a.jpg").click(1, 1)
    with pytest.raises(UserError, match="LabelMe has a file a photo"):
        written(twins, "labelme", True)


@pytest.mark.parametrize("name", ["", ".", "..", " ", "a.json"])
def test_a_photo_has_a_name(files, name):
    session, (line,) = Session().add([(name, files[0][1])])
    assert not session.photos and repr(name) in line


@pytest.fixture
def served(model, tmp_path, monkeypatch):
    """A page's address."""
    pytest.importorskip("gradio")
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")  # `server` sets it
    with command.listening(0) as place:
        page = command.server(model, tmp_path)
        running = threading.Thread(target=page.run, args=([place],))
        running.start()
        yield f"http://{command.ADDRESS}:{place.getsockname()[1]}/"
        page.should_exit = True
        running.join()


def test_a_port_that_is_taken_is_said():
    with command.listening(0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"{port}"):
            command.listening(port)


class Tab:
    """A visitor's browser window."""

    def __init__(self, browser, address, expect, late=False):
        self.page, self.expect, self.asked = browser.new_page(viewport=WINDOW), expect, []
        self.page.set_default_timeout(60_000)
        self.errors = []
        self.page.on("pageerror", lambda error: self.errors.append(error))
        if late:
            self.page.add_init_script(LATE)
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(address)
        self.captions = self.page.locator("#photos .caption")
        self.choices = self.page.locator("#landmark label")
        self.frame, self.picture = (
            self.page.locator("#photo .frame"),
            self.page.locator("#photo img"),
        )
        self.marks = self.page.locator("#photo svg circle:not(.current)")

    def add(self, paths):
        self.page.set_input_files("input[type=file]", paths)
        self.expect(self.captions).to_have_count(len(paths))
        self.picture.wait_for()

    def at(self, name, place):
        """Where in the window a place of the shown photo is."""
        self.page.wait_for_function(
            "wide => document.querySelector('#photo img').naturalWidth == wide", arg=SIZES[name][0]
        )
        box = self.picture.bounding_box()
        width, height = SIZES[name]
        return (box["x"] + place[0] / width * box["width"],
                box["y"] + place[1] / height * box["height"])  # fmt: skip

    def click(self, name, place):
        self.page.mouse.click(*self.at(name, place))

    def drag(self, start, *ends):
        self.page.mouse.move(*start)
        self.page.mouse.down()
        for end in ends:
            self.page.mouse.move(*end)
        self.page.mouse.up()

    def choose(self, number):
        self.page.locator("#photos .item").nth(number).click()
        self.expect(self.frame).to_have_attribute("data-photo", str(number))

    def download(self, form, folder):
        self.page.locator("#form input").click()
        self.page.get_by_role("option", name=form, exact=True).click()
        with self.page.expect_download() as download:
            self.page.click("#download")
        to = folder / download.value.suggested_filename
        download.value.save_as(to)
        return to


WINDOW = {"width": 1400, "height": 950}


@pytest.fixture
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        playwright.expect.set_options(timeout=60_000)
        opened.expect = playwright.expect
        yield opened
        opened.close()


in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


@in_a_browser
def test_from_photos_to_download_in_a_browser(served, browser, files, tmp_path):
    tab = Tab(browser, served, browser.expect, late=True)
    page, expect = tab.page, browser.expect
    tab.add([path for _, path in files])
    for place in CLICKS:  # without waiting: none may be lost
        tab.click("a.png", place)
    expect(tab.choices).to_have_count(4)
    expect(tab.marks).to_have_count(3)
    page.click("#box")
    tab.drag(tab.at("a.png", (10, 5)), tab.at("a.png", (60, 50)), tab.at("a.png", (110, 85)))
    expect(page.locator("#photo rect.box")).to_have_count(1)
    page.click("#adapt")
    expect(tab.captions.filter(has_text="%")).to_have_count(2)
    expect(tab.captions.filter(has_text="next 1")).to_have_count(1)
    # The first that was found.
    expect(tab.frame).to_have_attribute("data-photo", re.compile("[12]"))

    tab.choose(1)
    tab.choices.nth(1).click()
    expect(tab.choices.nth(1).locator("input")).to_be_checked()
    tab.click("b.png", (40, 50))
    expect(tab.captions.filter(has_text="%")).to_have_count(1)
    page.click("#adapt")
    page.click("#next")
    expect(tab.frame).to_have_attribute("data-photo", "2")
    page.click("#right")
    expect(tab.captions.filter(has_text="annotated")).to_have_count(3)
    page.click("#undo")
    expect(tab.captions.filter(has_text="annotated")).to_have_count(2)

    page.locator("#names textarea, #names input").fill("one, two, one")
    page.keyboard.press("Tab")
    page.get_by_text("two landmarks are called one").wait_for()
    page.locator("#names textarea, #names input").fill("left, right, hem")
    page.keyboard.press("Tab")
    expect(tab.choices.nth(2)).to_contain_text("hem")

    for name, path in files:
        shutil.copy(path, tmp_path / name)
    saved = tab.download("coco", tmp_path)
    assert not tab.errors
    elsewhere = [url for url in tab.asked if not url.startswith((served, "data:", "blob:"))]
    assert not elsewhere
    # Each photo is sent once, however much is clicked and found.
    sent = [url for url in tab.asked if "/photos/" in url]
    assert len(sent) == len(set(sent)) <= 2 * len(SIZES)
    read = read_annotations(saved)
    assert read.categories[1].names == ("left", "right", "hem")
    assert [photo.path.name for photo in read.photos] == [*SIZES]
    np.testing.assert_allclose(read.index.landmarks(0)[0], CLICKS, atol=0.5)
    np.testing.assert_allclose(read.index.box[0], (10, 5, 110, 85), atol=0.7)
    np.testing.assert_allclose(read.index.landmarks(1)[0][1], (40, 50), atol=0.5)
    rows = json.loads(saved.read_text("utf-8"))["annotations"]
    assert [row["image_id"] for row in rows] == [1, 2, 3]
    assert ["score" in row for row in rows] == [False, False, True]
    packed = tab.download("labelme", tmp_path)
    assert sorted(zipfile.ZipFile(packed).namelist()) == ["a.json", "b.json", "c.json"]


@in_a_browser
def test_keys_zoom_and_boxes_in_a_browser(served, browser, files):
    tab = Tab(browser, served, browser.expect)
    page, expect = tab.page, browser.expect
    tab.add([path for _, path in files])
    wide = tab.picture.bounding_box()["width"]
    page.mouse.move(*tab.at("a.png", (60, 70)))
    page.mouse.wheel(0, -100)
    page.keyboard.press("+")
    assert tab.picture.bounding_box()["width"] == pytest.approx(1.8 * wide, rel=0.01)
    tab.click("a.png", (60, 50))
    expect(tab.marks).to_have_count(1)
    before = tab.at("a.png", (60, 50))
    tab.drag(before, (before[0] + 20, before[1] + 15), (before[0] + 30, before[1] + 20))
    moved = tab.at("a.png", (60, 50))
    np.testing.assert_allclose(np.subtract(moved, before), (30, 20), atol=1)
    tab.click("a.png", (50, 40))
    expect(tab.marks).to_have_count(2)
    page.keyboard.press("0")
    assert tab.picture.bounding_box()["width"] == pytest.approx(wide)
    # Where they are drawn is where they were clicked.
    for number, place in enumerate([(60, 50), (50, 40)]):
        edge = tab.marks.nth(number).bounding_box()
        centre = edge["x"] + edge["width"] / 2, edge["y"] + edge["height"] / 2
        np.testing.assert_allclose(centre, tab.at("a.png", place), atol=2)
    page.keyboard.press("Control+z")
    expect(tab.marks).to_have_count(1)
    tab.click("a.png", (20, 20))
    expect(tab.marks).to_have_count(2)
    page.keyboard.press("ArrowUp")
    expect(tab.choices.nth(1).locator("input")).to_be_checked()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(tab.choices.nth(0).locator("input")).to_be_checked()
    page.keyboard.press("x")
    expect(tab.choices.nth(0)).to_contain_text("–")
    page.keyboard.press("Control+z")

    page.keyboard.press("b")
    tab.click("a.png", (15, 10))  # two clicks make a box as well
    tab.click("a.png", (100, 80))
    expect(page.locator("#photo rect.box")).to_have_count(1)
    expect(tab.marks).to_have_count(2)
    page.keyboard.press("b")
    tab.drag(tab.at("a.png", (30, 20)), tab.at("a.png", (60, 60)), tab.at("a.png", (90, 80)))
    box = page.locator("#photo rect.box")
    expect(box).to_have_count(1)
    left, right = tab.at("a.png", (30, 20))[0], tab.at("a.png", (90, 80))[0]
    page.wait_for_function(
        "wide => Math.abs(document.querySelector('#photo rect.box').getAttribute('width') - wide) < 3",
        arg=right - left,
    )
    page.keyboard.press("Delete")
    expect(box).to_have_count(0)

    page.keyboard.press("a")
    expect(tab.captions.filter(has_text="%")).to_have_count(2)
    page.keyboard.press("n")
    shown = tab.frame.get_attribute("data-photo")
    page.keyboard.press("r")
    expect(tab.captions.filter(has_text="annotated")).to_have_count(2)
    assert shown != "0"
    tab.choose(0)
    page.keyboard.press("ArrowRight")
    expect(tab.frame).to_have_attribute("data-photo", "1")
    page.keyboard.press("ArrowLeft")
    expect(tab.frame).to_have_attribute("data-photo", "0")
    page.locator("#names textarea, #names input").fill("")
    page.locator("#names textarea, #names input").press_sequentially("an, xr, b")
    assert page.locator("#names textarea, #names input").input_value() == "an, xr, b"
    assert not tab.errors


@in_a_browser
def test_two_visitors_at_once_see_their_own(served, browser, files, tmp_path):
    tabs = [Tab(browser, served, browser.expect) for _ in range(2)]
    names = [["a.png", "b.png"], ["c.png", "b.png"]]
    places = dict(files)
    for tab, own in zip(tabs, names):
        tab.add([places[name] for name in own])
    for place in CLICKS[:2]:
        tabs[0].click("a.png", place)
        tabs[1].click("c.png", (place[1], place[0]))
    for tab in tabs:
        browser.expect(tab.marks).to_have_count(2)
    for tab in tabs:
        tab.page.click("#adapt")
    for tab, own in zip(tabs, names):
        browser.expect(tab.captions.filter(has_text="%")).to_have_count(1)
        assert [text.split(" · ")[-1] for text in tab.captions.all_inner_texts()] == own
    for number, (tab, own) in enumerate(zip(tabs, names)):
        folder = tmp_path / str(number)
        folder.mkdir()
        said = json.loads(tab.download("coco", folder).read_text())
        assert [image["file_name"] for image in said["images"]] == own
        x, y = said["annotations"][0]["keypoints"][:2]
        np.testing.assert_allclose((x, y), CLICKS[0] if not number else CLICKS[0][::-1], atol=0.5)
        assert not tab.errors
