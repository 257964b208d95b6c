"""Photos of every kind that people have, written by Pillow in the test."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import EpsImagePlugin, Image, ImageOps, PngImagePlugin

from fewshot_landmarks.data import images as photos
from fewshot_landmarks.data.images import Unreadable, find_photos, read_photo
from fewshot_landmarks.support.errors import UserError

WIDTH, HEIGHT = 48, 32


def scene():
    """An (H, W, 3) uint8 picture that no turn or mirror leaves as it is, and smooth for JPEG."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([x * 5, y * 7, 255 - (x + y) * 3], axis=-1).astype(np.uint8)


def save(path, image, **options):
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(path, **options)
    return path


def oriented(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def close(a, b, most):
    return a.shape == b.shape and np.abs(a.astype(int) - b.astype(int)).max() <= most


# --- orientation


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_turned_by_its_exif_orientation(tmp_path, suffix, orientation):
    options = {".jpg": {"quality": 98, "subsampling": 0}, ".webp": {"lossless": True}}
    path = tmp_path / f"photo{suffix}"
    save(path, scene(), exif=oriented(orientation), **options.get(suffix, {}))
    stored = Image.fromarray(scene())
    stored.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(stored))
    found = read_photo(path)
    assert close(found, expected, 8 if suffix == ".jpg" else 0)
    assert found.flags.c_contiguous and found.flags.writeable


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_photo_annotated_as_it_is_stored_is_not_turned(tmp_path, suffix, orientation):
    path = save(tmp_path / f"photo{suffix}", scene(), exif=oriented(orientation))
    turned = read_photo(path)
    assert turned.shape == (WIDTH, HEIGHT, 3)
    assert np.array_equal(read_photo(path, (WIDTH, HEIGHT)), scene())
    assert np.array_equal(read_photo(path, (HEIGHT, WIDTH)), turned)
    assert np.array_equal(read_photo(path, (7, 9)), turned)  # fits neither


def test_an_upside_down_photo_is_turned_whatever_size_is_declared(tmp_path):
    path = save(tmp_path / "photo.png", scene(), exif=oriented(3))
    assert np.array_equal(read_photo(path, (WIDTH, HEIGHT)), scene()[::-1, ::-1])


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_leaves_the_photo_as_stored(tmp_path):
    path = save(tmp_path / "photo.png", scene(), exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12")
    assert np.array_equal(read_photo(path), scene())


def test_an_opened_image_is_turned_too_and_stays_open(tmp_path):
    path = save(tmp_path / "photo.png", scene(), exif=oriented(6))
    with Image.open(path) as image:
        assert np.array_equal(read_photo(image), np.rot90(scene(), -1))
        image.getpixel((0, 0))


# --- modes


@pytest.mark.parametrize("mode", ["L", "1"])
def test_grey_has_three_equal_channels(tmp_path, mode):
    image = Image.fromarray(scene()).convert("L").convert(mode)
    path = save(tmp_path / "photo.png", image)
    expected = np.asarray(image.convert("L"))
    assert np.array_equal(read_photo(path), np.repeat(expected[..., None], 3, 2))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "La", "RGBa", "PA"])
def test_transparent_pixels_show_white(tmp_path, mode):
    alpha = np.full((HEIGHT, WIDTH), 255, np.uint8)
    alpha[:, :20], alpha[:, 20:30] = 0, 128
    grey = np.zeros((HEIGHT, WIDTH), np.uint8)
    image = Image.fromarray(grey).convert("P" if mode == "PA" else "L")
    image.putalpha(Image.fromarray(alpha))
    image = image.convert("RGBA") if "RGB" in mode else image
    image = image.convert(mode)
    found = read_photo(image)
    assert found.shape == (HEIGHT, WIDTH, 3)
    assert (found[:, :20] == 255).all() and (found[:, 30:] == 0).all()
    assert (np.abs(found[:, 20:30].astype(int) - 127) <= 1).all()


def test_a_palette_with_a_transparent_colour_shows_white_there(tmp_path):
    indices = np.zeros((HEIGHT, WIDTH), np.uint8)
    indices[:, 10:] = 1
    image = Image.fromarray(indices, "L").convert("P")
    image.putpalette([200, 10, 10, 10, 20, 200])
    for name in ("photo.png", "photo.gif"):
        found = read_photo(save(tmp_path / name, image, transparency=0))
        assert (found[:, :10] == 255).all() and (found[:, 10:] == (10, 20, 200)).all()
    found = read_photo(save(tmp_path / "opaque.png", image))
    assert (found[:, :10] == (200, 10, 10)).all()


