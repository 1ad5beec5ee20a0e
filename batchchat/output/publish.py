"""The whole way of a table out: which files, in which format, each whole or not at all."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from batchchat import storage
from batchchat.errors import InputFault
from batchchat.output import delimited, jsonl, parquet, splice
from batchchat.output.results import Results
from batchchat.tables import Dialect, Format, find_format, require_format

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from batchchat.output.delimited import Sink
    from batchchat.output.results import Lookup
    from batchchat.output.source import Table
    from batchchat.output.splice import ScratchSink
    from batchchat.records import ResultColumn

    Span = tuple[Any, int | None]  # a file, and the last of its rows that counts

_SUCCESS = "_SUCCESS"
_GZIP_LEVEL = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A published output.

    Attributes:
        path: as it was typed.
        rows: how many it has.
        digest: SHA-256 of its content in hex, as `digest` computes it.
        size: in bytes.
        mtime_ns: of the file, or of the folder's `_SUCCESS`.
    """

    path: str
    rows: int
    digest: str
    size: int
    mtime_ns: int


def publish(
    dataset: Table,
    path: str,
    columns: Sequence[ResultColumn],
    results: Lookup,
    *,
    progress: Callable[[int], None] | None = None,
    about_to: Callable[[str], None] | None = None,
    safe_csv: bool = False,
) -> Published:
    """Writes the input's rows with their results. What was there before stays until the new file is whole.

    Args:
        dataset: the input, as `dataset.open_dataset` gives it.
        path: a table file; or a folder, where the input is one: then it gets files of the same names.
        columns: the result columns.
        results: gives for `size` rows from row `start` on one list of values for each result column; None is null.
        progress: is told now and then how many rows were written so far.
        about_to: is told the digest of a file before it appears; of a folder, an empty one before its first file.
        safe_csv: puts an apostrophe before result cells of CSV and TSV that a spreadsheet would run.

    Raises:
        StorageFull: the output cannot be written; nothing of it is left.
        InputFault: the input cannot be read, or was changed.
    """
    form = find_format(path)
    if safe_csv and (form or dataset.parts[0].form).is_delimited:
        results = delimited.tamed(results, columns)
    work = _Work(dataset, Results(columns, results), progress=progress, about_to=about_to)
    return _publish_folder(work, path) if form is None else _publish_file(work, path, form)


class _Work:
    """A publication on its way: what goes in, and who is told."""

    def __init__(
        self,
        table: Table,
        results: Results,
        *,
        progress: Callable[[int], None] | None,
        about_to: Callable[[str], None] | None,
    ) -> None:
        self.table = table
        self.results = results
        self.rows = 0
        self._progress = progress
        self.about_to = about_to

    def follow(self, written: Iterable[int]) -> None:
        """Has everything written, and tells of it."""
        for rows in written:
            self.rows += rows
            if self._progress:
                self._progress(self.rows)


def _publish_file(work: _Work, path: str, form: Format) -> Published:
    digest, stamp = _write_file(work, work.table.spans(), path, form, work.about_to)
    return Published(path=path, rows=work.rows, digest=digest, size=stamp.size, mtime_ns=stamp.mtime_ns)


def _publish_folder(work: _Work, path: str) -> Published:
    """File after file; `_SUCCESS` goes first and comes last. It lists the files as `sha256sum` does."""
    if work.about_to:
        work.about_to("")
    marker = storage.inside(path, _SUCCESS)
    with storage.writing(path):
        storage.make_folder(path)
        before = _listed(marker)
    manifest, size = "", 0
    for span in work.table.spans():
        name = storage.file_name(span[0].path)
        target = storage.inside(path, name)
        digest, stamp = _write_file(work, [span], target, require_format(name, name))
        manifest += f"{digest}  {name}\n"
        size += stamp.size
        before.discard(name)
    with storage.writing(path):
        for name in sorted(before):
            storage.remove(storage.inside(path, name))
    with storage.Publication(marker) as publication:
        with storage.writing(marker):
            publication.file.write(manifest.encode())
        digest, stamp = publication.commit()
    return Published(path=path, rows=work.rows, digest=digest, size=size, mtime_ns=stamp.mtime_ns)


