"""The shape of a job file, as pydantic models.

`JobFile` is what a file may say (its JSON Schema is what editors complete from), `Said` what all sources together say.
Fields and ranges of `[request]`: API.md section 1 (openai-python 3.3.1, openapi.yaml f85dbe2).
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from batchchat import defaults
from batchchat.job.rows import parse_rows
from batchchat.job.source import suggest
from batchchat.records import ADDED_COLUMNS


def _money(value: Any) -> Any:
    """A number or text as exact money."""
    try:
        amount = Decimal(str(value).strip())
    except InvalidOperation:
        raise ValueError("must be an amount of US dollars, as 2.50") from None
    if not amount.is_finite() or amount <= 0:
        raise ValueError("must be an amount of US dollars above 0")
    return amount


def _price(value: Any) -> Any:
    """`{ input = 0.15, output = 0.6 }` is the same as "input=0.15,output=0.6"."""
    if isinstance(value, dict):
        return ",".join(f"{name}={amount}" for name, amount in value.items())
    return value


def _stops(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be empty")
    return value.strip()


def _response_format(value: dict[str, Any]) -> dict[str, Any]:
    kind = str(value.get("type", ""))
    if not kind:
        raise ValueError('must say its type, as {"type": "json_object"}')
    if kind == "json_schema" and not value.get("json_schema") and "schema" not in value:
        raise ValueError('must have "json_schema": {"name": ..., "schema": ...} beside this type')
    return value


def _metadata(value: dict[str, str]) -> dict[str, str]:
    if len(value) > 16 or any(len(key) > 64 or len(text) > 512 for key, text in value.items()):
        raise ValueError("must be at most 16 pairs, names of at most 64 and texts of at most 512 characters")
    return value


def _names(value: Any) -> Any:
    """Names by commas, as an option has them, or a list."""
    return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value


def _added(value: list[str]) -> list[str]:
    for name in value:
        if name not in ADDED_COLUMNS:
            meant = suggest(name, ADDED_COLUMNS)
            raise ValueError(f"there is no column {name!r} to add{meant or '; there are ' + ', '.join(ADDED_COLUMNS)}")
    return list(dict.fromkeys(value))


def _retry(value: list[str]) -> list[str]:
    kinds = ("failed", "length", "empty")
    for kind in value:
        if kind not in kinds:
            raise ValueError(f"must be of {', '.join(kinds)}, separated by commas{suggest(kind, kinds)}")
    return value


Table = dict[str, Any]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Name = Annotated[str, AfterValidator(_not_blank)]
Whole = Annotated[int, Field(ge=1)]
Penalty = Annotated[Number, Field(ge=-2, le=2)]
Money = Annotated[Decimal, BeforeValidator(_money)]
Choice = str | Table
# Both may be said in two ways, which a validator that comes before cannot tell the schema.
Stops = Annotated[
    list[str],
    BeforeValidator(_stops),
    Field(max_length=4),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "maxItems": 4}]}),
]
AddedColumns = Annotated[
    list[str],
    BeforeValidator(_names),
    AfterValidator(_added),
    WithJsonSchema(
        {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string", "enum": [*ADDED_COLUMNS]}}]}
    ),
]
Prices = Annotated[
    str,
    BeforeValidator(_price),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "object", "additionalProperties": {"type": "number"}}]}),
]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class PromptSection(_Section):
    """What is asked: one of `column`, `template`, `file` and `messages_column`, and perhaps `system`."""

    column: Name | None = None
    """Column whose text is the user's message."""
    template: str | None = None
    """Jinja2 template of the user's message; columns are its variables."""
    file: Name | None = None
    """File that holds the template."""
    messages_column: Name | None = None
    """Column with a list of role/content messages, or its JSON."""
    system: str | None = None
    """Jinja2 template of the system message."""
    image_column: Name | None = None
    """Column with images that go with the prompt: paths, or http, https or data URLs."""
    image_folder: Name | None = None
    """Folder of the images; paths begin there and may not leave it. The input's folder by default."""
    max_image_mb: Annotated[Number, Field(gt=0)] | None = None
    """Largest image, in MB."""


