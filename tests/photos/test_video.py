"""`predict` on clips: which frames are searched, what is said of them, and what a stop or a clip that
breaks off leaves.

Each frame has its number in it, as black and white fields along its lower edge.
"""

import json
import struct
import tracemalloc
from dataclasses import replace

import cv2
import numpy as np
import pytest

from fewshot_landmarks.__main__ import main
from fewshot_landmarks.data.formats.annotations import read_annotations
from fewshot_landmarks.data.images import Unreadable, read_photo
from fewshot_landmarks.data.video import Clip, is_clip
from fewshot_landmarks.photos.commands import predict
from fewshot_landmarks.photos.wanted import Frames
from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.outputs import RECORD
from tests.colours import model, photo, photos, radius
from tests.photos.test_predict import NAMES, inputs, results, run

WIDTH, HEIGHT, BITS = 120, 96, 8
KINDS = {"clip.mp4": "mp4v", "clip.avi": "MJPG", "clip.mkv": "mp4v", "clip.ts": "mpg2"}

pytestmark = pytest.mark.usefixtures("colours")


def truth(number):
    """A frame (H, W, 3) and its landmarks: the object moves to the right."""
    left = 4 + number % 30
    return photo(5, WIDTH, HEIGHT, box=(left, 6, left + 80, 76))[:2]


