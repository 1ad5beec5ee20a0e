"""Names: which option and which variable stand for which key of a job file.

A setting's place is its path in a job file; `run` holds what only a command line says (trials, flags).
"""

from __future__ import annotations

Place = tuple[str, ...]

REQUEST_OPTIONS = (
    "model",
    "temperature",
    "top_p",
    "n",
    "stream",
    "stop",
    "max_tokens",
    "max_completion_tokens",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "user",
    "seed",
    "response_format",
    "reasoning_effort",
    "verbosity",
    "service_tier",
    "logprobs",
    "top_logprobs",
    "tools",
    "tool_choice",
    "metadata",
    "extra_body",
)
POOL_OPTIONS = ("concurrency", "rpm", "tpm", "rpd", "tpd", "timeout", "max_retries", "max_outage", "max_retry_after")
RUN_OPTIONS = (
    "profile",
    "env_file",
    "sample",
    "seed_rows",
    "rows",
    "retry",
    "retry_failed",
    "keep_answered",
    "restart",
    "overwrite",
    "dry_run",
    "yes",
)
JOB_OPTIONS = (
    "limit",
    "where",
    "max_cost",
    "max_tokens_total",
    "price",
    "price_as",
    "prefix",
    "add_columns",
    "safe_csv",
)

PARAM_COLUMNS: Place = ("request", "param_columns")
EXTRA_PREFIX = "extra_body."
"""Before the name of a field of other servers, where a column says its value."""

OPTIONS: dict[str, Place] = {
    "prompt_column": ("prompt", "column"),
    "prompt": ("prompt", "template"),
    "prompt_file": ("prompt", "file"),
    "system": ("prompt", "system"),
    "messages_column": ("prompt", "messages_column"),
    "image_column": ("prompt", "image_column"),
    "image_folder": ("prompt", "image_folder"),
    "max_image_mb": ("prompt", "max_image_mb"),
    "param_column": PARAM_COLUMNS,
    **{name: ("request", name) for name in REQUEST_OPTIONS},
    "base_url": ("endpoint", "base_url"),
    "api_key_env": ("endpoint", "api_key_env"),
    "api_key_command": ("run", "api_key_command"),
    "api_version": ("endpoint", "api_version"),
    "header": ("endpoint", "headers"),
    **{name: ("pool", name) for name in POOL_OPTIONS},
    **{name: ("job", name) for name in JOB_OPTIONS},
    **{name: ("run", name) for name in RUN_OPTIONS},
    "output": ("output",),
    "checkpoint": ("checkpoint",),
    "delimiter": ("text", "delimiter"),
    "encoding": ("text", "encoding"),
}

# Model, endpoint and pool, by one rule: BATCHCHAT_ and the option's name in capitals.
VARIABLES: dict[str, Place] = {
    f"BATCHCHAT_{name.upper()}": OPTIONS[name] for name in ("model", "base_url", "api_key_env", *POOL_OPTIONS)
}

PROFILE_VARIABLE = "BATCHCHAT_PROFILE"

# The four ways to say what is asked; a nearer one replaces a farther one, whichever it is.
PROMPT_KINDS: tuple[Place, ...] = (
    ("prompt", "column"),
    ("prompt", "template"),
    ("prompt", "file"),
    ("prompt", "messages_column"),
)
# Tables whose keys are anybody's: they are merged key by key.
OPEN_TABLES: tuple[Place, ...] = (("endpoint", "headers"), ("request", "extra_body"), PARAM_COLUMNS)
PATHS: tuple[Place, ...] = (("input",), ("output",), ("checkpoint",), ("prompt", "file"), ("prompt", "image_folder"))

# Fields that batchchat makes, or reads, itself: they have no place in extra_body.
OUR_FIELDS = {
    "model": "name it with --model, or as model in [request]",
    "messages": "they are made of the rows",
    "stream": "say it with --stream, or as stream in [request]",
    "stream_options": "with stream, usage is asked for by itself",
}

# Fields that no column can say, row by row.
SAME_FOR_ALL = {
    **OUR_FIELDS,
    "model": "a job asks one model; name it with --model",
    "n": "a job asks for as many choices in every row; say --n",
}


def flag(name: str) -> str:
    """The option as it is typed: `max_cost` is `--max-cost`."""
    return "--" + name.replace("_", "-")
