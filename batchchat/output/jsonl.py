"""JSONL out.

A line that comes from a JSONL file is passed through byte for byte, and the results are put before its last brace.
Everything else is written anew, in UTF-8.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from batchchat.errors import InputFault
from batchchat.output.cells import json_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from batchchat.output.delimited import Sink
    from batchchat.output.results import Piece, Results
    from batchchat.output.source import JsonSource, Source
    from batchchat.tables import Dialect, TextRows


def passing_through(sink: Sink, spans: Iterable[tuple[JsonSource, int | None]], results: Results) -> Iterator[int]:
    """Writes the lines of these files with their results. Yields how many rows were written each time."""
    ended = True
    for number, (part, stop) in enumerate(spans):
        dialect = part.dialect
        if number == 0:
            sink.write(dialect.to_file(part.header))
        for rows in part.undecoded().records(1, stop):
            _reject_keys(rows, part, results)
            at = 0
            for count, piece in results.pieces(part.before + rows.start, len(rows.raws)):
                lines = [
                    _joined(raw, _bytes(added, dialect), part)
                    for raw, added in zip(rows.raws[at : at + count], _added(piece, results), strict=True)
                ]
                if not ended:  # the file before this one ended without a line end
                    lines.insert(0, dialect.newline)
                ended = lines[-1].endswith("\n")
                sink.write(dialect.to_file("".join(lines)))
                at += count
                yield count
            if rows.tail:
                sink.write(dialect.to_file(rows.tail))
                ended = rows.tail.endswith("\n")


def _reject_keys(rows: TextRows, part: JsonSource, results: Results) -> None:
    """Finds a line that has the key of a result column: one that the check at the start did not reach."""
    dialect = part.dialect
    names = {_bytes(json_text(column.name), dialect): column.name for column in results.columns}
    text = "".join(rows.raws)
    suspects = [name for key, name in names.items() if key in text]
    for number, raw in enumerate(rows.raws if suspects else ()):
        taken = [name for name in suspects if name in json.loads(dialect.decode(raw))]
        if taken:
            raise InputFault(
                f"{part.where(rows.start + number)}: has the key {taken[0]!r}, which is a result column. Use --prefix."
            )


def _bytes(text: str, dialect: Dialect) -> str:
    """JSON as byte text; escaped where the file's encoding may lack a character."""
    if dialect.codec != "utf-8" and not text.isascii():
        text = re.sub(r"[^\x00-\x7f]+", lambda found: json.dumps(found[0])[1:-1], text)
    return dialect.encode(text)


def _joined(raw: str, added: str, part: JsonSource) -> str:
    """A line with the results inside its last brace."""
    body, brace, after = raw.rpartition("}")
    if not brace or after.strip():
        raise InputFault(f"{part.path}: a line is no JSON object: {raw.strip()[:40]}")
    comma = "" if body.rstrip().endswith("{") else ", "
    return f"{body}{comma}{added}}}{after}"


def _added(piece: Piece, results: Results) -> list[str]:
    """The results of each row, as they stand inside of an object."""
    columns = [
        [f"{json_text(column.name)}: {json_text(value)}" for value in piece[column.name]] for column in results.columns
    ]
    return [", ".join(row) for row in zip(*columns, strict=True)]


def anew(
    sink: Sink, spans: Iterable[tuple[Source, int | None]], results: Results, columns: Sequence[str]
) -> Iterator[int]:
    """Writes the rows of any files as JSONL. Yields how many rows were written each time."""
    keys = [json_text(name) for name in columns]
    for part, stop in spans:
        for batch in part.batches(columns, 1, stop):
            at = 0
            for count, piece in results.pieces(part.before + batch.start, batch.size):
                given = [
                    [f"{key}: {json_text(value)}" for value in batch.columns[name][at : at + count]]
                    for key, name in zip(keys, columns, strict=True)
                ]
                rows = zip(*given, _added(piece, results), strict=True)
                sink.write("".join("{" + ", ".join(row) + "}\n" for row in rows).encode("utf-8"))
                at += count
                yield count
