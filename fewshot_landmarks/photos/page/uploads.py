"""What the page takes from browsers: photos, from itself alone, and not without limit; and what it
gives them: these photos smaller, and downloads.

`commands/page.py` imports this when it serves: Starlette comes with Gradio.
"""

import asyncio
import os
import re
import secrets
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
from filelock import FileLock, Timeout
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from fewshot_landmarks.data.images import Unreadable, read_photo
from fewshot_landmarks.photos.page.session import UploadedPhoto
from fewshot_landmarks.photos.page.visit import Visit
from fewshot_landmarks.support.errors import UserError

BYTES = 64 * 1024**2  # of a photo
PHOTOS = 500  # of all visitors together, and of one request
TOTAL = 2 * 1024**3  # bytes of all that the page keeps on disk
BODY = 1024**2  # bytes of a request that brings no photo

API = "/gradio_api"
UPLOAD = f"{API}/upload"
FILE = f"{API}/file="
PHOTO, DOWNLOAD = "/photos/", "/downloads/"  # what the page itself gives
# What the page's own script asks for. Gradio answers much else: it fetches addresses, converts
# videos, stores what a session shows.
ASKED = {
    "GET": (
        "/assets/", "/static/", "/svelte/", f"{API}/heartbeat/", PHOTO, DOWNLOAD,
        "/config", "/theme.css", "/favicon.ico", "/manifest.json", "/robots.txt",
        f"{API}/queue/data", f"{API}/info", f"{API}/app_id", f"{API}/theme.css",
    ),
    "POST": (UPLOAD, f"{API}/queue/join", f"{API}/reset", f"{API}/cancel"),
}  # fmt: skip
PREFIX, LOCK, KEPT = "fewshot-landmarks-", ".fewshot-landmarks-page", "photos"
SIZES = {"large": (1600, 90), "small": (280, 85)}  # longer side at most, pixels; JPEG's quality


@contextmanager
def own_folder() -> Iterator[Path]:
    """A temporary folder, removed in the end; those that killed pages have left are removed now."""
    # The photos' folder is made after the lock is held: where there is none, a page is starting.
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{KEPT}"):
        try:
            own = not hasattr(os, "getuid") or left.lstat().st_uid == os.getuid()
            if own and (left.parent / LOCK).is_file():  # or it is somebody's, of a like name
                with FileLock(left.parent / LOCK, timeout=0):
                    shutil.rmtree(left.parent, ignore_errors=True)
        except (Timeout, OSError):
            continue
    with tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as made:
        folder = Path(made).resolve()
        with FileLock(folder / LOCK, timeout=0):
            (folder / KEPT).mkdir()
            yield folder


# Kept by a browser, for another photo has another address; and taken for nothing else.
SAFE = {"cache-control": "private, max-age=86400", "x-content-type-options": "nosniff"}


class Gate:
    """Answers what the page itself asks for, where it is asked from the page, and refuses the rest.

    An ASGI middleware. Gradio's own answers any page on this machine, any page at all if it is
    reached by another name, and forms that any page sends.
    """

    def __init__(self, app, folder: Path, hosts: Sequence[str] = ()) -> None:
        """`folder` has the files that may be asked for; `hosts` are more names of the page's."""
        self.app, self.hosts = app, hosts
        self.folder, self.kept = f"{FILE}{folder}{os.sep}", f"{FILE}{folder / KEPT}{os.sep}"

    async def __call__(self, scope, receive, send) -> None:
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        await (refusal or self.app)(scope, receive, send)

    def _refusal(self, scope) -> Response | None:
        headers = Headers(scope=scope)
        if "origin" in headers and not self._is_own(headers["origin"], headers.get("host")):
            return PlainTextResponse("Asked by another page", 403)
        if not self._is_asked(scope["method"], scope["path"]):
            return PlainTextResponse("Not found", 404)
        if scope["method"] == "POST":
            size = headers.get("content-length", "")
            if not (size.isascii() and size.isdigit()):
                return PlainTextResponse("Content-Length is missing", 411)
            if scope["path"] != UPLOAD and int(size) > BODY:
                return PlainTextResponse("Too large", 413)
        return None

    def _is_own(self, origin: str, host: str | None) -> bool:
        try:
            from_where = urlsplit(origin)
            return from_where.netloc == host or from_where.hostname in self.hosts
        except ValueError:
            return False

    def _is_asked(self, method: str, path: str) -> bool:
        method = "GET" if method == "HEAD" else method
        if method == "GET" and (path == "/" or path.startswith(self.folder)):
            return not os.path.normpath(path).startswith(self.kept)
        return any(
            path.startswith(each) if each.endswith("/") else path == each
            for each in ASKED.get(method, ())
        )


@dataclass(eq=False)
class _Offer:
    """A file to be downloaded."""

    name: str
    content: bytes