class RequestSection(_Section):
    """Any field of a Chat Completions request."""

    model: Name | None = None
    """Model to ask; `local` is the embedded one."""
    stream: bool | None = None
    """Take the answer as an event stream."""
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = None
    """Randomness."""
    top_p: Annotated[Number, Field(ge=0, le=1)] | None = None
    """Nucleus of the probability that is sampled from."""
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    """How many choices to ask for."""
    stop: Stops | None = None
    """At most 4 texts at which the answer ends."""
    max_tokens: Whole | None = None
    """Longest answer in tokens."""
    max_completion_tokens: Whole | None = None
    """Longest answer in tokens, reasoning included."""
    presence_penalty: Penalty | None = None
    """Against tokens that appeared at all."""
    frequency_penalty: Penalty | None = None
    """Against tokens by how often they appeared."""
    logit_bias: dict[str, Annotated[Number, Field(ge=-100, le=100)]] | None = None
    """Token id to bias."""
    user: str | None = None
    """Your name for the person behind the request."""
    seed: Annotated[int, Field(ge=-(2**63), le=2**63 - 1)] | None = None
    """For answers that can be repeated, where the server can."""
    response_format: Annotated[Table, AfterValidator(_response_format)] | None = None
    """Text, JSON or JSON of a schema."""
    logprobs: bool | None = None
    """Give the log probabilities of the answer's tokens."""
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    """And those of so many other tokens; needs logprobs."""
    tools: Annotated[list[Table], Field(max_length=128)] | None = None
    """Functions that the model may call."""
    tool_choice: Choice | None = None
    """none, auto, required, or the tool to call."""
    parallel_tool_calls: bool | None = None
    """Whether several tools may be called at once."""
    functions: Annotated[list[Table], Field(min_length=1, max_length=128)] | None = None
    """Deprecated: tools."""
    function_call: Choice | None = None
    """Deprecated: tool_choice."""
    metadata: Annotated[dict[str, str], AfterValidator(_metadata)] | None = None
    """At most 16 pairs that are stored with the request."""
    modalities: list[Literal["text", "audio"]] | None = None
    """What the answer may be made of."""
    audio: Table | None = None
    """Voice and format of an audio answer."""
    moderation: Table | None = None
    """Model and policy of a moderation."""
    prediction: Table | None = None
    """Content that the answer will mostly repeat."""
    prompt_cache_key: str | None = None
    """Groups requests for the prompt cache."""
    prompt_cache_options: Table | None = None
    """Mode and lifetime of the prompt cache."""
    prompt_cache_retention: Literal["in_memory", "24h"] | None = None
    """Deprecated: prompt_cache_options."""
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    """How long to think."""
    safety_identifier: Annotated[str, Field(max_length=64)] | None = None
    """Your stable name for the person behind the request."""
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast"] | None = None
    """Which processing to pay for."""
    store: bool | None = None
    """Keep the answer at the provider."""
    verbosity: Literal["low", "medium", "high"] | None = None
    """How wordy to be."""
    web_search_options: Table | None = None
    """Let the model search."""
    param_columns: dict[str, Name] | None = None
    """Fields of the request whose value a column says, row by row: max_tokens = "limit"."""
    extra_body: Table | None = None
    """Fields of other servers, sent as they stand."""


class EndpointSection(_Section):
    """Where requests go."""

    base_url: Name | None = None
    """URL up to, and without, /chat/completions."""
    api_key_env: Name | None = None
    """Variable that holds the key."""
    api_version: Name | None = None
    """Azure's api-version."""
    headers: dict[str, str] | None = None
    """Headers; ${NAME} is taken from the environment."""


