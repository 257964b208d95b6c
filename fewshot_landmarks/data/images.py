"""Photos from phones, scanners and editors, as arrays; or why one cannot be read.

A photo is turned by its EXIF orientation, laid on white where it is transparent, and brought to
8 bits of RGB. Of an animation the first frame is read. Colour profiles are ignored.
"""

import base64
import io
import json
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from fewshot_landmarks.support.errors import UserError
from fewshot_landmarks.support.files import open_regular, read_regular

try:
    from pillow_heif import register_heif_opener
except ImportError:
    pass
else:
    register_heif_opener()

SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .mpo .png .webp .tif .tiff .bmp .gif .avif .ppm .pgm .heic .heif".split()
)
FORMS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "AVIF", "HEIF")
"""What is read, whatever a file is called: of what else Pillow knows, some start programs."""
MOST_PIXELS = 110_000_000  # above nearly all that cameras take: 7 bytes each while it is decoded
HALF = ("WEBP", "AVIF", "HEIF")  # their decoders hold a photo several times: half as many pixels
MOST_BYTES = 400_000_000  # of a file
KEPT = 2**28  # bytes of decoded photos that are held at once, unless a single one has more

# Pillow's own guard is for the whole process, and ends below some cameras' photos.
if Image.MAX_IMAGE_PIXELS is not None:
    Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, MOST_PIXELS)

_STRIP = 2**20  # pixels that are converted at once
_MOST_VALUES = 2**20  # of a JSON file with a photo: parsed, each takes up to a hundred bytes
_TILE = 322, 323  # of TIFF: a tile's width and height
_ORIENTATION = 0x0112  # of EXIF: 1 as stored, 2 to 8 mirrored or turned


class Unreadable(Exception):
    """A photo that cannot be read; the message is a clause that says why, without the path."""


def read_photo(source, declared: tuple[int, int] | None = None) -> np.ndarray:
    """The photo as (H, W, 3) uint8 RGB, turned upright.

    Args:
        source: a path; a PIL image; an array (H, W) or (H, W, 1, 3 or 4) of uint8, uint16, bool,
            or floats from 0 to 1; or a torch tensor (H, W) or (1, 3 or 4, H, W) of the same.
        declared: width and height by which the photo was annotated. If they are those of the
            photo as it is stored, and not those of the photo turned by its EXIF orientation, it
            is not turned.

    Grey of 16 bits (and mode "I") is divided by the range, 65535, whatever the photo's brightest
    value; if no value exceeds 255 the values are taken as 8 bits that were stored in 16.

    Raises `Unreadable` for what is missing, empty, cut short, damaged, of none of the `FORMS`,
    too large (see `open_photo`), or an array of another shape, type or range.
    """
    if isinstance(source, Image.Image):
        return _upright(*_decoded(source), declared)
    if isinstance(source, (str, os.PathLike)):
        return _upright(*_read(source), declared)
    if isinstance(source, torch.Tensor):
        source = source.detach().cpu()
        if source.is_floating_point():
            source = source.float()  # NumPy has no bfloat16
        source = source.numpy()
        source = np.moveaxis(source, 0, -1) if source.ndim == 3 else source
    return _from_array(np.asarray(source))


def contradicts(path: Path, declared: tuple[int, int]) -> tuple[int, int] | None:
    """A photo's width and height as stored, if they are not those declared, even if EXIF turns it
    on its side; None too where they cannot be told.
    """
    try:
        with open_photo(path) as image:
            size = image.size
            # Its EXIF is read where it matters alone: of a PNG that decodes the photo.
            fits = size == declared or (size == declared[::-1] and _orientation(image) >= 5)
            return None if fits else size
    except Unreadable:  # whatever is wrong shows when the photo is read
        return None


def upright_size(path: Path) -> tuple[int, int]:
    """A photo's width and height when it is turned as its EXIF asks; raises `Unreadable`."""
    with open_photo(path) as image:
        return image.size[::-1] if _orientation(image) >= 5 else image.size


def find_photos(folder_or_file: str | os.PathLike) -> list[Path]:
    """The photos right in a folder, by their suffix and in order of their names; or the one file.

    Raises `UserError` where there is none.
    """
    place = Path(folder_or_file)
    if place.is_file():
        return [place]
    try:
        # Copies made on a Mac come with a file ._1.jpg beside each 1.jpg.
        found = sorted(
            path
            for path in place.iterdir()
            if path.suffix.lower() in SUFFIXES and path.is_file() and not path.name.startswith(".")
        )
    except OSError as error:
        raise UserError(
            f"cannot list {place}: {error.strerror or error}; give a photo or a folder of photos"
        ) from None
    if not found:
        raise UserError(
            f"no photo in {place}: photos must lie right in that folder, not in folders below it, "
            "and be called .jpg, .png, .webp, .tif or the like"
        )
    return found