class Uploads:
    """Photos that were sent to the page; each is on disk as long as its `UploadedPhoto` is in use."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / KEPT).mkdir(exist_ok=True)
        self._sent: dict[str, UploadedPhoto | Unreadable] = {}  # not yet asked for by `pop`
        self._photos: weakref.WeakSet[UploadedPhoto] = weakref.WeakSet()
        self._coming = 0  # bytes
        self._one = asyncio.Lock()  # one photo is decoded at a time
        self._offered: weakref.WeakValueDictionary[str, _Offer] = weakref.WeakValueDictionary()

    async def take(self, request: Request) -> Response:
        """Keep what is sent, in place of Gradio's own; the paths by which to `pop` each."""
        size = int(request.headers["content-length"])
        try:
            self.check_room(size)
        except UserError as error:
            return PlainTextResponse(str(error), 413)
        self._coming += size
        try:
            parser = MultiPartParser(
                request.headers, request.stream(), max_files=PHOTOS, max_fields=0
            )
            parser.spool_max_size = BODY // 16
            form: Any = await parser.parse()  # of files alone
            try:
                return JSONResponse([await self._keep(sent) for sent in form.getlist("files")])
            finally:
                await form.close()
        except (MultiPartException, KeyError) as error:
            return PlainTextResponse(f"Not uploaded: {error}", 400)
        except OSError as error:
            return PlainTextResponse(f"Not uploaded: {error.strerror or error}", 507)
        except ClientDisconnect:
            return Response(status_code=400)
        finally:
            self._coming -= size

    def pop(self, path: Path) -> UploadedPhoto:
        """A photo that was sent, once. Raises `Unreadable` where it was not kept."""
        found = self._sent.pop(str(path), Unreadable("not there any more: add it again"))
        if isinstance(found, Unreadable):
            raise found
        return found

    def address(self, photo: UploadedPhoto, size: str) -> str:
        """Where a browser gets a photo in one of the `SIZES`; nobody else knows of it."""
        return f"{PHOTO}{photo.path.name}.{size}"

    async def photo(self, request: Request) -> Response:
        """A photo in one of the `SIZES`."""
        name = request.path_params["name"]
        if not re.fullmatch(rf"[0-9a-f]{{32}}\.({'|'.join(SIZES)})", name):
            return PlainTextResponse("Not found", 404)
        try:
            content = await run_in_threadpool((self.folder / KEPT / name).read_bytes)
        except OSError:
            return PlainTextResponse("Not found", 404)
        return Response(content, media_type="image/jpeg", headers=SAFE)

    def offer(self, visit: Visit, name: str, content: bytes) -> str:
        """Where a visitor downloads a file, as long as it is the latest of the visit."""
        address = secrets.token_hex(16)
        visit.download = self._offered[address] = _Offer(name, content)
        return DOWNLOAD + address

    async def download(self, request: Request) -> Response:
        """What was offered."""
        offer = self._offered.get(request.path_params["name"])
        if offer is None:
            return PlainTextResponse("Not found", 404)
        disposition = {"content-disposition": f'attachment; filename="{offer.name}"'}
        kind = "application/octet-stream"
        return Response(offer.content, media_type=kind, headers=SAFE | disposition)

    def check_room(self, size: int = 0) -> None:
        """Raise `UserError` where so many bytes more are too many."""
        there = sum(each.stat().st_size for each in self.folder.rglob("*") if each.is_file())
        if there + self._coming + size > TOTAL:
            raise UserError(
                f"the page keeps {TOTAL // 1024**3} GB and no more: add fewer photos, or download "
                "what was found and start it again"
            )

    async def _keep(self, sent: UploadFile) -> str:
        path = self.folder / KEPT / secrets.token_hex(16)
        async with self._one:
            self._sent[str(path)] = await run_in_threadpool(self._kept, sent, path)
        while len(self._sent) > 2 * PHOTOS:  # of visitors who left before they asked for them
            del self._sent[next(iter(self._sent))]
        return str(path)

    def _kept(self, sent: UploadFile, path: Path) -> UploadedPhoto | Unreadable:
        if (sent.size or 0) > BYTES:
            return Unreadable(f"more than {BYTES // 1024**2} MB: save it smaller")
        if len(self._photos) >= PHOTOS:
            return Unreadable(f"the page keeps {PHOTOS} photos and no more")
        try:
            with path.open("xb") as file:
                shutil.copyfileobj(sent.file, file)
            pixels = read_photo(path)
            for size, (longest, quality) in SIZES.items():
                picture = _reduced(pixels, longest)[..., ::-1]
                coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
                path.with_suffix(f".{size}").write_bytes(coded.tobytes())
        except Unreadable as reason:
            _remove(path)
            return reason
        except BaseException:
            _remove(path)
            raise
        photo = UploadedPhoto(path, pixels.shape[1], pixels.shape[0])
        weakref.finalize(photo, _remove, path)
        self._photos.add(photo)
        return photo


def _reduced(pixels: np.ndarray, longest: int) -> np.ndarray:
    height, width = pixels.shape[:2]
    ratio = longest / max(width, height)
    if ratio >= 1:
        return pixels
    size = max(1, round(width * ratio)), max(1, round(height * ratio))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)


def _remove(path: Path) -> None:
    """Remove a photo and what was made of it."""
    for each in (path, *(path.with_suffix(f".{size}") for size in SIZES)):
        each.unlink(missing_ok=True)
