"""Every setting of a job, its value, and where that comes from; never a secret."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from batchchat import defaults

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchchat.job.settings import Job

DEFAULT = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One setting by its place in a job file.

    Attributes:
        value: None where nothing is set.
        origin: an option, a variable, a file and its line, or `default`.
    """

    name: str
    value: Any
    origin: str


def shown_settings(job: Job) -> list[Shown]:
    """All of them, in the order of a job file."""
    return [Shown(name=name, value=value, origin=_origin(job, name)) for name, value in _values(job)]


def _values(job: Job) -> Iterator[tuple[str, Any]]:
    yield "input", job.input
    yield "output", job.output_path
    yield "checkpoint", job.checkpoint_path
    prompt = job.prompt
    for name in ("column", "template", "messages_column", "system", "image_column", "image_folder", "max_image_mb"):
        value = getattr(prompt, name)
        if value is not None:
            yield f"prompt.{name}", value
    yield "request.model", job.model
    yield "request.stream", job.stream
    for name, value in job.request.items():
        yield f"request.{name}", value
    for name, column in prompt.param_columns.items():
        yield f"request.param_columns.{name}", column
    endpoint = job.endpoint
    yield "endpoint.base_url", "the embedded model" if job.embedded else endpoint.base_url
    yield "endpoint.api_key_env", endpoint.api_key_env + ("" if endpoint.key is not None else " (no key is sent)")
    for name, text in endpoint.headers_said.items():
        yield f"endpoint.headers.{name}", text
    for name, value in asdict(job.pool).items():
        yield f"pool.{name}", "learned" if name == "concurrency" and value is None else value
    yield "job.limit", job.rows.limit
    yield "job.where", job.rows.where
    for name, value in asdict(job.money).items():
        yield f"job.{name}", value
    yield "job.prefix", job.policy.prefix or None
    yield "job.add_columns", [*job.policy.add_columns] or None
    yield "job.safe_csv", job.policy.safe_csv or None
    yield "text.delimiter", job.text.delimiter
    yield "text.encoding", job.text.encoding


def _origin(job: Job, name: str) -> str:
    """Who said it; what extra_body said of a request stands under its own name."""
    places = [name]
    if name == "prompt.template":
        places.append("prompt.file")
    if name.startswith("request."):
        places.append(name.replace("request.", "request.extra_body.", 1))
    found = next((job.origins[place] for place in places if place in job.origins), None)
    if found is None and name == "output" and not job.output:
        return f"{DEFAULT}, from the input's name"
    if found is None and name == "checkpoint":
        return f"{DEFAULT}: OUTPUT{defaults.CHECKPOINT_SUFFIX}"
    return found or DEFAULT