@pytest.mark.parametrize(
    "mode, suffix", [("I;16", ".png"), ("I;16", ".tif"), ("I;16B", ".tif"), ("I", ".tif")]
)
def test_sixteen_bits_of_grey_are_scaled_by_their_range(tmp_path, mode, suffix):
    values = np.linspace(0, 30_000, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
    kind = {"I;16": "<u2", "I;16B": ">u2", "I": "<i4"}[mode]
    image = Image.frombytes(mode, (WIDTH, HEIGHT), values.astype(kind).tobytes())
    found = read_photo(save(tmp_path / f"photo{suffix}", image))
    assert np.array_equal(found[..., 0], np.rint(values.astype(kind) / 257))
    assert found.max() == 117  # not stretched to 255, not clipped


def test_eight_bits_of_grey_stored_in_sixteen_are_not_turned_black(tmp_path):
    values = np.arange(HEIGHT * WIDTH, dtype=np.uint16).reshape(HEIGHT, WIDTH) % 256
    assert np.array_equal(read_photo(save(tmp_path / "photo.png", values))[..., 1], values)


def test_sixteen_bits_of_colour_keep_the_upper_eight(tmp_path):
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in scene().astype(int) * 257)
    path = tmp_path / "photo.png"
    path.write_bytes(png(WIDTH, HEIGHT, 16, 2, rows))
    assert np.array_equal(read_photo(path), scene())


def test_a_cmyk_jpeg_is_not_a_negative(tmp_path):
    path = save(tmp_path / "photo.jpg", Image.new("CMYK", (WIDTH, HEIGHT), (0, 200, 250, 10)))
    assert b"Adobe" in path.read_bytes()  # which means that its values are stored inverted
    red, green, blue = read_photo(path)[HEIGHT // 2, WIDTH // 2].tolist()
    assert red > 230 and green < 70 and blue < 20


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_of_an_animation_the_first_frame_is_read(tmp_path, suffix):
    frames = [Image.new("RGB", (WIDTH, HEIGHT), colour) for colour in ("red", "blue", "lime")]
    options = {"lossless": True} if suffix == ".webp" else {}
    path = tmp_path / f"photo{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=50, **options)
    assert (read_photo(path) == (255, 0, 0)).all()


# --- arrays


def test_arrays_and_tensors_are_what_their_photo_is():
    picture = scene()
    as_float = picture.astype(np.float32) / 255
    channels_first = torch.from_numpy(picture).permute(2, 0, 1)
    for source in (
        picture,
        picture[:, ::-1][:, ::-1],
        as_float,
        as_float.astype(np.float64),
        picture.astype(np.uint16) * 257,
        np.dstack([picture, np.full(picture.shape[:2], 255, np.uint8)]),
        channels_first,
        channels_first.float() / 255,
        Image.fromarray(picture),
    ):
        assert np.array_equal(read_photo(source), picture)


def test_arrays_of_grey_and_of_transparency():
    grey = scene()[..., 0]
    expected = np.repeat(grey[..., None], 3, 2)
    assert np.array_equal(read_photo(grey), expected)
    assert np.array_equal(read_photo(grey[..., None]), expected)
    assert np.array_equal(read_photo(torch.from_numpy(grey.copy())[None]), expected)
    assert (read_photo(grey > 99) == np.where(grey > 99, 255, 0)[..., None]).all()
    clear = np.zeros((4, 5, 4), np.uint8)
    clear[:, 2:, 3] = 255
    assert (read_photo(clear)[:, :2] == 255).all() and (read_photo(clear)[:, 2:] == 0).all()
    assert (read_photo(clear.astype(np.float32) / 255) == read_photo(clear)).all()


def test_a_photo_does_not_share_memory_with_its_array():
    picture = scene()
    read_photo(picture)[:] = 0
    assert np.array_equal(picture, scene())


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 5, 2)),
        np.zeros((0, 5, 3)),
        np.zeros(7),
        np.zeros((4, 5, 3)) + 255.0,
        np.full((4, 5, 3), np.nan),
        np.full((4, 5), -3, np.int64),
        np.full((4, 5), 70_000),
        np.array([["a", "b"]]),
        None,
    ],
)
def test_an_array_that_is_no_photo_is_unreadable(array):
    with pytest.raises(Unreadable):
        read_photo(array)


