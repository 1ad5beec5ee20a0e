"""Images that rows name: what stands in a cell in, parts of a message out.

A URL goes as it is. A path is a file in the folder of the images, which no path leaves, by links neither; it becomes a
data URL with the type that its content has, whatever it is called. Bytes (as data sets in Parquet have them) become one
too. The image itself is no part of a request while that waits: a mark with the fingerprint of its bytes stands for it,
so a row's key depends on what the image shows and not on what its file is called, and a batch of rows takes the memory
of their prompts. `filled` puts the images in when a request is sent.

A row whose image is missing, too large or no image is that row's error. Files are read in the reader's thread (to be
fingerprinted) and in a thread of their own (to be sent), never on the event loop.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchchat.errors import BadRow
from batchchat.records import Image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchchat.records import ChatRequest

_MEGA = 1_000_000
_HEAD = 32
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]+):")
_SHOWN = 80
# How the formats begin; the endpoints take the first four, other servers the rest as well.
_BEGINNINGS = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"GIF8[79]a"), "image/gif"),
    (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), "image/webp"),
    (re.compile(rb"BM.{4}\x00{4}", re.DOTALL), "image/bmp"),
    (re.compile(rb"II\*\x00|MM\x00\*"), "image/tiff"),
    (re.compile(rb".{4}ftypavi[fs]", re.DOTALL), "image/avif"),
    (re.compile(rb".{4}ftyp(heic|heix|mif1)", re.DOTALL), "image/heic"),
)


class ImageGone(BadRow):
    """The image of a row is not there: what was answered to it before stays an answer to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """The images of one column.

    Attributes:
        column: that names them.
        folder: where paths begin and may not leave; None where a path cannot be read.
        limit_mb: the largest image.
    """

    column: str
    folder: str | None
    limit_mb: float

    def of(self, value: Any, *, glance: bool = False) -> tuple[list[dict[str, Any]], tuple[Image, ...]]:
        """The parts of a message that a cell makes, and the images whose marks stand in them.

        Args:
            value: a path or URL, the bytes of an image, or several of them (a list, or its JSON).
            glance: do not read the images whole: their marks are not their fingerprints then, and nor is the key.

        Raises:
            BadRow: there is no image, or none that can be sent.
        """
        parts, images = [], []
        for one in self._several(value):
            found = self._one(one, glance=glance)
            if isinstance(found, Image):
                images.append(found)
                found = found.mark
            parts.append({"type": "image_url", "image_url": {"url": found}})
        return parts, tuple(images)

    def stamps(self, value: Any) -> list[tuple[str, int, int] | None]:
        """Of each file that a cell names its size and time, None where it is not there: whether it may have changed."""
        found: list[tuple[str, int, int] | None] = []
        try:
            for one in self._several(value):
                if isinstance(one, str) and not _URL.match(one):
                    status = Path(self._path(one)).stat()
                    found.append((one, status.st_size, status.st_mtime_ns))
        except (BadRow, OSError, ValueError):
            found.append(None)
        return found

    def _several(self, value: Any) -> Iterator[Any]:
        if isinstance(value, str) and value.lstrip().startswith("["):
            try:
                value = json.loads(value)
            except ValueError:
                value = [value]
        several = value if isinstance(value, list | tuple) else [value]
        if not several:
            raise BadRow(f"column '{self.column}' names no image; nothing was sent")
        for found in several:
            one = found
            if isinstance(found, dict):  # as data sets have images: bytes, and the path that they came from
                one = found.get("path") if found.get("bytes") is None else found["bytes"]
            if one is None or (isinstance(one, float) and one != one):  # noqa: PLR0124 - NaN
                raise BadRow(f"column '{self.column}' is null where an image is to be; nothing was sent")
            yield one.strip() if isinstance(one, str) else one

    def _one(self, value: Any, *, glance: bool) -> str | Image:
        """A URL as it is, or the image."""
        if isinstance(value, bytes | bytearray | memoryview):
            return self._bytes(bytes(value))
        if not isinstance(value, str):
            raise BadRow(f"column '{self.column}' holds a {type(value).__name__}, no path and no URL of an image")
        if not value:
            raise BadRow(f"column '{self.column}' is blank where an image is to be; nothing was sent")
        scheme = _URL.match(value)
        if scheme is None or len(scheme[1]) == 1:  # C:\ is a drive
            return self._file(value, glance=glance)
        kind = scheme[1].lower()
        if kind == "data":
            if not value[:11].lower().startswith("data:image/"):
                raise self._refused(value, "is no image")
            self._check_size(value, len(value) * 3 // 4)
        elif kind not in {"http", "https"}:
            raise self._refused(value, "is neither a path nor an http, https or data URL")
        return value

    def _bytes(self, data: bytes) -> Image:
        self._check_size("of bytes", len(data))
        mime = self._mime("of bytes", data[:_HEAD])
        digest = hashlib.blake2b(data, digest_size=16).hexdigest()
        return Image(mark=_mark(mime, digest), mime=mime, size=len(data), data=data)

    def _file(self, value: str, *, glance: bool) -> Image:
        path = self._path(value)
        try:
            status = Path(path).stat()
            if not stat.S_ISREG(status.st_mode):
                raise self._refused(value, "is no file")
            self._check_size(value, status.st_size)
            with Path(path).open("rb") as file:
                mime = self._mime(value, file.read(_HEAD))
                file.seek(0)
                digest = "" if glance else hashlib.file_digest(file, _fingerprint).hexdigest()
        except FileNotFoundError:
            raise ImageGone(self._refused(value, "is not there").message) from None
        except (OSError, ValueError) as error:
            raise self._refused(value, f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
        return Image(mark=_mark(mime, digest), mime=mime, size=status.st_size, mtime_ns=status.st_mtime_ns, path=path)

    def _path(self, value: str) -> str:
        """The file that is meant, without links.

        Raises:
            BadRow: it would lie outside of the folder.
        """
        if self.folder is None:
            raise self._refused(value, "is a path, and the table lies elsewhere than here; --image-folder says where")
        root = os.path.realpath(self.folder)
        try:
            path = os.path.realpath(Path(root) / value)
            inside = os.path.commonpath([root, path]) == root
        except ValueError:  # another drive, a NUL
            inside = False
        if not inside:
            raise self._refused(value, "lies outside of the folder of the images; --image-folder names another one")
        return path

    def _check_size(self, value: str, size: int) -> None:
        if size > self.limit_mb * _MEGA:
            raise self._refused(
                value, f"has {size / _MEGA:,.1f} MB, and {self.limit_mb:g} are allowed; --max-image-mb allows more"
            )

    def _mime(self, value: str, head: bytes) -> str:
        for beginning, mime in _BEGINNINGS:
            if beginning.match(head):
                return mime
        raise self._refused(value, "is no image (PNG, JPEG, GIF, WebP, BMP, TIFF, AVIF or HEIC)")

    def _refused(self, value: str, why: str) -> BadRow:
        shown = value if len(value) <= _SHOWN else value[: _SHOWN - 1] + "…"
        return BadRow(f"column '{self.column}': the image {shown} {why}; nothing was sent")


def filled(request: ChatRequest) -> ChatRequest:
    """The request with its images in its body, as it is sent. Reads files: not for the event loop.

    Raises:
        BadRow: a file was changed or removed since the request was made.
    """
    body = request.body
    for image in request.images:
        data = image.data if image.path is None else _read(image)
        assert data is not None
        url = b'"url":"data:%s;base64,%s"' % (image.mime.encode(), base64.b64encode(data))
        # In a text of the request the quotes of this would be escaped.
        body = body.replace(b'"url":"%s"' % image.mark.encode(), url, 1)
    return replace(request, body=body, images=())


def _read(image: Image) -> bytes:
    assert image.path is not None
    path = Path(image.path)
    try:
        data = path.read_bytes()
        same = len(data) == image.size and path.stat().st_mtime_ns == image.mtime_ns
    except OSError as error:
        raise BadRow(f"the image {path.name} cannot be read any more: {error.strerror}") from error
    if not same:
        raise BadRow(f"the image {path.name} was changed while the job ran; run it again")
    return data


def _mark(mime: str, digest: str) -> str:
    return f"batchchat:{mime};blake2b={digest}"


def _fingerprint() -> Any:
    return hashlib.blake2b(digest_size=16)
