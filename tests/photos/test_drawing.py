"""Landmarks are drawn where they are, in a way that can be read."""

import cv2
import numpy as np
import pytest

from fewshot_landmarks.data import drawing
from fewshot_landmarks.data.drawing import (
    contact_sheet,
    draw_landmarks,
    legend,
    note_cell,
    object_cell,
    write_picture,
)
from fewshot_landmarks.data.garments.writer import photo_of
from fewshot_landmarks.support.errors import UserError

GREY = np.full((101, 101, 3), 90, np.uint8)
MIDDLE = np.array([[50.5, 50.5]])  # of the pixel (50, 50)


def test_a_dot_is_centred_on_its_landmark_and_the_photo_stays_as_it_was():
    before = GREY.copy()
    drawn = draw_landmarks(GREY, MIDDLE, numbers=False)
    np.testing.assert_array_equal(GREY, before)
    marked = (drawn != GREY).any(axis=2)
    assert drawn.shape == GREY.shape and drawn.dtype == np.uint8
    assert marked.any() and not marked[:40].any()
    for turned in (marked[::-1], marked[:, ::-1], marked.T):
        np.testing.assert_array_equal(marked, turned)


def test_a_circle_has_the_radius_that_is_given():
    """Of 30 pixels around the middle: beside its dot nothing else is marked."""
    drawn = draw_landmarks(GREY, MIDDLE, numbers=False, radii=np.array([30.0]))
    plain = draw_landmarks(GREY, MIDDLE, numbers=False, radii=np.array([np.nan]))
    np.testing.assert_array_equal(plain, draw_landmarks(GREY, MIDDLE, numbers=False))
    rows, columns = np.nonzero((drawn != plain).any(axis=2))
    off = np.hypot(rows + 0.5 - 50.5, columns + 0.5 - 50.5)
    assert len(off) > 150 and off.min() > 26 and off.max() < 34


def test_dots_grow_with_the_picture():
    large = np.full((808, 808, 3), 90, np.uint8)
    marked = [
        (draw_landmarks(photo, middle, numbers=False) != 90).any(axis=2).sum()
        for photo, middle in ((GREY, MIDDLE), (large, 8 * MIDDLE))
    ]
    assert marked[1] > 4 * marked[0]


def test_what_is_not_labelled_or_not_in_the_photo_is_not_drawn():
    points = np.array([[50, 50], [np.nan, 20], [-3, 20], [20, 101.5], [1e12, 5]])
    drawn = draw_landmarks(GREY, points, visible=np.array([0, 2, 2, 2, 2]), edges=[(0, 1)])
    np.testing.assert_array_equal(drawn, GREY)


def test_an_occluded_landmark_is_a_ring():
    photo, middle = np.full((404, 404, 3), 90, np.uint8), np.array([[200.5, 200.5]])
    ring, dot = (draw_landmarks(photo, middle, visible=[v], numbers=False) for v in (1, 2))
    assert (ring[200, 200] == 90).all() and (dot[200, 200] != 90).any()
    assert (ring[200, 190:200] != 90).any()


def test_scores_run_from_red_to_green_and_a_low_one_has_no_number():
    low, high = (draw_landmarks(GREY, MIDDLE, scores=[s])[50, 50].astype(int) for s in (0.06, 1))
    assert low[0] > 200 > 2 * low[1] and high[1] > 200 > 2 * high[0]
    faint, plain = (draw_landmarks(GREY, MIDDLE, scores=[0.04], numbers=n) for n in (True, False))
    np.testing.assert_array_equal(faint, plain)
    assert 0 < (faint != GREY).any(axis=2).sum() < 50


def test_edges_join_landmarks_that_are_drawn():
    points = np.array([[20.5, 50.5], [80.5, 50.5]])
    for shown, joined in (([2, 2], True), ([2, 0], False)):
        drawn = draw_landmarks(GREY, points, visible=shown, edges=[(0, 1)], numbers=False)
        assert (drawn[50, 50] != GREY[50, 50]).any() == joined