def open_photo(source: str | os.PathLike | bytes) -> Image.Image:
    """A file, or its content, as an image that is not decoded yet. No other way leads to a decoder.

    Raises `Unreadable` for what is no file, of none of the `FORMS`, or larger than `MOST_PIXELS`
    (half as many for a progressive JPEG, or one of `HALF`) or `MOST_BYTES`.
    """
    start = b""
    try:
        source = _embedded(source)
        start, size = _start(source)
        if not start:
            raise Unreadable("the file is empty")
        if size > MOST_BYTES:
            raise Unreadable(f"more than {MOST_BYTES // 1_000_000} MB: save it smaller")
        forms = [form for form in FORMS if form != "HEIF" or form in Image.OPEN]
        file = io.BytesIO(source) if isinstance(source, bytes) else source
        image = Image.open(file, formats=forms)
        check_size(image)
        return image
    except UnidentifiedImageError:
        if start[4:8] == b"ftyp":  # the family of formats that HEIC belongs to
            raise Unreadable("a HEIC or a video, which is not read: export a JPEG") from None
        raise Unreadable("not an image, or not one that can be read: save it as JPEG") from None
    except Image.DecompressionBombError:
        raise Unreadable(_too_large(MOST_PIXELS)) from None
    except OSError as error:
        raise Unreadable(f"cannot be opened: {error.strerror or error}") from None
    except Unreadable:
        raise
    except Exception as error:  # a damaged header: Pillow's readers raise nearly anything
        raise Unreadable(f"cut short or damaged ({_clause(error)})") from None


def check_size(image: Image.Image) -> None:
    """Raise `Unreadable` for more pixels than `open_photo` allows."""
    half = image.format in HALF or "progressive" in image.info
    most = MOST_PIXELS // 2 if half else MOST_PIXELS
    tile = math.prod(int(getattr(image, "tag_v2", {}).get(tag, 0)) for tag in _TILE)
    if max(image.width * image.height, tile) > most:
        raise Unreadable(_too_large(most, image.size))


def together(sources: Sequence[object], most: int) -> Iterator[slice]:
    """Parts of a list of photos, each of at most so many, and of `KEPT` bytes when they are read.

    A path that follows itself counts once; what cannot be read counts nothing.
    """
    start = held = size = 0
    for i, source in enumerate(sources):
        again = i > 0 and isinstance(source, (str, os.PathLike)) and source == sources[i - 1]
        size = size if again else _bytes(source)
        more = 0 if again and i > start else size
        if i > start and (i - start == most or held + more > KEPT):
            yield slice(start, i)
            start, held, more = i, 0, size
        held += more
    if start < len(sources):
        yield slice(start, len(sources))


def _bytes(source) -> int:
    """What `read_photo` makes of it takes, as its header says."""
    if isinstance(source, (str, os.PathLike)):
        try:
            with open_photo(source) as image:
                return 3 * image.width * image.height
        except Unreadable:
            return 0
    if isinstance(source, Image.Image):
        return 3 * source.width * source.height
    return getattr(source, "nbytes", 0)


def _embedded(source: str | os.PathLike | bytes) -> str | os.PathLike | bytes:
    """The photo that one of LabelMe's files embeds; anything else as it is."""
    if isinstance(source, bytes) or not os.fspath(source).lower().endswith(".json"):
        return source
    content = read_regular(source, MOST_BYTES)
    if content.count(b",") > _MOST_VALUES:
        raise Unreadable("more annotations than a file of LabelMe's has")
    said = json.loads(content)
    if not (isinstance(said, dict) and isinstance(data := said.get("imageData"), str)):
        raise Unreadable("a JSON file that embeds no photo")
    return base64.b64decode(data.rpartition(",")[2])  # some tools write "data:image/png;base64,"


def _start(source: str | os.PathLike | bytes) -> tuple[bytes, int]:
    """The first bytes of a file, or of its content, and how many there are."""
    if isinstance(source, bytes):
        return source[:16], len(source)
    with open_regular(source) as file:
        return file.read(16), os.fstat(file.fileno()).st_size


def _read(path: str | os.PathLike) -> tuple[np.ndarray, int, bool]:
    """What `_decoded` makes of a file; the image itself is then gone, which is larger."""
    with open_photo(path) as image:
        if image.format != "PNG":
            return _decoded(image)
        with _reasons(image):
            image.verify()  # its checksums, which decoding does not look at; then it is used up
    with open_photo(path) as image:
        return _decoded(image)


def _decoded(image: Image.Image) -> tuple[np.ndarray, int, bool]:
    """Pixels (H, W, 3), the EXIF orientation, and whether the pixels are turned by it already."""
    with _reasons(image):
        check_size(image)
        orientation = _orientation(image)
        image.load()
        # Pillow turns a TIFF itself as it decodes it, and then says that it is upright.
        turned = orientation != 1 and _orientation(image) == 1
        return _rgb(image), orientation, turned


