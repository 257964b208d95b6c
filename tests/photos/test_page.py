"""The page: what it does step by step, and once from start to download in a browser."""

import json
import shutil
import threading

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
from fewshot_landmarks.photos.page import Session
from fewshot_landmarks.support.errors import UserError

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
    adapted = clicked(begun).adapt(model)
    assert set(adapted.found) == {"b.png", "c.png"}
    least = min(adapted.found, key=lambda name: adapted.found[name].scores.mean())
    assert adapted.chosen == least
    assert adapted.current == adapted.found[least].scores.argmin()
    for name, found in adapted.found.items():
        assert found.points.shape == (3, 2) and found.scores.shape == (3,)
        inside = (found.points >= 0) & (found.points < SIZES[name])
        assert (inside | np.isnan(found.points)).all()


def test_a_landmark_that_no_photo_shows_is_not_found_nor_proposed(begun, model):
    adapted = clicked(begun.call("never, x, y, z").aim(1)).adapt(model)
    assert all(np.isnan(found.points[0]).all() for found in adapted.found.values())
    assert adapted.current != 0


def test_what_was_found_is_taken_over_by_the_first_correction(begun, model):
    adapted = clicked(begun).adapt(model).choose("b.png").aim(1)
    corrected = adapted.click(7, 8)
    found = adapted.found["b.png"].points
    assert corrected.annotated == ["a.png", "b.png"]
    assert corrected.marks["b.png"][1] == (7, 8)
    rest = {i: tuple(found[i].tolist()) for i in (0, 2) if np.isfinite(found[i, 0])}
    assert {i: place for i, place in corrected.marks["b.png"].items() if i != 1} == rest
    assert "b.png" not in corrected.undo().marks
    assert set(corrected.adapt(model).found) == {"c.png"}


def test_adapting_needs_a_landmark_and_a_photo_to_search(begun, files, model):
    with pytest.raises(UserError, match="no landmark"):
        begun.adapt(model)
    with pytest.raises(UserError, match="all photos"):
        clicked(Session().add(files[:1])[0]).adapt(model)


def test_the_learner_gets_the_annotated_photos_as_they_were_clicked(begun, files, model):
    given = {}

    class Spy:
        def adapt(self, images, landmarks, **options):
            given.update(options, images=images, landmarks=landmarks)
            return model.adapt(images, landmarks, **options)

    session = clicked(begun.call("x, y, z")).choose("c.png").aim(2).click(45, 30)
    session.adapt(Spy())
    assert given["images"] == [files[0][1], files[2][1]] and given["names"] == ("x", "y", "z")
    np.testing.assert_allclose(given["landmarks"][0], CLICKS)
    np.testing.assert_array_equal(np.isfinite(given["landmarks"][1, :, 0]), [False, False, True])
    x1, y1, x2, y2 = given["boxes"][0]
    assert 0 <= x1 < 20 and 0 <= y1 < 10 and 100 < x2 < 120 and 70 < y2 < 90
    np.testing.assert_array_equal(given["boxes"][1], [0, 0, 90, 90], "one landmark: all of it")


def test_pictures_show_what_is_set_and_found(begun, model):
    plain, marked = begun.picture(), clicked(begun).picture()
    assert plain.shape == marked.shape == (750, 1000, 3)
    changed = np.argwhere((plain != marked).any(-1))[:, ::-1]
    for x, y in np.multiply(CLICKS, 1000 / 120):
        assert np.hypot(*(changed - (x, y)).T).min() < 8
    adapted = clicked(begun).adapt(model)
    before, after = begun.thumbnails(), adapted.thumbnails()
    assert all((old != new).any() for (old, _), (new, _) in zip(before, after))
    assert not adapted.listed_like(begun) and adapted.listed_like(adapted.aim(1))


