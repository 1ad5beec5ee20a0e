"""The lines of a text file, as byte text (see `tables`), from any place in it."""

from __future__ import annotations

import codecs
import contextlib
import gzip
import io
import zlib
from typing import TYPE_CHECKING, BinaryIO, cast

from batchchat import storage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _typeshed import WriteableBuffer

    from batchchat.dataset.encoding import Encoding

_BUFFER = 1 << 20


class Unreadable(Exception):
    """A text file cannot be read on. It never leaves this room: it becomes a UsageError or an InputFault.

    Attributes:
        row: number in its file of the row that is at fault, None where only the file is known.
        line: number in its file of the line at which that row, or the fault in it, begins.
    """

    def __init__(self, message: str, *, row: int | None = None, line: int | None = None) -> None:
        super().__init__(message)
        self.row = row
        self.line = line


class Lines:
    """An open file, as lines with their own line ends.

    What was before a fault comes first; the last line may be cut off then.
    """

    def __init__(self, file: io.RawIOBase | BinaryIO, newline: str, offset: int) -> None:
        self._guarded = _Guarded(file)
        buffered = io.BufferedReader(self._guarded, _BUFFER)
        while offset and (passed := len(buffered.read(min(offset, _BUFFER)))):
            offset -= passed
        self._text = io.TextIOWrapper(buffered, encoding="latin-1", newline=newline)

    @property
    def fault(self) -> Unreadable | None:
        """Why the file cannot be read on, once that is so."""
        return self._guarded.fault

    def block(self, size: int) -> list[str]:
        """The next lines, of about so many bytes together; none at the end, or at a fault."""
        return self._text.readlines(size)

    def __iter__(self) -> Iterator[str]:
        return self._text


@contextlib.contextmanager
def open_lines(path: str, encoding: Encoding, *, compressed: bool, newline: str, offset: int = 0) -> Iterator[Lines]:
    r"""The file's lines from a byte offset on.

    The newline is "" where `\r`, `\n` and `\r\n` end a line, "\n" where only that does. The offset counts in what is
    read: the decompressed file, or its UTF-8 where it is carried as that.

    Raises:
        OSError: it cannot be opened.
    """
    with contextlib.ExitStack() as stack:
        raw = stack.enter_context(storage.open_input(path))
        if compressed:
            raw = cast("BinaryIO", stack.enter_context(gzip.open(raw)))
        if encoding.outer is not None:
            yield Lines(_Transcoded(raw, encoding.outer), newline, offset)
        elif compressed:
            yield Lines(raw, newline, offset)
        else:
            raw.seek(offset)
            yield Lines(raw, newline, 0)


class _Guarded(io.RawIOBase):
    """A file that ends where it cannot be read on, and remembers why."""

    def __init__(self, file: io.RawIOBase | BinaryIO) -> None:
        self._file = cast("io.RawIOBase", file)
        self.fault: Unreadable | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int | None:
        try:
            return self._file.readinto(buffer)
        except Unreadable as error:
            self.fault = error
        except EOFError:
            self.fault = Unreadable("the gzip stream ends too early: the file was cut off")
        except (gzip.BadGzipFile, zlib.error) as error:
            self.fault = Unreadable(f"the gzip stream is damaged ({error})")
        except OSError as error:
            self.fault = Unreadable(f"cannot be read: {error.strerror or error}")
        return 0


class _Transcoded(io.RawIOBase):
    """UTF-16 or UTF-32 as UTF-8, a byte-order mark included. What is before a fault is passed on first."""

    def __init__(self, file: BinaryIO, codec: str) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder(codec)()
        self._codec = codec
        self._ready = b""
        self._read = 0
        self._fault: Unreadable | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        while not self._ready:
            if self._fault:
                raise self._fault
            if not self._fill():
                return 0
        count = min(len(view), len(self._ready))
        view[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def _fill(self) -> bool:
        piece = self._file.read(_BUFFER // 4)
        pending = len(self._decoder.getstate()[0])
        try:
            text = self._decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            at = self._read - pending + error.start
            bad = error.object[error.start : error.end].hex(" ").upper()
            self._fault = Unreadable(f"the bytes {bad} (at {at}) are no {self._codec}")
            text = error.object[: error.start].decode(self._codec)
        self._read += len(piece)
        self._ready = text.encode("utf-8")
        return bool(piece) or bool(self._fault)
