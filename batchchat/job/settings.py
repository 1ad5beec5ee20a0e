"""Job and its parts: what travels from here to the api.

Nothing in here decides anything but the names of the files that follow from the input's name.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from batchchat import defaults
from batchchat.errors import UsageError
from batchchat.records import Endpoint

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from batchchat.records import Secret

Source = Literal["option", "environment", "checkpoint", "job file", "profile", "default"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptSettings:
    """What makes a row's messages: exactly one of `column`, `template` and `messages_column`, and perhaps `system`.

    Attributes:
        template: Jinja2 text; a file was read already, and its last line break is gone as Jinja2 drops it too.
        template_name: where the template stands, for messages: an option, a path, or a job file and its key.
        system: Jinja2 text of the system message.
        system_name: where that one stands.
        param_columns: fields of the request, and the columns that say their values.
        image_column: column of images that go with the prompt.
        image_folder: where their paths begin and may not leave, relative to the folder of the input; None: that one.
        max_image_mb: the largest image; None: `defaults.MAX_IMAGE_MB`.
    """

    column: str | None = None
    template: str | None = None
    template_name: str = "--prompt"
    messages_column: str | None = None
    system: str | None = None
    system_name: str = "--system"
    param_columns: Mapping[str, str] = field(default_factory=dict)
    image_column: str | None = None
    image_folder: str | None = None
    max_image_mb: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSettings:
    """Where requests go, and with which headers.

    Attributes:
        base_url: without a slash at its end; `/chat/completions` is to be put after its path, before its query.
        headers: as they are sent; values that came from the environment are `Secret`.
        headers_said: the same, with `${NAME}` as it was written: for showing and for the checkpoint.
        key: what goes into `Authorization: Bearer`, None where there is none or a header stands for it.
        key_command: what prints the key, at the beginning and after a 401; None where a variable holds it.
        azure: whether it speaks Azure's dialect: a deployment in the path, and the header `api-key`.
        api_version: Azure's, None where the URL says it or needs none.
    """

    base_url: str
    base_url_source: Source
    api_key_env: str
    api_key_env_source: Source
    headers: Mapping[str, str | Secret]
    headers_said: Mapping[str, str]
    key: Secret | None
    key_command: str | None = None
    azure: bool = False
    api_version: str | None = None

    def record(self, *, base_url: str | None = None, deployment: str | None = None) -> Endpoint:
        """What the transport takes; another `base_url` is the embedded model's, `deployment` the model's name."""
        return Endpoint(
            base_url=base_url or self.base_url,
            key=self.key,
            headers=self.headers,
            azure=self.azure and base_url is None,
            deployment=deployment,
            api_version=self.api_version if base_url is None else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    """How hard the endpoint is asked. None: not told, to be learned. Times in seconds, rates a minute and a day."""

    concurrency: int | None = None
    rpm: float | None = None
    tpm: float | None = None
    rpd: float | None = None
    tpd: float | None = None
    timeout: float = defaults.TIMEOUT
    max_retries: int = defaults.MAX_RETRIES
    max_outage: float = defaults.MAX_OUTAGE
    max_retry_after: float = defaults.MAX_RETRY_AFTER


@dataclass(frozen=True, slots=True, kw_only=True)
class RowSettings:
    """Which rows. `rows` are ranges of row numbers, sorted, from 1; `sample` and `rows` make the run a trial.

    `where` is an expression that chooses among them; the others pass through without an answer.
    """

    limit: int | None = None
    sample: int | None = None
    seed_rows: int | None = None
    rows: tuple[range, ...] | None = None
    where: str | None = None

    @property
    def trial(self) -> bool:
        """Whether answers are only looked at: no output is published."""
        return self.sample is not None or self.rows is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class MoneySettings:
    """`max_cost` in US dollars, `max_tokens_total` in tokens; `price` as `input=USD,output=USD` per million tokens.

    `price_as` names the model whose price and tokenizer the job's model has.
    """

    max_cost: Decimal | None = None
    max_tokens_total: int | None = None
    price: str | None = None
    price_as: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySettings:
    """What to do with what is there already."""

    retry: frozenset[str] = frozenset()
    keep_answered: bool = False
    restart: bool = False
    overwrite: bool = False
    prefix: str = ""
    add_columns: tuple[str, ...] = ()
    safe_csv: bool = False
    dry_run: bool = False
    yes: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TextSettings:
    """How text tables are read; None: found out from the file."""

    delimiter: str | None = None
    encoding: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """All that a job file, the options and the environment say, validated.

    Attributes:
        input: path, folder, glob or URL of the table; empty where the data are in memory.
        output, checkpoint: as they were given (paths of a job file already relative to it), None where they were not.
        request: every field of the request that is set, but for model, messages and stream; `extra_body` is merged in.
        model: None where nobody named one: the endpoint is to be asked.
        source: path of the job file, None where there is none.
        said: what was said, in the shape of a job file and without a secret: `batchchat.job.resume` makes the job of
            it again. It is JSON.
        aliases: names of models that the person's config knows: for what may be meant.
        origins: for each setting that was said, by whom: `{"pool.concurrency": "--concurrency"}`.
    """

    input: str
    output: str | None
    checkpoint: str | None
    prompt: PromptSettings
    request: Mapping[str, Any]
    model: str | None
    stream: bool
    endpoint: EndpointSettings
    pool: PoolSettings
    rows: RowSettings
    money: MoneySettings
    policy: PolicySettings
    text: TextSettings
    source: str | None = None
    said: Mapping[str, Any] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()

    @property
    def output_path(self) -> str:
        """The output as given, else `INPUT.completions.csv` for `INPUT.csv`; empty for data in memory."""
        return self.output or default_output(self.input)

    @property
    def checkpoint_path(self) -> str:
        """The checkpoint as given, else `OUTPUT.batchchat`; empty for data in memory without an output."""
        if self.checkpoint:
            return self.checkpoint
        return self.output_path + defaults.CHECKPOINT_SUFFIX if self.output_path else ""

    @property
    def embedded(self) -> bool:
        """Whether the embedded model is to be started for this job.

        A model called `local` at an endpoint that an option or the job file names is that endpoint's own.
        """
        return is_embedded(self.model, self.endpoint.base_url_source)

    @property
    def embedded_path(self) -> str | None:
        """The GGUF file of `-m local:PATH`, None for the model that ships."""
        return (self.model or "").partition(":")[2] or None

    def settings(self) -> dict[str, Any]:
        """What makes requests, flat and JSON-able: model, prompt and every field; no pool, endpoint, stream or budget.

        Two jobs with the same settings send the same request for the same row.
        """
        prompt = {
            "prompt.column": self.prompt.column,
            "prompt.template": self.prompt.template,
            "prompt.messages_column": self.prompt.messages_column,
            "prompt.system": self.prompt.system,
            "prompt.param_columns": dict(sorted(self.prompt.param_columns.items())) or None,
            "prompt.image_column": self.prompt.image_column,
            "prompt.image_folder": self.prompt.image_folder,
            "prompt.max_image_mb": self.prompt.max_image_mb,
        }
        said = {name: value for name, value in prompt.items() if value is not None}
        return {"model": self.model, **said, **dict(sorted(self.request.items()))}


def is_embedded(model: str | None, base_url_source: Source) -> bool:
    """Whether it is the embedded model, `local` or `local:PATH.gguf`, and no option or job file names an endpoint."""
    local = model is not None and (model == defaults.LOCAL_MODEL or model.startswith(defaults.LOCAL_MODEL + ":"))
    return local and base_url_source in {"default", "environment", "profile"}


def input_folder(source: str) -> str | None:
    """The folder that an input lies in, whole; of data in memory the working folder; None for remote storage."""
    place = source.removeprefix("file://")
    if "://" in place:
        return None
    path = Path(place).absolute()
    if not place or path.is_dir():
        return str(path)
    if not path.exists():
        fixed = itertools.takewhile(lambda part: not any(sign in part for sign in "*?["), path.parts[:-1])
        return str(Path(*fixed))
    return str(path.parent)


def default_output(source: str) -> str:
    """The output's name where none was given: `x.csv.gz` gives `x.completions.csv.gz`, a folder `x` `x.completions`."""
    if not source:
        return ""
    plain = source.rstrip("/\\") or source
    if any(character in plain for character in "*?[") and not Path(plain).exists():
        raise UsageError(f"{source}: many files make one job only with an output: name a folder or file with -o")
    if Path(plain).is_dir():
        return plain + ".completions"
    suffixes = Path(plain).suffixes
    kept = 2 if suffixes and suffixes[-1].lower() == ".gz" else 1
    suffix = "".join(suffixes[-kept:])
    return f"{plain.removesuffix(suffix)}.completions{suffix}"