# --- large, broken, absent


def png(width, height, bits, colour, rows):
    """A PNG file with these rows, each with its filter byte before it."""

    def chunk(kind, data):
        total = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + total

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_pillows_own_guard_does_not_come_before_the_limit():
    assert Image.MAX_IMAGE_PIXELS >= photos.MOST_PIXELS >= 100_000_000


def test_the_largest_photo_is_read_and_one_a_row_higher_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr(photos, "MOST_PIXELS", WIDTH * HEIGHT)
    path = save(tmp_path / "photo.png", scene())
    assert np.array_equal(read_photo(path), scene())
    save(path, Image.new("RGB", (WIDTH, HEIGHT + 1)))
    with pytest.raises(Unreadable, match="megapixels"):
        read_photo(path)


@pytest.mark.parametrize("side", [15_000, 30_000])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_photo_of_more_pixels_than_the_most_is_refused_undecoded(tmp_path, side):
    path = tmp_path / "photo.png"
    path.write_bytes(png(side, side, 8, 2, b""))
    with pytest.raises(Unreadable, match="110 megapixels"):
        read_photo(path)


def test_decoders_that_need_more_memory_get_fewer_pixels(tmp_path, monkeypatch):
    monkeypatch.setattr(photos, "MOST_PIXELS", 2 * WIDTH * HEIGHT - 1)
    for name, options in (("photo.webp", {}), ("photo.jpg", {"progressive": True})):
        with pytest.raises(Unreadable, match="megapixels"):
            read_photo(save(tmp_path / name, scene(), **options))
    assert read_photo(save(tmp_path / "photo.jpg", scene())).shape == (HEIGHT, WIDTH, 3)


def test_a_tile_larger_than_its_picture_is_not_decoded(tmp_path):
    path, data = tmp_path / "photo.tif", zlib.compress(bytes(100))
    entries = {256: 16, 257: 16, 258: 8, 259: 8, 262: 1, 277: 1, 322: 30_000, 323: 30_000}
    entries |= {324: 8, 325: len(data)}
    rows = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries.items())
    table = struct.pack("<H", len(entries)) + rows + bytes(4)
    path.write_bytes(struct.pack("<2sHI", b"II", 42, 8 + len(data)) + data + table)
    with pytest.raises(Unreadable, match="megapixels"):
        read_photo(path)


def test_a_file_of_too_many_bytes_is_not_read(tmp_path):
    path = save(tmp_path / "photo.png", scene())
    os.truncate(path, photos.MOST_BYTES + 1)
    with pytest.raises(Unreadable, match="400 MB"):
        read_photo(path)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "I;16", "I;16B", "I", "F", "CMYK", "1"])
def test_a_photo_is_the_same_in_strips_as_at_once(mode, monkeypatch):
    values = np.random.default_rng(0).integers(0, 255, HEIGHT * WIDTH * 8, np.uint8).tobytes()
    if mode == "F":
        values = np.linspace(0, 1, HEIGHT * WIDTH, dtype=np.float32).tobytes()
    if mode == "I":
        values = np.linspace(0, 65535, HEIGHT * WIDTH).astype(np.int32).tobytes()
    image = Image.new(mode, (WIDTH, HEIGHT))
    image.frombytes(values[: len(image.tobytes())])
    if mode == "P":
        image.putpalette(values[:768])
        image.info["transparency"] = 7
    at_once = read_photo(image)
    monkeypatch.setattr(photos, "_STRIP", 3 * WIDTH)
    assert np.array_equal(read_photo(image), at_once)


def test_photos_held_together_are_few_where_they_are_large(tmp_path, monkeypatch):
    monkeypatch.setattr(photos, "KEPT", 3 * WIDTH * HEIGHT * 2)
    paths = [save(tmp_path / f"{i}.png", scene()) for i in range(3)]
    large = save(tmp_path / "large.png", np.tile(scene(), (3, 1, 1)))
    (tmp_path / "none.png").write_bytes(b"")
    listed = [*paths, large, tmp_path / "none.png", paths[0], paths[0], paths[0]]
    parts = [listed[part] for part in photos.together(listed, 3)]
    assert parts == [paths[:2], paths[2:], [large], listed[4:7], listed[7:]]
    assert [part.stop for part in photos.together([scene()] * 5, 3)] == [2, 4, 5]
    assert list(photos.together([], 3)) == []


