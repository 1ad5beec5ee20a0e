"""The JSON Schema of job files: the models' own, and the sentence below each field.

Pydantic could read the sentences itself (`use_attribute_docstrings`), by parsing its models' source whenever they are
imported: 20 ms of every start.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from batchchat.job.schema import JobFile

if TYPE_CHECKING:
    from pydantic import BaseModel


def json_schema() -> dict[str, Any]:
    """What an editor needs to complete and check a job file."""
    found = JobFile.model_json_schema()
    sections: list[Any] = [field.annotation for field in JobFile.model_fields.values()]
    parts = {found["title"]: found, **found.get("$defs", {})}
    for model in (JobFile, *(section for section in sections if isinstance(section, type))):
        if model.__name__ in parts:
            _describe(parts[model.__name__]["properties"], model)
    return found


def _describe(properties: dict[str, Any], model: type[BaseModel]) -> None:
    for name, sentence in _sentences(model).items():
        if name in properties:
            properties[name] = dict(sorted({**properties[name], "description": sentence}.items()))


def _sentences(model: type[BaseModel]) -> dict[str, str]:
    """By the field's name, the text that stands below it in the source."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, below in pairwise(body.body):
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str):
            found[field.target.id] = inspect.cleandoc(below.value.value)
    return found
