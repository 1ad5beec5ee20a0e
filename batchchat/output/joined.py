"""A table in memory with the results beside it: of a DataFrame comes a DataFrame, of a Table a Table.

Its own columns are not touched: dtypes, index and labels of a DataFrame, types and metadata of a Table stay. In a
DataFrame a count is `Int64`, which has room for nulls, so that a column's dtype does not depend on what failed; text is
pandas' own text dtype (`str`; `object` before pandas 3).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from batchchat.output import arrays

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from batchchat.output.results import Piece
    from batchchat.records import ResultColumn


def joined(
    data: Any,
    columns: Sequence[ResultColumn],
    pieces: Iterable[Piece],
    *,
    rows: Sequence[int] | None = None,
    limit: int | None = None,
) -> Any:
    """The rows that are asked for, with their results.

    Args:
        data: a `pandas.DataFrame` or a `pyarrow.Table`.
        columns: the result columns.
        pieces: the results of these rows, in their order, a list for each column.
        rows: numbers of rows; None: all, or the first `limit`.
        limit: how many rows there are at most.
    """
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(data, pandas.DataFrame):
        return _frame(data, columns, pieces, rows, limit)
    return _table(data, columns, pieces, rows, limit)


def _frame(
    frame: Any, columns: Sequence[ResultColumn], pieces: Iterable[Piece], rows: Sequence[int] | None, limit: int | None
) -> Any:
    import pandas as pd

    found: dict[str, list[Any]] = {column.name: [] for column in columns}
    for piece in pieces:
        for name, values in found.items():
            values.extend(piece[name])
    if rows is not None:
        frame = frame.iloc[[row - 1 for row in rows]]
    elif limit is not None and limit < len(frame):
        frame = frame.iloc[:limit]
    beside = frame.copy(deep=False)
    if isinstance(beside.columns, pd.CategoricalIndex):  # it takes no label that is not one of its own
        beside.columns = beside.columns.astype(object)
    for column in columns:
        beside[column.name] = _series(column, found.pop(column.name), beside.index)
    return beside


def _series(column: ResultColumn, values: list[Any], index: Any) -> Any:
    import pandas as pd

    kinds = {"int64": "Int64", "float64": "Float64", "string": _text_dtype()}
    return pd.Series(values, index=index, dtype=kinds.get(column.kind, "object"))


def _text_dtype() -> str:
    import pandas as pd

    return "object" if int(pd.__version__.partition(".")[0]) < 3 else "str"


def _table(
    table: Any, columns: Sequence[ResultColumn], pieces: Iterable[Piece], rows: Sequence[int] | None, limit: int | None
) -> Any:
    import pyarrow as pa

    found: dict[str, list[Any]] = {column.name: [] for column in columns}
    for piece in pieces:
        for column in columns:
            found[column.name].append(arrays.arrow_array(column.kind, piece[column.name]))
    if rows is not None:
        table = table.take(arrays.integers([row - 1 for row in rows]))
    elif limit is not None:
        table = table.slice(0, limit)
    for column in columns:
        kind = arrays.arrow_type(column.kind)
        table = table.append_column(pa.field(column.name, kind), pa.chunked_array(found[column.name], type=kind))
    return table
