r"""JSONL files: one JSON object a line, UTF-8 unless told otherwise.

A line ends with `\n`; `\r` before it is white space. Blank lines are no rows; they stay where they are. The columns are
the keys in the order in which they appear, in the first batch, and in all that was checked once it was; a key that a
line lacks is null there. Of a doubled key the last one counts, as everywhere in Python.

The standard library's json reads: it takes NaN, which others write, and can keep numbers as their digits.
"""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

from batchchat.dataset.encoding import UTF8_BOM, Encoding
from batchchat.dataset.lines import Lines, Unreadable
from batchchat.dataset.textpart import Block, Mark, TextPart
from batchchat.errors import UsageError
from batchchat.tables import Dialect, Digits, TextRows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from batchchat.tables import Format

_BLOCK = 1 << 20


class JsonlPart(TextPart):
    """A JSONL file."""

    def __init__(self, path: str, form: Format, encoding: Encoding) -> None:
        super().__init__(path, form, encoding, newline="\n")
        self.dialect = Dialect(delimiter="", codec=encoding.codec, outer=encoding.outer)
        self._columns: dict[str, None] = {}
        self._decode: Callable[[str], Any] | None = json.JSONDecoder().decode
        self.header = self._read_bom()
        self._marks = [Mark(row=1, offset=len(self.header), line=1)]
        for rows in self.records(error=UsageError):
            self._check_rows(rows)
            break
        if not self._columns:
            raise UsageError(f"{path}: is empty; it has no rows, and so no columns.")

    @property
    def columns(self) -> tuple[str, ...]:
        """The keys that were seen, in the order in which they appeared."""
        return tuple(self._columns)

    def _read_bom(self) -> str:
        with self._open(0) as file:
            first = next(iter(file), "")
        return UTF8_BOM if self._encoding.codec == "utf-8" and first.startswith(UTF8_BOM) else ""

    def _column(self, rows: TextRows, name: str) -> list[Any]:
        return [record.get(name) for record in rows.cells]

    def _check_rows(self, rows: TextRows) -> None:
        for record in rows.cells:
            self._columns.update(dict.fromkeys(record))

    def with_digits(self) -> JsonlPart:
        """The same file, with each number as `Digits`, as it stands there."""
        return self._decoding(json.JSONDecoder(parse_float=Digits, parse_int=Digits, parse_constant=Digits).decode)

    def undecoded(self) -> JsonlPart:
        """The same file, where nobody looks into the lines: five times as fast."""
        return self._decoding(None)

    def _decoding(self, decode: Callable[[str], Any] | None) -> JsonlPart:
        other = copy.copy(self)
        other._decode = decode  # noqa: SLF001 - it is one of us
        return other

    def _read(self, file: Lines, line: int) -> Iterator[Block]:
        del line  # every record is one
        while raws := file.block(_BLOCK):
            if file.fault:
                del raws[-1]  # it may be cut off
            cells: list[Any] = []
            fault: Unreadable | None = None
            try:
                for raw in raws:
                    cells.append(self._object(raw) if raw.strip() else None)  # noqa: PERF401 - what is there before a fault is needed
            except Unreadable as error:
                fault = error
            yield Block(raws=raws[: len(cells)], cells=cells, lines=[1] * len(cells), smooth=None not in cells)
            if fault:
                raise fault
        if file.fault:
            raise file.fault

    def _object(self, raw: str) -> dict[str, Any]:
        if self._decode is None:
            return {}
        try:
            found = self._decode(self.dialect.decode(raw))
        except UnicodeDecodeError as error:
            raise self._not_text(error) from error
        except json.JSONDecodeError as error:
            raise Unreadable(f"the line is no JSON object: {error.msg} at column {error.colno}") from error
        except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets without end
            raise Unreadable(f"the line is no JSON object: {error}") from error
        if not isinstance(found, dict):
            raise Unreadable(f"the line is no JSON object but {_kind(found)}: {raw.strip()[:40]}")
        return found


def _kind(value: Any) -> str:
    names = {list: "an array", str: "a string", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")