def write(path, count=20, code=None):
    out = cv2.VideoWriter(
        str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*(code or KINDS[path.name])), 25,
        (WIDTH, HEIGHT),
    )  # fmt: skip
    assert out.isOpened()
    for number in range(count):
        frame = truth(number)[0].copy()
        frame[-16:] = 0
        for bit in range(BITS):
            if number >> bit & 1:
                frame[-16:, bit * WIDTH // BITS : (bit + 1) * WIDTH // BITS] = 255
        out.write(frame[..., ::-1])
    out.release()
    return path


def drawn(pixels):
    """The number that is drawn in a frame."""
    fields = pixels[-12:-4].reshape(8, BITS, WIDTH // BITS, 3)[:, :, 4:-4].mean((0, 2, 3))
    return sum(1 << bit for bit, grey in enumerate(fields) if grey > 128)


def cut(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    images, landmarks, boxes = photos(range(3))
    finder = model().adapt(images, landmarks, boxes=boxes, names=NAMES, category="blobs")
    finder.save(folder / "finder.safetensors")
    return folder / "finder.safetensors"


@pytest.fixture
def finder(made, tmp_path, monkeypatch):
    """A model; and each frame that it is given has the number that it is said to have."""
    search = predict._predict

    def checked(finder, batch, *options):
        assert all(drawn(pixels) == wanted.frame for wanted, pixels in batch)
        yield from search(finder, batch, *options)

    monkeypatch.setattr(predict, "_predict", checked)
    return made


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("every", [1, 7])
def test_frames_are_numbered_as_they_follow_each_other(tmp_path, name, every):
    clip = Clip.open(write(tmp_path / name, 40))
    found = list(clip.read(every))
    assert [frame.number for frame in found] == list(range(0, 40, every))
    assert [drawn(frame.pixels) for frame in found] == list(range(0, 40, every))
    red = found[0].pixels.astype(int) @ (1, -1, -1)
    x, y = np.argwhere(red > 100).mean(0)[::-1]
    assert np.hypot(*(truth(0)[1][0] - (x, y))) < radius(WIDTH, HEIGHT), "red is red"


@pytest.mark.parametrize("name", KINDS)
def test_reading_goes_on_behind_any_frame_with_the_same_frames(tmp_path, name):
    """In a stream without an index OpenCV goes to other frames than it is asked for."""
    clip = Clip.open(write(tmp_path / name, 30))
    found = list(clip.read())
    for frame in found:
        after = list(clip.read(1, (frame.number, frame.stamp)))
        assert [each.stamp for each in after] == [each.stamp for each in found[frame.number + 1 :]]
    if name != "clip.ts":
        assert clip._reached((20, found[20].stamp))[1] == 21, "without decoding all before it"
    time, total = found[20].stamp
    assert [each.number for each in clip.read(1, (20, (time, total + 1)))] == [*range(21, 30)]


@pytest.mark.parametrize("name", ["clip.mp4", "clip.avi"])
def test_results_name_the_clip_and_the_frame(finder, tmp_path, name):
    clip = write(tmp_path / name)
    assert run(finder, tmp_path / "found.json", "--images", clip, "--every", 3) == 0
    found = results(tmp_path / "found.json")
    numbers = list(range(0, 20, 3))
    assert [one["frame"] for one in found] == numbers
    assert [one["image_id"] for one in found] == [number + 1 for number in numbers]
    assert {one["file_name"] for one in found} == {name}
    assert {(one["width"], one["height"]) for one in found} == {(WIDTH, HEIGHT)}
    for one in found:
        places = np.reshape(one["keypoints"], (4, 3))[:2, :2]
        assert np.abs(places - truth(one["frame"])[1][:2]).max() < radius(WIDTH, HEIGHT) + 4
    pictures = sorted(path.name for path in (tmp_path / "found-drawn").glob("*.jpg"))
    assert pictures == [f"clip-{number:06d}.jpg" for number in numbers]


def test_all_frames_are_searched_if_nothing_is_said(finder, tmp_path):
    assert run(finder, tmp_path / "found.json", "--images", write(tmp_path / "clip.avi", 9)) == 0
    assert [one["frame"] for one in results(tmp_path / "found.json")] == list(range(9))


@pytest.mark.parametrize("name", ["clip.mp4", "clip.ts"])
@pytest.mark.parametrize("stop", [1, 6, 8, 11])
def test_stopped_and_run_again_it_goes_on_to_the_same_bytes(
    finder, tmp_path, monkeypatch, name, stop
):
    monkeypatch.setattr(predict, "AT_ONCE", 3)
    clip, searched = write(tmp_path / name, 24), []
    options = "--images", clip, "--every", 2, "--frames", tmp_path / "frames"
    assert run(finder, tmp_path / "whole.json", *options) == 0
    draw = predict._draw

    def stops(folder, wanted, *found):
        searched.append(wanted.frame)
        if len(searched) == stop + 1:
            raise KeyboardInterrupt
        draw(folder, wanted, *found)

    monkeypatch.setattr(predict, "_draw", stops)
    assert run(finder, tmp_path / "found.json", *options) == 130
    assert not (tmp_path / "found.json").exists()
    first = stop // 3 * 6  # of the batch in which it was stopped
    assert run(finder, tmp_path / "found.json", *options) == 0
    assert (tmp_path / "found.json").read_bytes() == (tmp_path / "whole.json").read_bytes()
    assert searched[stop + 1 :] == list(range(first, 24, 2))
    assert not list(tmp_path.glob(".found.json*"))


def test_stopped_behind_the_last_frame_it_searches_none_again(finder, tmp_path, monkeypatch):
    monkeypatch.setattr(predict, "AT_ONCE", 3)
    clip, searched = write(tmp_path / "clip.mp4", 12), []
    assert run(finder, tmp_path / "whole.json", "--images", clip) == 0

    def stops(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(predict, "write_text", stops)  # the results
        patched.setattr(predict, "_resume", lambda path, _: path.write_text("x\n") and {})
        patched.setattr(predict, "_digest", lambda *_: "x")
        assert run(finder, tmp_path / "found.json", "--images", clip) == 130
    monkeypatch.setattr(predict, "_digest", lambda *_: "x")
    monkeypatch.setattr(predict, "_predict", lambda *a: searched.append(a))
    assert run(finder, tmp_path / "found.json", "--images", clip) == 0
    assert (tmp_path / "found.json").read_bytes() == (tmp_path / "whole.json").read_bytes()
    assert not searched


def test_another_clip_of_the_name_begins_anew(finder, tmp_path, monkeypatch):
    monkeypatch.setattr(predict, "AT_ONCE", 2)
    clip, draw = write(tmp_path / "clip.avi", 8), predict._draw

    def stops(folder, wanted, *found):
        if wanted.frame == 4:
            raise KeyboardInterrupt
        draw(folder, wanted, *found)

    with monkeypatch.context() as patched:
        patched.setattr(predict, "_draw", stops)
        assert run(finder, tmp_path / "found.json", "--images", clip) == 130
    write(clip, 6)
    assert run(finder, tmp_path / "found.json", "--images", clip) == 0
    assert [one["frame"] for one in results(tmp_path / "found.json")] == list(range(6))


@pytest.mark.parametrize("name", ["clip.avi", "clip.mkv"])
def test_a_clip_that_breaks_off_is_searched_so_far(finder, tmp_path, capsys, name):
    clip = cut(write(tmp_path / name, 60), 0.6)
    assert run(finder, tmp_path / "found.json", "--images", clip, "--every", 4) == 0
    said = capsys.readouterr()
    (line,) = [line for line in said.out.splitlines() if "breaks off" in line]
    numbers = [one["frame"] for one in results(tmp_path / "found.json")]
    assert numbers == list(range(0, numbers[-1] + 1, 4)) and 12 <= numbers[-1] < 56
    last = int(line.split("after frame ")[1].split()[0])
    assert str(clip) in line and numbers[-1] <= last < numbers[-1] + 4
    assert "Traceback" not in said.err


def test_a_whole_clip_is_not_said_to_break_off(tmp_path):
    for count in (1, 2, 5, 60):
        clip = Clip.open(write(tmp_path / "clip.mp4", count))
        assert len(list(clip.read())) == clip.frames == count
    with pytest.raises(Unreadable, match="frame 59"):
        list(replace(clip, frames=90, seconds=3.6).read())


def files(folder):
    """What is there, but for the record of what the project writes."""
    return {path: said for path, said in inputs(folder).items() if path.name != RECORD}


def content(name):
    return lambda folder: (folder / "clip.mp4").write_bytes(name)


@pytest.mark.parametrize(
    "change",
    [
        content(b""), content(b"nothing"), content(b"#EXTM3U\n#EXTINF:1,\nother.ts\n"),
        content(b"ffconcat version 1.0\nfile other.mp4\n"), content(b"\x00\x00\x00\x18ftypisom"),
        lambda folder: cut(folder / "clip.mp4", 0.6),  # its index is at the end
    ],
)  # fmt: skip
def test_what_is_no_clip_is_said_in_one_line(finder, tmp_path, capfd, change):
    write(tmp_path / "clip.mp4")
    change(tmp_path)
    before = files(tmp_path)
    assert run(finder, tmp_path / "found.json", "--images", tmp_path / "clip.mp4") == 2
    (line,) = capfd.readouterr().err.strip().splitlines()
    assert "clip.mp4" in line and files(tmp_path) == before


@pytest.mark.parametrize(
    "options, told",
    [
        (["--images", "photos", "--every", "2"], "--every"),
        (["--images", "photos/1.png", "--frames", "frames"], "--frames"),
        (["--every", "2"], "--images"),
        (["--images", "clip.mp4", "--boxes", "boxes.json"], "--boxes"),
        (["--images", "clip.mp4", "--format", "coco"], "--frames"),
        (["--images", "clip.mp4", "--frames", "found.json"], "--out"),
        (["--images", "clip.mp4", "--frames", "a", "--drawings", "a"], "--drawings"),
        (["--images", "nowhere.mp4"], "nowhere.mp4"),
        (["--images", "clips"], "clips/clip.mp4"),
    ],
)
def test_mistakes_are_one_line(finder, tmp_path, monkeypatch, capsys, options, told):
    monkeypatch.chdir(tmp_path)
    for folder in ("photos", "clips"):
        (tmp_path / folder).mkdir()
    cv2.imwrite(str(tmp_path / "photos" / "1.png"), truth(0)[0])
    write(tmp_path / "clip.mp4", 2)
    write(tmp_path / "clips" / "clip.mp4", 2)
    before = files(tmp_path)
    assert run(finder, "found.json", *options) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert told in line and files(tmp_path) == before


@pytest.mark.parametrize("number", ["0", "-3", "1.5", "x"])
def test_a_number_of_frames_is_one_or_more(finder, tmp_path, capsys, number):
    with pytest.raises(SystemExit):
        run(finder, tmp_path / "found.json", "--images", "clip.mp4", f"--every={number}")
    assert "--every" in capsys.readouterr().err.splitlines()[-1]


def test_clips_among_photos_are_left_out_and_said(made, tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    cv2.imwrite(str(tmp_path / "photos" / "1.png"), truth(0)[0])
    write(tmp_path / "photos" / "clip.mp4", 2)
    assert run(made, tmp_path / "found.json", "--images", tmp_path / "photos") == 0
    assert "1 clip" in capsys.readouterr().err
    assert [one["file_name"] for one in results(tmp_path / "found.json")] == ["1.png"]


def test_a_clip_of_a_phone_is_upright(made, tmp_path):
    clip = write(tmp_path / "clip.mp4", 5)
    as_stored = next(Clip.open(clip).read()).pixels
    whole = clip.read_bytes()
    start = whole.index(b"tkhd") + 44  # the matrix of the track: a quarter turn clockwise
    turn = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, HEIGHT << 16, 0, 1 << 30)
    clip.write_bytes(whole[:start] + turn + whole[start + 36 :])
    assert (Clip.open(clip).width, Clip.open(clip).height) == (HEIGHT, WIDTH)
    np.testing.assert_array_equal(next(Clip.open(clip).read()).pixels, np.rot90(as_stored, -1))
    assert run(made, tmp_path / "found.json", "--images", clip) == 0
    sizes = {(one["width"], one["height"]) for one in results(tmp_path / "found.json")}
    assert sizes == {(HEIGHT, WIDTH)}


FORMS = {
    "coco": "out.json",
    "labelme": "frames",
    "cvat": "out.xml",
    "label-studio": "out.json",
    "yolo": "out",
    "deeplabcut": "frames/CollectedData_me.csv",
}


@pytest.mark.parametrize("form", FORMS)
def test_frames_are_written_as_photos_for_every_form(finder, tmp_path, form):
    clip, frames = write(tmp_path / "clip.mp4"), tmp_path / "frames"
    options = ["--images", clip, "--every", 5, "--frames", frames, "--format", form]
    assert run(finder, tmp_path / FORMS[form], *options) == 0
    names = [f"clip-{number:06d}.jpg" for number in range(0, 20, 5)]
    assert sorted(path.name for path in frames.glob("*.jpg")) == names
    assert [drawn(read_photo(frames / name)) for name in names] == [0, 5, 10, 15]
    read = read_annotations(tmp_path / FORMS[form], images=frames)
    assert [photo.path.name for photo in read.photos] == names and not read.index.skipped
    for i, number in enumerate(range(0, 20, 5)):
        gap = np.abs(read.index.landmarks(i)[0] - truth(number)[1])[:2].max()
        assert gap < radius(WIDTH, HEIGHT) + 4


def test_corrected_frames_are_learnt_from_and_compared(finder, tmp_path, capsys):
    model().save(tmp_path / "models" / "COLOURS.safetensors")
    options = (
        "--images",
        write(tmp_path / "clip.mp4"),
        "--every",
        5,
        "--frames",
        tmp_path / "frames",
    )
    assert run(finder, tmp_path / "frames", *options, "--format", "labelme") == 0
    command = ["adapt", "--support", str(tmp_path / "frames"), "--learner", "COLOURS", "--model"]
    again = tmp_path / "again.safetensors"
    assert main([*command, str(tmp_path / "models"), "--out", str(again)]) == 0
    assert run(again, tmp_path / "found.json", *options) == 0
    found = results(tmp_path / "found.json")
    assert [one["file_name"] for one in found] == [f"clip-{n:06d}.jpg" for n in (0, 5, 10, 15)]
    assert [one["frame"] for one in found] == [0, 5, 10, 15]
    capsys.readouterr()
    said = [
        "--annotations",
        str(tmp_path / "frames"),
        "--predictions",
        str(tmp_path / "found.json"),
    ]
    assert main(["evaluate", *said]) == 0
    assert "0 of 4 annotated objects have no prediction" in capsys.readouterr().out


def test_a_frame_that_somebody_corrected_stays(finder, tmp_path):
    clip, frames = write(tmp_path / "clip.mp4", 3), tmp_path / "frames"
    options = "--images", clip, "--frames", frames, "--format", "labelme", "--overwrite"
    assert run(finder, frames, *options) == 0
    mine = frames / "clip-000001.json"
    said = json.loads(mine.read_text())
    said["shapes"][1]["points"] = [[1, 2]]
    mine.write_text(json.dumps(said))
    before = inputs(tmp_path)
    assert run(finder, frames, *options) == 2 and inputs(tmp_path) == before


def test_one_batch_of_frames_is_held_at_a_time(tmp_path):
    clip = Clip.open(write(tmp_path / "clip.avi", 200))
    tracemalloc.start()
    for batch in Frames(replace(clip, frames=2**31), 1, None).batches({}, 4):
        del batch
    held = [
        trace for trace in tracemalloc.take_snapshot().traces if trace.size >= WIDTH * HEIGHT * 3
    ]
    tracemalloc.reset_peak()
    searched = Frames(clip, 1, None)
    start = tracemalloc.get_traced_memory()[0]
    counts = [len(batch) for batch in searched.batches({}, 4)]
    peak = tracemalloc.get_traced_memory()[1] - start
    tracemalloc.stop()
    assert counts == [4] * 50 and len(searched.wanted) == 200 and not held
    assert peak < 4 * 4 * WIDTH * HEIGHT * 3 + 200 * 1500


def test_what_a_clip_is_its_content_says(tmp_path):
    write(tmp_path / "clip.avi", 2).rename(tmp_path / "clip.dat")
    cv2.imwrite(str(tmp_path / "1.jpg"), truth(0)[0])
    cv2.imwrite(str(tmp_path / "1.avif"), truth(0)[0])
    (tmp_path / "1.heic").write_bytes(b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic")
    told = {path.name: is_clip(path) for path in tmp_path.iterdir()}
    assert told == {"clip.dat": True, "1.jpg": False, "1.heic": False} | (
        {"1.avif": False} if "1.avif" in told else {}
    )
    assert not is_clip(tmp_path) and not is_clip(tmp_path / "nowhere")
    with pytest.raises(UserError, match="nowhere.mp4"):
        Clip.open(tmp_path / "nowhere.mp4")