class PoolSection(_Section):
    """How hard the endpoint is asked."""

    concurrency: Annotated[int, Field(ge=1, le=defaults.MAX_CONCURRENCY)] | None = None
    """Most requests in flight; learned where it is not given."""
    rpm: Annotated[Number, Field(gt=0)] | None = None
    """Requests per minute."""
    tpm: Annotated[Number, Field(gt=0)] | None = None
    """Tokens per minute."""
    rpd: Annotated[Number, Field(gt=0)] | None = None
    """Requests per day."""
    tpd: Annotated[Number, Field(gt=0)] | None = None
    """Tokens per day."""
    timeout: Annotated[Number, Field(gt=0)] | None = None
    """Seconds for one answer; between chunks with stream."""
    max_retries: Annotated[int, Field(ge=0)] | None = None
    """How often a request is tried again."""
    max_outage: Annotated[Number, Field(ge=0)] | None = None
    """Seconds that an endpoint may be away."""
    max_retry_after: Annotated[Number, Field(ge=0)] | None = None
    """Longest wait, in seconds, that the endpoint may ask for."""


class JobSection(_Section):
    """The job as a whole."""

    limit: Whole | None = None
    """Only the first so many rows."""
    where: Name | None = None
    """Only rows of which this Jinja2 expression over the columns holds; the others get no answer."""
    max_cost: Money | None = None
    """US dollars that are never passed."""
    max_tokens_total: Whole | None = None
    """Tokens, prompts and answers together, that are never passed."""
    price: Prices | None = None
    """input=USD,output=USD per million tokens."""
    price_as: Name | None = None
    """Price and tokenizer are those of this model: for a deployment's own name."""
    prefix: str | None = None
    """Text before every result column."""
    add_columns: AddedColumns | None = None
    """More result columns: request_id, response_model, latency_s, cost_usd, ..."""
    safe_csv: bool | None = None
    """In CSV and TSV put an apostrophe before answers that a spreadsheet would run as a formula."""


class TextSection(_Section):
    """How text tables are read."""

    delimiter: str | None = None
    """What separates fields."""
    encoding: Name | None = None
    """The text's encoding."""


class JobFile(_Section):
    """A batchchat job."""

    input: Name
    """The table, relative to this file."""
    output: Name | None = None
    """The table with the answers; its suffix chooses the format."""
    checkpoint: Name | None = None
    """Where answers are kept; OUTPUT.batchchat by default."""
    prompt: PromptSection = PromptSection()
    request: RequestSection = RequestSection()
    endpoint: EndpointSection = EndpointSection()
    pool: PoolSection = PoolSection()
    job: JobSection = JobSection()
    text: TextSection = TextSection()


class RunSection(_Section):
    """What only a command line says."""

    profile: Name | None = None
    env_file: Name | None = None
    sample: Whole | None = None
    seed_rows: int | None = None
    rows: Annotated[tuple[range, ...], BeforeValidator(parse_rows), Field(strict=False)] | None = None
    retry: Annotated[list[str], AfterValidator(_retry)] = []
    retry_failed: bool = False
    keep_answered: bool = False
    restart: bool = False
    overwrite: bool = False
    dry_run: bool = False
    yes: bool = False
    # Nor in a job file or a checkpoint: one from elsewhere must not run commands.
    api_key_command: Name | None = None

    model_config = ConfigDict(arbitrary_types_allowed=True)


class Said(JobFile):
    """What all sources together say."""

    input: str = ""
    run: RunSection = RunSection()


def known_keys(model: type[BaseModel]) -> dict[str, tuple[str, ...] | None]:
    """Every top-level key; for a section its keys, else None."""
    keys: dict[str, tuple[str, ...] | None] = {}
    for name, field in model.model_fields.items():
        inner: Any = field.annotation
        section = isinstance(inner, type) and issubclass(inner, _Section)
        keys[name] = tuple(inner.model_fields) if section else None
    return keys
