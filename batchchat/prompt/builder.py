"""The request of a row: columns in, `Task` out.

Everything that can be known before the first request is found here, when the templates are compiled: a template that
does not parse, a column that is not in the table, a template that names no column. What only a row can show (a blank
prompt, messages that are none, an expression that fails on this value) becomes that row's error; it is not sent.

Templates are Jinja2 in its immutable sandbox, without autoescape, with strict undefined names: a job file from
elsewhere runs no code, and a misspelt name is never an empty string. A null renders as nothing.

This room knows neither the endpoint nor the checkpoint. Its digest of a batch covers the columns that the templates
read, so that a batch whose digest is unchanged need not be rendered to know its keys.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import orjson
from jinja2 import meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from batchchat import defaults, spelling, wire
from batchchat.errors import BadRow, Misspelt, UsageError
from batchchat.job import Parameters
from batchchat.prompt.images import ImageGone, Images
from batchchat.records import Batch, ChatRequest, Image, Task

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from batchchat.job import PromptSettings

_HALF = 8
_ROW = "row"
_SYSTEM_ROLES = frozenset({"system", "developer"})


class Template:
    """One compiled template and the columns that it reads.

    Args:
        text: Jinja2.
        name: how messages call it: `--prompt`, `--system`, or the file it was read from.
        columns: the table's columns.

    Raises:
        UsageError: it does not parse, or names what is no column.
    """

    def __init__(self, text: str, *, name: str, columns: Sequence[str]) -> None:
        self.name = name
        try:
            tree = _ENVIRONMENT.parse(text)
            self._template = _ENVIRONMENT.from_string(text)
        except jinja2.TemplateSyntaxError as error:
            raise UsageError(f"{name}: the template does not parse, line {error.lineno}: {error.message}") from error
        self.columns = _columns_read(tree, name, columns)

    def render(self, row: Mapping[str, Any]) -> str:
        """The text for one row.

        Raises:
            BadRow: an expression fails on this row's values.
        """
        try:
            return self._template.render(row, row=row)
        except Exception as error:  # an expression of a template may raise anything
            raise BadRow(f"{self.name} fails on this row: {type(error).__name__}: {error}") from error


class Where:
    """A filter: an expression over the columns of a row, in the same sandbox.

    Args:
        text: a Jinja2 expression, as `lang == 'en'`.
        columns: the table's columns.

    Raises:
        UsageError: it does not parse, or names no column, or what is none.
    """

    name = "--where"

    def __init__(self, text: str, *, columns: Sequence[str]) -> None:
        try:
            tree = _ENVIRONMENT.parse(f"{{{{ ({text}\n) }}}}")
            self._holds = _ENVIRONMENT.compile_expression(text, undefined_to_none=False)
        except jinja2.TemplateSyntaxError as error:
            raise UsageError(f"{self.name} {text}: this is no expression: {error.message}") from error
        self.columns = _columns_read(tree, self.name, columns)
        if not self.columns:
            raise UsageError(f"{self.name} {text}: this names no column (columns: {', '.join(columns)})")

    def holds(self, row: Mapping[str, Any]) -> bool:
        """Whether it is true of a row.

        Raises:
            BadRow: it fails on this row's values.
        """
        try:
            return bool(self._holds(row, row=row))
        except Exception as error:  # an expression may raise anything
            raise BadRow(f"{self.name} fails on this row: {type(error).__name__}: {error}") from error


class RequestBuilder:
    """Makes the request of each row.

    Args:
        prompt: where the messages come from.
        model: the model's name.
        parameters: every other field of the request that is set, without `messages` and `stream`.
        columns: the table's columns.
        folder: where the table lies; None where that is not on this machine.

    Raises:
        UsageError: a template or column is at fault.
    """

    def __init__(
        self,
        prompt: PromptSettings,
        *,
        model: str,
        parameters: Mapping[str, Any],
        columns: Sequence[str],
        folder: str | None = None,
    ) -> None:
        self._model = model
        self._shape = wire.RequestShape(model=model, parameters=parameters)
        self._parameters = Parameters(prompt.param_columns, parameters) if prompt.param_columns else None
        self._images = _images(prompt, folder)
        self._system: Template | None = None
        self._template: Template | None = None
        self._column: str | None = None
        self._messages_column = prompt.messages_column
        read = {_existing(column, columns, f"--param-column {name}") for name, column in prompt.param_columns.items()}
        if prompt.image_column is not None:
            read.add(_existing(prompt.image_column, columns, "--image-column"))
        if prompt.system is not None:
            self._system = Template(prompt.system, name=prompt.system_name, columns=columns)
            read.update(self._system.columns)
        if prompt.messages_column is not None:
            read.add(_existing(prompt.messages_column, columns, "--messages-column"))
        elif prompt.template is not None:
            self._template = Template(prompt.template, name=prompt.template_name, columns=columns)
            if not self._template.columns and self._images is None:
                raise UsageError(
                    f"{prompt.template_name}: the template names no column, so every row would get the same prompt; "
                    f"write a column as {{{{ {columns[0] if columns else 'column'} }}}} "
                    f"(columns: {', '.join(columns)})"
                )
            read.update(self._template.columns)
        else:
            self._column = _existing(prompt.column, columns, "--prompt-column")
            read.add(self._column)
        self.columns: tuple[str, ...] = tuple(column for column in columns if column in read)

    def tasks(self, batch: Batch, rows: Iterable[int] | None = None, *, glance: bool = False) -> Iterator[Task]:
        """The tasks of a batch, or of those of its rows that are asked for (numbers of the table's rows).

        With `glance` images are not read whole, and the keys of requests that have some are of no use.
        """
        names = [name for name in self.columns if name in batch.columns]
        lists = [batch.columns[name] for name in names]
        for row in range(batch.start, batch.start + batch.size) if rows is None else rows:
            at = row - batch.start
            yield self._task(row, {name: values[at] for name, values in zip(names, lists, strict=True)}, glance)

    def digest(self, batch: Batch) -> bytes:
        """16 bytes over the values of the columns that the templates read.

        Where rows have images, the second half is of the state of their files.
        """
        if self._images is None:
            return _digest([list(batch.columns[name]) for name in self.columns], size=16)
        cells = _digest([list(batch.columns[name]) for name in self.columns], size=_HALF)
        files = [self._images.stamps(value) for value in batch.columns[self._images.column]]
        return cells + _digest(files, size=_HALF)

    def others(
        self, tasks: Iterable[Task], stored: Mapping[int, bytes], *, before: bytes | None, now: bytes
    ) -> list[int]:
        """Rows that have another key than what is stored of them.

        A row whose image is gone cannot say its key. It is as it was where the cells of its batch are.

        Args:
            tasks: of the rows.
            stored: keys by row.
            before: the digest of the batch when they were stored, None where nobody knows.
            now: its digest now.
        """
        same_cells = self._images is not None and before is not None and before[:_HALF] == now[:_HALF]
        return [
            task.row
            for task in tasks
            if stored[task.row] != task.key and not (same_cells and isinstance(task.error, ImageGone))
        ]

    def _task(self, row: int, values: Mapping[str, Any], glance: bool) -> Task:
        try:
            request = self._request(values, glance)
        except BadRow as error:
            # The key of a row that cannot be sent stands for its values, so that an edit of them is seen.
            text = repr((error.message, sorted(values.items(), key=lambda item: item[0])))
            key = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
            return Task(row=row, request=None, error=error, key=key)
        return Task(row=row, request=request, key=request.key)

    def _request(self, values: Mapping[str, Any], glance: bool) -> ChatRequest:
        messages = self._messages(values)
        images: tuple[Image, ...] = ()
        if self._images is not None:
            parts, images = self._images.of(values[self._images.column], glance=glance)
            asked = messages[-1]
            asked["content"] = [{"type": "text", "text": asked["content"]}, *parts]
        if self._parameters is None:
            request = self._shape.request(messages)
        else:
            try:
                fields = self._parameters.of(values)
            except ValueError as error:
                raise BadRow(f"{error}; nothing was sent") from error
            request = wire.make_request({**fields, "model": self._model, "messages": messages})
        return replace(request, images=images) if images else request

    def _messages(self, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        if self._messages_column is not None:
            messages = _read_messages(values[self._messages_column], self._messages_column)
        else:
            messages = [{"role": "user", "content": self._prompt(values)}]
        if self._system is not None and not any(message["role"] in _SYSTEM_ROLES for message in messages):
            messages.insert(0, {"role": "system", "content": self._system.render(values)})
        return messages

    def _prompt(self, values: Mapping[str, Any]) -> str:
        if self._template is not None:
            text, what = self._template.render(values), "the rendered prompt"
        else:
            assert self._column is not None
            value, what = values[self._column], f"column '{self._column}'"
            if value is None:
                raise BadRow(f"{what} is null; nothing was sent")
            text = value if isinstance(value, str) else str(value)
        if not text or text.isspace():
            raise BadRow(f"{what} is blank; nothing was sent")
        return text


def _digest(value: Any, *, size: int) -> bytes:
    try:
        text = orjson.dumps(value, default=repr, option=_DIGEST_OPTIONS)
    except (TypeError, ValueError):  # lone surrogates, integers beyond 64 bits
        text = repr(value).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=size).digest()


def _images(prompt: PromptSettings, folder: str | None) -> Images | None:
    """What reads the images of the rows, None where they have none."""
    if prompt.image_column is None:
        return None
    if prompt.image_folder is not None:
        folder = str(Path(folder or "") / prompt.image_folder)
    limit = defaults.MAX_IMAGE_MB if prompt.max_image_mb is None else prompt.max_image_mb
    return Images(column=prompt.image_column, folder=folder, limit_mb=limit)


def _columns_read(tree: nodes.Template, name: str, columns: Sequence[str]) -> tuple[str, ...]:
    """The columns that a template reads, in the table's order.

    Raises:
        UsageError: it names what is no column.
    """
    variables = meta.find_undeclared_variables(tree)
    named, whole = _subscripts_of_row(tree)
    plain = {v for v in variables if v != _ROW and (v in columns or v not in _ENVIRONMENT.globals)}
    for column in sorted(plain | named):
        if column not in columns:
            raise _no_column(name, column, columns, variable=column in plain)
    read = set(columns) if whole else plain | named
    return tuple(column for column in columns if column in read)


def _no_column(where: str, name: str, columns: Sequence[str], *, variable: bool = False) -> Misspelt:
    """The error of a name that is no column; a `variable` of a template is written as one."""
    meant = spelling.nearest(name, columns)
    told = f" (did you mean '{meant}'?)" if meant else ""
    if meant and variable and not meant.isidentifier():
        meant = f"row['{meant}']"
    message = f"{where}: there is no column '{name}'{told}; the table has: {', '.join(columns)}"
    return Misspelt(message, wrong=name, meant=meant)


def _existing(name: str | None, columns: Sequence[str], option: str) -> str:
    assert name is not None
    if name in columns:
        return name
    wrong = _no_column(option, name, columns)
    if wrong.meant is None and columns:
        text = next((column for column in columns if column.lower() not in _NUMBERS), columns[0])
        template = f"{{{{ {text} }}}}" if text.isidentifier() else f"{{{{ row['{text}'] }}}}"
        raise Misspelt(
            f"{wrong}. Name a column, or say what is asked with --prompt",
            wrong="",
            meant=None,
            add=("--prompt", template),
        )
    raise wrong


def _read_messages(value: Any, column: str) -> list[dict[str, Any]]:
    """The messages in a cell: a list of objects, or the JSON of one.

    Raises:
        BadRow: it is neither.
    """
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except ValueError as error:
            raise BadRow(f"column '{column}' is not the JSON of a list of messages: {error}") from error
    if not isinstance(value, list) or not value:
        raise BadRow(f"column '{column}' holds no messages; it takes a list of {{role, content}} objects")
    return [_read_message(message, column) for message in value]


def _read_message(message: Any, column: str) -> dict[str, Any]:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise BadRow(f"column '{column}' holds a message without a role; it takes a list of {{role, content}} objects")
    # Parquet gives every field of a struct in every row: a null there means that the message has no such field.
    said: dict[str, Any] = {name: _without_nulls(part) for name, part in message.items() if part is not None}
    if "content" not in said and not any(name in said for name in ("tool_calls", "function_call", "refusal")):
        raise BadRow(f"column '{column}' holds a message of role '{said['role']}' without content")
    return said


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(part) for name, part in value.items() if part is not None}
    if isinstance(value, list):
        return [_without_nulls(part) for part in value]
    return value


def _subscripts_of_row(tree: nodes.Template) -> tuple[set[str], bool]:
    """Names that stand in `row['name']` or `row.name`, and whether `row` is used in any other way."""
    named: set[str] = set()
    plain = 0
    for attribute in tree.find_all(nodes.Getattr):
        if _is_row(attribute.node) and attribute.attr not in _DICT_METHODS:
            named.add(attribute.attr)
            plain += 1
    for item in tree.find_all(nodes.Getitem):
        if _is_row(item.node) and isinstance(item.arg, nodes.Const) and isinstance(item.arg.value, str):
            named.add(item.arg.value)
            plain += 1
    uses = sum(1 for node in tree.find_all(nodes.Name) if node.name == _ROW)
    return named, uses > plain


def _is_row(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Name) and node.name == _ROW


def _nothing_for_null(value: Any) -> Any:
    return "" if value is None else value


# Columns by these names are hardly what is asked about.
_NUMBERS = frozenset({"", "id", "index", "key", "no", "nr", "number", "row", "uuid"})
_DIGEST_OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
_DICT_METHODS = frozenset({"get", "items", "keys", "values"})
_ENVIRONMENT = ImmutableSandboxedEnvironment(
    undefined=jinja2.StrictUndefined,
    autoescape=False,
    finalize=_nothing_for_null,
)