def test_the_download_is_read_back(begun, files, model):
    session = clicked(begun.call("x, y, z, w")).hide().adapt(model).choose("b.png").aim(0)
    session = session.click(11.5, 12)
    written = files[0][1].parent / "landmarks.json"
    written.write_text(json.dumps(session.coco()))
    read = read_annotations(written)
    assert not read.index.skipped
    assert [photo.path for photo in read.photos] == [path for _, path in files]
    assert read.categories[1].names == ("x", "y", "z", "w")
    assert read.index.photo.tolist() == [0, 1, 2]
    points, visible = read.index.landmarks(0)
    np.testing.assert_allclose(points[:3], CLICKS)
    assert visible.tolist() == [2, 2, 2, 0]
    np.testing.assert_allclose(read.index.landmarks(1)[0][0], (11.5, 12))
    found = session.found["c.png"]
    seen = np.isfinite(found.points[:, 0])
    points, visible = read.index.landmarks(2)
    np.testing.assert_allclose(points[seen], found.points[seen], atol=0.01)
    assert visible.tolist() == (2 * seen).tolist()
    rows = session.coco()["annotations"]
    assert ["keypoint_scores" in row for row in rows] == [False, False, True]
    np.testing.assert_allclose(rows[2]["keypoint_scores"], found.scores, atol=1e-4)
    assert rows[2]["score"] == pytest.approx(found.scores.mean(), abs=1e-4)


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


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_from_photos_to_download_in_a_browser(served, files, tmp_path):
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1400, "height": 950})
        page.set_default_timeout(60_000)
        page.add_init_script(LATE)
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(served)
        page.set_input_files("input[type=file]", [path for _, path in files])
        picture, captions = page.locator("#photo img"), page.locator("#photos .caption-label")
        choices = page.locator("#landmark label")
        playwright.expect(captions).to_have_count(3)

        def click(name, place):
            """Click the shown photo at a place in its own pixels."""
            box = picture.bounding_box()
            width, height = SIZES[name]
            x = box["x"] + place[0] / width * box["width"]
            page.mouse.click(x, box["y"] + place[1] / height * box["height"])

        picture.wait_for()
        for place in CLICKS:  # without waiting: none may be lost
            click("a.png", place)
        playwright.expect(choices).to_have_count(4)
        page.click("#adapt")
        playwright.expect(captions.filter(has_text="%")).to_have_count(2)

        captions.nth(1).click()
        sides = "image => image.naturalWidth / image.naturalHeight"
        page.wait_for_function(f"({sides})(document.querySelector('#photo img')) < 1")
        choices.nth(1).click()
        playwright.expect(choices.nth(1).locator("input")).to_be_checked()
        click("b.png", (40, 50))
        playwright.expect(captions.filter(has_text="%")).to_have_count(1)
        page.click("#adapt")
        page.wait_for_function(f"({sides})(document.querySelector('#photo img')) == 1")

        page.locator("#names textarea, #names input").fill("one, two, one")
        page.keyboard.press("Tab")
        page.get_by_text("two landmarks are called one").wait_for()
        page.locator("#names textarea, #names input").fill("left, right, hem")
        page.keyboard.press("Tab")
        playwright.expect(choices.nth(2)).to_contain_text("hem")

        with page.expect_download() as download:
            page.click("#download")
        for name, path in files:
            shutil.copy(path, tmp_path / name)
        download.value.save_as(tmp_path / "landmarks.json")
        browser.close()

    elsewhere = [url for url in asked if not url.startswith((served, "data:", "blob:"))]
    assert not elsewhere
    read = read_annotations(tmp_path / "landmarks.json")
    assert read.categories[1].names == ("left", "right", "hem")
    assert [photo.path.name for photo in read.photos] == [*SIZES]
    np.testing.assert_allclose(read.index.landmarks(0)[0], CLICKS, atol=0.5)
    np.testing.assert_allclose(read.index.landmarks(1)[0][1], (40, 50), atol=0.5)
    rows = json.loads((tmp_path / "landmarks.json").read_text("utf-8"))["annotations"]
    assert [row["image_id"] for row in rows] == [1, 2, 3]
    assert ["score" in row for row in rows] == [False, False, True]