@contextmanager
def _reasons(image: Image.Image) -> Iterator[None]:
    """Whatever decoding raises, as `Unreadable`."""
    try:
        yield
    except Unreadable:
        raise
    except MemoryError:
        raise Unreadable(f"too large for this machine's memory: {image.size}") from None
    except Exception as error:  # Pillow's decoders raise nearly anything
        kind = image.format or "image"
        raise Unreadable(f"the {kind} is cut short or damaged ({_clause(error)})") from None


def _upright(
    pixels: np.ndarray, orientation: int, turned: bool, declared: tuple[int, int] | None
) -> np.ndarray:
    stored = _turn(pixels, {6: 8, 8: 6}.get(orientation, orientation)) if turned else pixels
    upright = pixels if turned else _turn(pixels, orientation)
    if declared is not None and tuple(declared) != upright.shape[1::-1]:
        upright = stored if tuple(declared) == stored.shape[1::-1] else upright
    return np.ascontiguousarray(upright)


def _orientation(image: Image.Image) -> int:
    try:
        found = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # EXIF that is damaged does not keep anyone from seeing the photo
        return 1
    return found if found in range(1, 9) else 1


def _turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels (H, W, 3) that are stored with this EXIF orientation, upright; a view."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _rgb(image: Image.Image) -> np.ndarray:
    """A decoded image as (H, W, 3) uint8, not turned; a strip at a time, or it would be there
    several times over."""
    rows = max(1, _STRIP // image.width)
    boxes = [(0, y, image.width, min(y + rows, image.height)) for y in range(0, image.height, rows)]
    deep = image.mode == "F" or image.mode.startswith("I")
    if deep:
        strips = (np.asarray(image.crop(box)) for box in boxes)
        low, high = np.array([(strip.min(), strip.max()) for strip in strips]).T
        ends = low.min(), high.max()
    found = np.empty((image.height, image.width, 3), np.uint8)
    for box in boxes:
        strip = image.crop(box)
        pixels = _three(_eight_bits(np.asarray(strip), *ends)) if deep else _flat(strip)
        found[box[1] : box[3]] = pixels
    return found


def _flat(image: Image.Image) -> np.ndarray:
    """An image of 8 bits as (H, W, 3) uint8, laid on white."""
    if image.mode in ("La", "RGBa"):  # colours multiplied by alpha already
        image = image.convert(image.mode.upper())
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"))


def _from_array(array: np.ndarray) -> np.ndarray:
    if array.ndim == 2:
        array = array[..., np.newaxis]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or not array.size:
        raise Unreadable(
            f"an array of shape {array.shape}: give (H, W), (H, W, 3) or a tensor (3, H, W)"
        )
    pixels = _eight_bits(array)
    if pixels.shape[2] == 4:
        alpha = pixels[..., 3:].astype(np.uint16)
        laid = pixels[..., :3] * alpha + 255 * (255 - alpha)  # at most 255 * 255
        pixels = ((laid + 127) // 255).astype(np.uint8)
    return _three(pixels)


def _eight_bits(values: np.ndarray, low=None, high=None) -> np.ndarray:
    """Values of any type as uint8, by the range of the type; a new array.

    low, high: the least and greatest value of the photo that they are a part of.
    """
    if values.dtype == np.uint8:
        return values.copy()
    if values.dtype == bool:
        return values * np.uint8(255)
    if values.dtype.kind not in "fiu":
        raise Unreadable(f"values of type {values.dtype}: give uint8, uint16 or floats")
    low = values.min() if low is None else low
    high = values.max() if high is None else high
    if values.dtype.kind == "f":
        # A little beyond the range is what resizing with a bicubic filter leaves.
        if not (low > -0.1 and high < 1.1):  # false for NaN
            raise Unreadable(f"floats from {low:g} to {high:g}: give 0 to 1")
        return np.rint(values.clip(0, 1) * 255).astype(np.uint8)
    if low < 0 or high > 65535:
        raise Unreadable(f"values from {low} to {high}: give 8 or 16 bits")
    if high <= 255:
        return values.astype(np.uint8)
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)  # 65535 = 255 * 257


def _three(pixels: np.ndarray) -> np.ndarray:
    """Grey (H, W) or (H, W, 1) as three equal channels; (H, W, 3) as it is."""
    pixels = pixels[..., np.newaxis] if pixels.ndim == 2 else pixels
    return np.ascontiguousarray(np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels)


def _too_large(most: int, size: tuple[int, int] | None = None) -> str:
    shown = f" ({size[0]} x {size[1]})" if size else ""
    return f"more than {most // 1_000_000} megapixels{shown}: save it smaller"


def _clause(error: Exception) -> str:
    """What an exception says, on one line and not too long."""
    return " ".join(str(error).split())[:80] or type(error).__name__
