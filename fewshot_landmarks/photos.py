"""Photos from phones, scanners and editors, as arrays; or why one cannot be read.

A photo is turned by its EXIF orientation, laid on white where it is transparent, and brought to
8 bits of RGB. Of an animation the first frame is read. Colour profiles are ignored.
"""

import base64
import io
import json
import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from fewshot_landmarks.errors import UserError

SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .mpo .png .webp .tif .tiff .bmp .gif .avif .jp2 .ppm .pgm .heic .heif".split()
)
MOST_PIXELS = 200_000_000  # 600 MB as an array: above what cameras take

# Pillow's own guard is for the whole process, and ends below some cameras' photos.
if Image.MAX_IMAGE_PIXELS is not None:
    Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, MOST_PIXELS)

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

    Raises `Unreadable` for what is missing, empty, cut short, damaged, no image, larger than
    `MOST_PIXELS`, or an array of another shape, type or range.
    """
    if isinstance(source, Image.Image):
        return _upright(source, declared)
    if isinstance(source, (str, os.PathLike)):
        with _opened(Path(source)) as image:
            return _upright(image, declared)
    if isinstance(source, torch.Tensor):
        source = source.detach().cpu()
        if source.is_floating_point():
            source = source.float()  # NumPy has no bfloat16
        source = source.numpy()
        source = np.moveaxis(source, 0, -1) if source.ndim == 3 else source
    return _from_array(np.asarray(source))


def stored_size(path: Path) -> tuple[int, int, bool] | None:
    """Width and height of a photo as stored, and whether EXIF turns it on its side; nothing is
    decoded. None where they cannot be told.
    """
    try:
        with _image(path) as image:
            width, height = image.size
            return width, height, _orientation(image) >= 5
    except Exception:  # whatever is wrong shows when the photo is read
        return None


def _image(path: Path) -> Image.Image:
    """An image whose pixels are not yet decoded; of LabelMe's files, the one that it embeds."""
    if path.suffix.lower() != ".json":
        return Image.open(path)
    said = json.loads(path.read_bytes())
    return Image.open(io.BytesIO(base64.b64decode(said["imageData"])))


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


def _opened(path: Path) -> Image.Image:
    """The image, its pixels not yet decoded."""
    try:
        with path.open("rb") as file:
            start = file.read(16)
        if not start:
            raise Unreadable("the file is empty")
        if start.startswith(b"\x89PNG"):
            with _image(path) as image:
                image.verify()  # its checksums, which decoding does not look at
        return _image(path)
    except UnidentifiedImageError:
        if start[4:8] == b"ftyp":  # the family of formats that HEIC belongs to
            raise Unreadable("a HEIC or a video, which is not read: export a JPEG") from None
        raise Unreadable("not an image, or not one that can be read: save it as JPEG") from None
    except Image.DecompressionBombError:
        raise Unreadable(_too_large()) from None
    except OSError as error:
        raise Unreadable(f"cannot be opened: {error.strerror or error}") from None
    except Unreadable:
        raise
    except Exception as error:  # a damaged header: Pillow's readers raise nearly anything
        raise Unreadable(f"cut short or damaged ({_clause(error)})") from None


def _upright(image: Image.Image, declared: tuple[int, int] | None) -> np.ndarray:
    if image.width * image.height > MOST_PIXELS:
        raise Unreadable(_too_large(image.size))
    kind = image.format or "image"
    try:
        orientation = _orientation(image)
        image.load()
        # Pillow turns a TIFF itself as it decodes it, and then says that it is upright.
        turned = orientation != 1 and _orientation(image) == 1
        pixels = _rgb(image)
    except Unreadable:
        raise
    except MemoryError:
        raise Unreadable(f"too large for this machine's memory: {image.size}") from None
    except Exception as error:  # Pillow's decoders raise nearly anything
        raise Unreadable(f"the {kind} is cut short or damaged ({_clause(error)})") from None

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
    """A decoded image as (H, W, 3) uint8, not turned."""
    if image.mode == "F" or image.mode.startswith("I"):
        return _three(_eight_bits(np.asarray(image)))
    if image.mode in ("La", "RGBa"):  # colours multiplied by alpha already
        image = image.convert(image.mode.upper())
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))


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


def _eight_bits(values: np.ndarray) -> np.ndarray:
    """Values of any type as uint8, by the range of the type; a new array."""
    if values.dtype == np.uint8:
        return values.copy()
    if values.dtype == bool:
        return values * np.uint8(255)
    if values.dtype.kind not in "fiu":
        raise Unreadable(f"values of type {values.dtype}: give uint8, uint16 or floats")
    low, high = values.min(), values.max()
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


def _too_large(size: tuple[int, int] | None = None) -> str:
    shown = f" ({size[0]} x {size[1]})" if size else ""
    return f"more than {MOST_PIXELS // 1_000_000} megapixels{shown}: save it smaller"


def _clause(error: Exception) -> str:
    """What an exception says, on one line and not too long."""
    return " ".join(str(error).split())[:80] or type(error).__name__