def test_many_numbers_lie_apart_and_inside_the_picture():
    for number in range(5):
        photo, _ = photo_of(0, "train", number + 1, 4, "outfits")  # long sleeve outwear
        item = photo.annotation["item1"]
        *points, visible = np.reshape(item["landmarks"], (-1, 3)).T
        x1, y1, x2, y2 = item["bounding_box"]
        points = np.column_stack(points)[visible > 0] - (x1, y1)
        points = 30 + 340 * points / max(x2 - x1, y2 - y1)
        boxes = np.array([drawing._extent(str(i + 1), 12) for i in np.flatnonzero(visible)])
        centres = drawing._places(points, boxes, 4.0, (400, 400))
        low, high = centres - boxes / 2, centres + boxes / 2
        assert (low >= 0).all() and (high <= 400).all()
        over = np.minimum(high[:, None], high) - np.maximum(low[:, None], low)
        shared = np.maximum(over, 0).prod(axis=2)
        np.fill_diagonal(shared, 0)
        assert shared.max() < 0.15 * boxes.prod(axis=1).max()
        assert np.linalg.norm(centres - points, axis=1).max() < 50


@pytest.mark.parametrize("side", [60, 800])
def test_a_cell_shows_a_point_of_the_photo_where_its_landmark_is_drawn(side):
    photo = np.zeros((300, 320, 3), np.uint8)
    photo[141:150, 161:172] = 255
    point, box = np.array([[166.5, 145.5]]), (120, 90, 221, 213)
    window = 123 * (1 + 2 * drawing.MARGIN)
    wanted = ((point[0] - (170.5, 151.5)) / window + 0.5) * side
    seen = _middle(object_cell(photo, point[:0], box, side))
    drawn = _middle(object_cell(np.zeros_like(photo), point, box, side, numbers=False))
    np.testing.assert_allclose(seen, wanted, atol=0.15)
    np.testing.assert_allclose(drawn, wanted, atol=0.15)


def _middle(cell: np.ndarray) -> np.ndarray:
    """Where the light of a cell has its centre: x, y."""
    weight = cell[..., 0] / cell[..., 0].sum(dtype=float)
    ys, xs = np.indices(weight.shape) + 0.5
    return np.array([(xs * weight).sum(), (ys * weight).sum()])


@pytest.mark.parametrize("box", [(500, 500, 600, 600), (50, 50, 50, 50), (-1e9, -1e9, 1e9, 1e9)])
def test_an_odd_box_still_gives_a_cell(box):
    assert object_cell(GREY, MIDDLE, box, 64).shape == (64, 64, 3)


def test_a_sheet_keeps_the_ratio_of_its_cells_and_their_places():
    wide, tall = np.zeros((50, 100, 3), np.uint8), np.zeros((30, 10, 3), np.uint8)
    sheet = contact_sheet([wide, tall, wide], ["", "", ""], 2, 60)
    assert sheet.shape == (120, 120, 3)
    dark = (sheet == 0).all(axis=2)
    rows, columns = (np.flatnonzero(dark[:60, :60].any(axis=a)) for a in (1, 0))
    assert np.ptp(rows) + 1 == 30 and np.ptp(columns) + 1 == 58  # 60 but for the frame
    assert dark[:60, 60:].any(axis=0).sum() == 20
    assert dark[60:, :60].any() and not dark[60:, 60:].any()
    assert contact_sheet([wide], ["one"], 6, 60).shape == (60, 60, 3)


def test_a_title_stands_over_the_top_of_its_own_cell():
    cells = [np.zeros((90, 90, 3), np.uint8)] * 2
    plain = contact_sheet(cells, ["", ""], 2, 90)
    titled = contact_sheet(cells, ["", "a title which is far too long for its cell"], 2, 90)
    ys, xs = np.nonzero((plain != titled).any(axis=2))
    assert 0 < ys.max() < 30 and xs.min() > 90 and xs.max() < 179


def test_odd_text_is_harmless():
    odd = "line\nline \udcff 肩 \x00" + "x" * 300
    contact_sheet([GREY], [odd], 1, 80)
    assert (note_cell(odd, 80) < 100).any()
    assert legend({odd: [odd]}, 100).shape[0] == 100


def test_a_legend_takes_more_columns_where_it_is_long():
    names = [f"joint {i}" for i in range(40)]
    short, long = legend({"hand": names[:5]}, 200), legend({"hand": names}, 200)
    assert short.shape[0] == long.shape[0] == 200 and long.shape[1] > 3 * short.shape[1]


def test_a_picture_is_written_in_rgb(tmp_path):
    picture = np.zeros((4, 5, 3), np.uint8)
    picture[..., 0] = 200
    write_picture(tmp_path / "new" / "p.png", picture)
    assert (cv2.imread(str(tmp_path / "new" / "p.png"))[..., 2] == 200).all()


@pytest.mark.parametrize("name", ["p.txt", "p", "file/p.png", "wide.jpg"])
def test_a_picture_that_cannot_be_written_is_one_line(tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(UserError) as caught:
        write_picture(tmp_path / name, np.zeros((1, 70_000, 3), np.uint8))
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
