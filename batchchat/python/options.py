"""The options of `run`, by name and type. Those of every call (prompt, model, output, ...) stand in its signature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from os import PathLike
from typing import Any, TypedDict

Path = str | PathLike[str]
Pairs = Mapping[str, Any]
Dollars = float | str | Decimal


class Options(TypedDict, total=False):
    """What `run` takes besides the names in its signature; none of them must be given, and None means not given.

    Times are seconds, rates are per minute, money is US dollars, rows are counted from 1.
    """

    # What is asked.
    prompt_column: str | None
    prompt_file: Path | None
    messages_column: str | None
    system: str | None
    image_column: str | None
    image_folder: Path | None
    max_image_mb: float | None
    # The request.
    temperature: float | None
    top_p: float | None
    n: int | None
    stream: bool | None
    stop: str | Sequence[str] | None
    max_tokens: int | None
    max_completion_tokens: int | None
    presence_penalty: float | None
    frequency_penalty: float | None
    logit_bias: Pairs | None
    user: str | None
    seed: int | None
    response_format: Pairs | None
    reasoning_effort: str | None
    verbosity: str | None
    service_tier: str | None
    logprobs: bool | None
    top_logprobs: int | None
    tools: Sequence[Pairs] | None
    tool_choice: str | Pairs | None
    metadata: Mapping[str, str] | None
    param_column: Mapping[str, str] | Sequence[str] | None
    extra_body: Pairs | None
    # The endpoint.
    base_url: str | None
    api_key_env: str | None
    profile: str | None
    env_file: Path | None
    api_key_command: str | None
    api_version: str | None
    header: Mapping[str, str] | Sequence[str] | None
    # The pool.
    concurrency: int | None
    rpm: float | None
    tpm: float | None
    rpd: float | None
    tpd: float | None
    timeout: float | None
    max_retries: int | None
    max_outage: float | None
    max_retry_after: float | None
    # The rows.
    limit: int | None
    where: str | None
    sample: int | None
    seed_rows: int | None
    rows: str | Sequence[int] | None
    # The job.
    max_cost: Dollars | None
    max_tokens_total: int | None
    price: str | Mapping[str, float] | None
    price_as: str | None
    retry: str | Sequence[str] | None
    retry_failed: bool
    keep_answered: bool
    restart: bool
    overwrite: bool
    prefix: str | None
    add_columns: str | Sequence[str] | None
    safe_csv: bool | None
    yes: bool
    # Text files.
    delimiter: str | None
    encoding: str | None