# --- what is no photo


@pytest.mark.parametrize("suffix", [".eps", ".ico", ".pcx", ".tga", ".sgi", ".jp2", ".dds", ".pdf"])
def test_forms_that_are_no_photos_reach_no_decoder(tmp_path, suffix, monkeypatch):
    """Whatever they are called: of EPS a program would be started."""
    started = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *a, **b: started.append(a))
    path = save(tmp_path / f"photo{suffix}", scene()).rename(tmp_path / "photo.jpg")
    with pytest.raises(Unreadable):
        read_photo(path)
    assert not started


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "photo.jpg")
    with pytest.raises(Unreadable):
        read_photo(tmp_path / "photo.jpg")


def test_heic_is_read_where_a_plugin_is_there(tmp_path, monkeypatch):
    class Plugin(PngImagePlugin.PngImageFile):
        format = "HEIF"

    path = save(tmp_path / "photo.png", scene())
    content = b"\0\0\0\x18ftypheic" + path.read_bytes()[12:]
    path = tmp_path / "photo.heic"
    path.write_bytes(content)
    with pytest.raises(Unreadable, match="HEIC"):
        read_photo(path)

    def opened(file, name):
        return Plugin(io.BytesIO(b"\x89PNG\r\n\x1a\n\0\0\0\r" + content[12:]))

    monkeypatch.setitem(Image.OPEN, "HEIF", (opened, lambda start: start[4:12] == b"ftypheic"))
    assert np.array_equal(read_photo(path), scene())


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
@pytest.mark.parametrize(
    "suffix, options",
    [(".jpg", {}), (".jpg", {"progressive": True}), (".png", {}), (".webp", {}), (".tif", {})],
)
def test_a_photo_cut_short_is_unreadable(tmp_path, suffix, options, kept):
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    path = save(tmp_path / f"photo{suffix}", noise, **options)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(Unreadable):
        read_photo(path)


def test_a_damaged_png_is_unreadable(tmp_path):
    path = save(tmp_path / "photo.png", scene())
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(Unreadable):
        read_photo(path)


@pytest.mark.parametrize(
    "content, why",
    [
        (b"", "empty"),
        (b"a letter, not a photo\n", "not an image"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\xff\xd8\xff\xe0", "."),
    ],
)
def test_what_is_no_image_is_unreadable_in_one_line(tmp_path, content, why):
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(Unreadable, match=why) as caught:
        read_photo(path)
    assert "\n" not in str(caught.value) and str(tmp_path) not in str(caught.value)


def test_a_file_that_embeds_a_photo_is_not_parsed_where_it_holds_too_much(tmp_path, monkeypatch):
    monkeypatch.setattr(photos.json, "loads", None)
    path = tmp_path / "photo.json"
    path.write_text('{"imageData": "", "shapes": [' + "[]," * 1_100_000 + "[]]}")
    with pytest.raises(Unreadable, match="more"):
        read_photo(path)


def test_a_missing_photo_or_a_folder_is_unreadable(tmp_path):
    for path in (tmp_path / "none.jpg", tmp_path, str(tmp_path / "none.jpg")):
        with pytest.raises(Unreadable):
            read_photo(path)


def test_photos_are_found_in_order_and_nothing_else(tmp_path):
    for name in ("b.JPG", "a.png", "._a.png", "notes.txt", "c.webp"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "folder.jpg").mkdir()
    assert [path.name for path in find_photos(tmp_path)] == ["a.png", "b.JPG", "c.webp"]
    assert find_photos(str(tmp_path / "a.png")) == [tmp_path / "a.png"]


def test_no_photo_is_a_users_mistake(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    for place in (tmp_path, tmp_path / "absent"):
        with pytest.raises(UserError, match=str(place)):
            find_photos(place)


def test_a_json_file_that_embeds_no_photo_says_so(tmp_path):
    for number, said in enumerate(('{"images": []}', "[1]", '{"imageData": null}')):
        (tmp_path / f"{number}.json").write_text(said)
        with pytest.raises(Unreadable, match="embeds no photo"):
            read_photo(tmp_path / f"{number}.json")