def _listed(marker: str) -> set[str]:
    """The files that an earlier publication made. Its marker is removed: from now on the folder is not whole."""
    if not storage.is_file(marker):
        return set()
    with storage.open_input(marker) as file:
        lines = file.read().decode("utf-8", "replace").splitlines()
    storage.remove(marker)
    names = {line[66:] for line in lines if find_format(line)}
    return {
        name
        for name in names
        if storage.file_name(name) == name and storage.is_file(storage.inside(marker[: -len(_SUCCESS)], name))
    }


def digest(path: str) -> str:
    """The digest of an output that is there, as `Published.digest` has it. Raises OSError."""
    if not storage.is_folder(path):
        return storage.sha256(path)
    files = [found for found in storage.list_folder(path) if find_format(found)]
    manifest = "".join(f"{storage.sha256(found)}  {storage.file_name(found)}\n" for found in files)
    return hashlib.sha256(manifest.encode()).hexdigest()


def _write_file(
    work: _Work, spans: Iterable[Span], path: str, form: Format, about_to: Callable[[str], None] | None = None
) -> tuple[str, storage.Stamp]:
    table, results = work.table, work.results
    used: list[Any] = []
    spans = _noting(spans, used)
    with storage.Publication(path) as publication:
        with storage.writing(path):
            if form.kind == "parquet":
                work.follow(_write_parquet(table, spans, publication.file, results))
            elif form.compressed:
                # No name and no time in its header, so that the same rows give the same bytes.
                with gzip.GzipFile("", "wb", _GZIP_LEVEL, publication.file, mtime=0) as sink:
                    work.follow(_write_text(table, spans, form, sink, results))
            else:
                work.follow(_write_text(table, spans, form, publication.file, results))
        for part in used:
            part.require_unchanged()
        return publication.commit(about_to)


def _noting(spans: Iterable[Span], used: list[Any]) -> Iterator[Span]:
    """These files; each is noted when it is taken."""
    for part, stop in spans:
        used.append(part)
        yield part, stop


def _write_text(table: Table, spans: Iterable[Span], form: Format, sink: Sink, results: Results) -> Iterator[int]:
    """Chooses how these files become that format."""
    source = table.parts[0]
    if form.kind == "jsonl":
        if source.form.kind == "jsonl":
            return jsonl.passing_through(sink, spans, results)
        return jsonl.anew(sink, spans, results, table.columns)
    delimiter = "\t" if form.kind == "tsv" else ","
    if not source.form.is_delimited:
        columns = _all_columns(table, results)
        return delimited.anew(sink, _with_digits(spans), results, columns, Dialect(delimiter=delimiter))
    if source.form.kind == form.kind or source.dialect.delimiter == delimiter:
        return delimited.passing_through(sink, spans, results)
    return delimited.anew(sink, spans, results, table.columns, replace(source.dialect, delimiter=delimiter))


def _write_parquet(table: Table, spans: Iterable[Span], sink: ScratchSink, results: Results) -> Iterator[int]:
    kind = table.parts[0].form.kind
    if kind == "parquet":
        whole = list(spans)
        return (splice.spliced if splice.fits(whole) else parquet.from_parquet)(sink, whole, results)
    if kind == "jsonl":
        columns = parquet.json_columns(table.spans(), table.columns)
        _reject_late_names(table, columns, results)
        return parquet.from_text(sink, _with_digits(spans), results, columns)
    return parquet.from_text(sink, spans, results, parquet.text_columns(table.columns))


def _with_digits(spans: Iterable[Span]) -> Iterator[Span]:
    for part, stop in spans:
        yield (part.with_digits() if part.form.kind == "jsonl" else part), stop


def _all_columns(table: Table, results: Results) -> Sequence[str]:
    """The columns, of JSONL every key that stands anywhere: the files are read through for that."""
    if table.parts[0].form.kind != "jsonl":
        return table.columns
    columns = dict.fromkeys(table.columns)
    for part, stop in table.spans():
        for rows in part.records(1, stop):
            for record in rows.cells:
                columns.update(dict.fromkeys(record))
    _reject_late_names(table, columns, results)
    return tuple(columns)


def _reject_late_names(table: Table, columns: Iterable[str], results: Results) -> None:
    """A key that nobody saw at the start, and that a result column has too."""
    taken = {column.name for column in results.columns}.intersection(columns)
    if taken:
        raise InputFault(f"{table.name}: a row has the key {min(taken)!r}, which is a result column. Use --prefix.")
