"""The tables of options. Their order is the order of the help page."""

from __future__ import annotations

from functools import partial

from batchchat import defaults
from batchchat.cli.option import Argument, Option
from batchchat.records import ADDED_COLUMNS

INPUT = Argument(
    name="input", help="A table (.csv, .tsv, .parquet, .jsonl), a folder or glob of them, or a job file (.toml)"
)
JOB = Argument(name="job", help="An output, its input, its job file or its checkpoint")

_prompt = partial(Option, group="Prompt")
_request = partial(Option, group="Request")
_endpoint = partial(Option, group="Endpoint")
_pool = partial(Option, group="Pool")
_rows = partial(Option, group="Rows")
_job = partial(Option, group="Job")
_text = partial(Option, group="Text files")

PROMPT = (
    _prompt(
        name="prompt_column",
        metavar="NAME",
        default=defaults.PROMPT_COLUMN,
        help="Column whose text is the user's message",
    ),
    _prompt(name="prompt", metavar="TEMPLATE", help="Jinja2 template of the user's message: {{ column }}"),
    _prompt(name="prompt_file", metavar="PATH", help="File that holds the template"),
    _prompt(name="system", metavar="TEMPLATE", help="Jinja2 template of the system message"),
    _prompt(name="messages_column", metavar="NAME", help="Column with a list of role/content messages, or its JSON"),
    _prompt(
        name="image_column",
        metavar="NAME",
        help="Column with images that go with the prompt: paths, or http, https or data URLs",
    ),
    _prompt(
        name="image_folder",
        metavar="PATH",
        default="the folder of INPUT",
        help="Where paths of images begin; they may not leave it",
    ),
    _prompt(
        name="max_image_mb",
        kind=float,
        metavar="MB",
        default=f"{defaults.MAX_IMAGE_MB:g}",
        help="Largest image",
    ),
)
REQUEST = (
    _request(
        name="model",
        short="-m",
        metavar="NAME",
        help=f"Model to ask; {defaults.LOCAL_MODEL} (or {defaults.LOCAL_MODEL}:PATH.gguf) is the embedded one; "
        "else BATCHCHAT_MODEL, else the only one that the endpoint serves",
    ),
    _request(name="temperature", kind=float, help="Randomness, from 0 to 2"),
    _request(name="top_p", kind=float, help="Nucleus of the probability that is sampled from, from 0 to 1"),
    _request(name="n", kind=int, help="Choices to ask for, from 1 to 128"),
    _request(name="stream", kind=bool, negative=True, help="Take answers as event streams"),
    _request(name="stop", kind=list, help="Text at which an answer ends; repeatable, at most 4"),
    _request(name="max_tokens", kind=int, help="Longest answer in tokens"),
    _request(name="max_completion_tokens", kind=int, help="Longest answer in tokens, reasoning included"),
    _request(name="presence_penalty", kind=float, help="Against tokens that appeared at all, from -2 to 2"),
    _request(name="frequency_penalty", kind=float, help="Against tokens by how often they appeared, from -2 to 2"),
    _request(name="logit_bias", metavar="JSON", help="Token ids and their bias, from -100 to 100"),
    _request(name="user", help="Your name for the person behind the requests"),
    _request(name="seed", kind=int, help="For answers that can be repeated, where the server can"),
    _request(name="response_format", metavar="JSON", help='As {"type": "json_object"}; @PATH reads it from a file'),
    _request(name="reasoning_effort", help="How long to think: none, minimal, low, medium, high, xhigh or max"),
    _request(name="verbosity", help="How wordy to be: low, medium or high"),
    _request(
        name="service_tier",
        metavar="TIER",
        help="Which processing to pay for: auto, default, flex, scale, priority or fast",
    ),
    _request(name="logprobs", kind=bool, negative=True, help="Give the log probabilities of the answer's tokens"),
    _request(name="top_logprobs", kind=int, help="And those of so many other tokens, from 0 to 20"),
    _request(
        name="tools", metavar="JSON", help="Functions that the model may call, a list; @PATH reads it from a file"
    ),
    _request(name="tool_choice", help="none, auto, required, or the tool to call as JSON"),
    _request(name="metadata", metavar="JSON", help="At most 16 pairs that are stored with the request"),
    _request(
        name="param_column",
        kind=list,
        metavar="NAME=COLUMN",
        help="Take a field of the request from a column, row by row, as max_tokens=limit; repeatable",
    ),
    _request(name="extra_body", metavar="JSON", help="Any other fields of the request; @PATH reads them from a file"),
)
ENDPOINT = (
    _endpoint(name="base_url", metavar="URL", help=f"Endpoint; else OPENAI_BASE_URL, else {defaults.BASE_URL}"),
    _endpoint(name="api_key_env", metavar="NAME", default=defaults.API_KEY_ENV, help="Variable that holds the key"),
    _endpoint(
        name="profile",
        short="-p",
        metavar="NAME",
        help="Endpoint, pool, model and price of [profiles.NAME] in ~/.config/batchchat/config.toml; else "
        "BATCHCHAT_PROFILE",
    ),
    _endpoint(
        name="env_file", metavar="PATH", help="Take variables from this file too; ./.env gives only the key by itself"
    ),
    _endpoint(
        name="api_key_command",
        metavar="COMMAND",
        help="Command that prints the key; run again once where the key has expired (401)",
    ),
    _endpoint(name="api_version", metavar="VERSION", help="Azure's api-version; else OPENAI_API_VERSION"),
    _endpoint(
        name="header",
        kind=list,
        metavar="'NAME: VALUE'",
        help="Header to send; ${VARIABLE} is taken from the environment; repeatable",
    ),
)
POOL = (
    _pool(
        name="concurrency",
        short="-c",
        kind=int,
        help=f"Most requests in flight; not given, it is learned, from {defaults.CONCURRENCY}",
    ),
    _pool(name="rpm", kind=float, metavar="N", help="Requests per minute"),
    _pool(name="tpm", kind=float, metavar="N", help="Tokens per minute"),
    _pool(name="rpd", kind=float, metavar="N", help="Requests per day"),
    _pool(name="tpd", kind=float, metavar="N", help="Tokens per day"),
    _pool(
        name="timeout",
        kind=float,
        metavar="SECONDS",
        default=f"{defaults.TIMEOUT:g}",
        help="For one answer; between chunks with --stream",
    ),
    _pool(name="max_retries", kind=int, default=defaults.MAX_RETRIES, help="How often a request is tried again"),
    _pool(
        name="max_outage",
        kind=float,
        metavar="SECONDS",
        default=f"{defaults.MAX_OUTAGE:g}",
        help="How long the endpoint may be away",
    ),
    _pool(
        name="max_retry_after",
        kind=float,
        metavar="SECONDS",
        default=f"{defaults.MAX_RETRY_AFTER:g}",
        help="Longest wait that the endpoint may ask for",
    ),
)
LIMIT = _rows(name="limit", kind=int, help="Only the first N rows; without it later, the job goes on")
ROWS = (
    LIMIT,
    _rows(
        name="where",
        metavar="EXPRESSION",
        help="Only rows of which this holds, as \"lang == 'en'\"; the others pass through without an answer",
    ),
    _rows(name="sample", kind=int, help="A trial of N rows drawn at random: shows their answers, writes no output"),
    _rows(name="seed_rows", kind=int, metavar="S", help="Draw the same rows again, with --sample"),
    _rows(name="rows", metavar="LIST", help="A trial of these rows, as 3,17-20"),
)
OUTPUT = _job(
    name="output",
    short="-o",
    metavar="PATH",
    default="INPUT.completions.csv for INPUT.csv",
    help="Table with the answers; its suffix chooses the format",
)
MONEY = (
    _job(name="max_cost", metavar="USD", help="Stop before more than this is spent"),
    _job(
        name="max_tokens_total",
        kind=int,
        help="Stop before more tokens than this are used, prompts and answers together",
    ),
    _job(name="price", metavar="PRICES", help="input=USD,output=USD per million tokens, for a model of unknown price"),
    _job(
        name="price_as",
        metavar="MODEL",
        help="Price and tokenizer are those of this model, where the endpoint calls it by a name of its own (Azure)",
    ),
)
ADD_COLUMNS = _job(
    name="add_columns",
    metavar="NAMES",
    help=f"More result columns, by commas: {', '.join(ADDED_COLUMNS)}",
)
RETRY = (
    _job(name="retry", metavar="KINDS", help="Send again what was failed, length or empty; several by commas"),
    _job(name="retry_failed", kind=bool, help="The same as --retry failed"),
)
YES = _job(name="yes", kind=bool, help="Do not ask: pay for changed rows, approve the job file's host")
TELLING = (
    _job(name="json", kind=bool, help="Print the summary as JSON on stdout"),
    _job(name="quiet", kind=bool, help="Say nothing where nothing went wrong"),
)
SAFE_CSV = _job(
    name="safe_csv",
    kind=bool,
    negative=True,
    help="In CSV and TSV put an apostrophe before answers that a spreadsheet would run as a formula",
)
OVERWRITE = _job(name="overwrite", kind=bool, help="Replace an output that this job did not write")
JOB_OPTIONS = (
    OUTPUT,
    _job(name="checkpoint", metavar="PATH", default="OUTPUT.batchchat", help="Where answers are kept"),
    *MONEY,
    *RETRY,
    _job(name="keep_answered", kind=bool, help="Under changed settings, send only rows without an answer"),
    _job(name="restart", kind=bool, help="Start anew; the old checkpoint is kept aside"),
    OVERWRITE,
    _job(name="prefix", help="Text before the name of every result column"),
    ADD_COLUMNS,
    SAFE_CSV,
    _job(name="dry_run", kind=bool, help="Say what would be sent, and stop"),
    YES,
    *TELLING,
)
TEXT = (
    _text(name="delimiter", metavar="CHARACTER", help="What separates fields; else the header line tells"),
    _text(name="encoding", metavar="NAME", help="Encoding of the text; else UTF-8"),
)

# `run`, `estimate` and `show` take these, and make the same job of them.
SHARED = (*PROMPT, *REQUEST, *ENDPOINT, *POOL, *ROWS, *JOB_OPTIONS, *TEXT)
# What may change on the way of a job; longer answers go with --retry length.
RESUMED = (
    *(option for option in REQUEST if option.name in {"max_tokens", "max_completion_tokens"}),
    *(option for option in ENDPOINT if option.name != "profile"),
    *POOL,
    LIMIT,
    *MONEY,
    ADD_COLUMNS,
    *RETRY,
    SAFE_CSV,
    YES,
    *TELLING,
)
# How a job that was run ends.
ENDING = (
    _job(
        name="ok_failed",
        metavar="N|P%",
        help="Exit 0 also where at most N rows, or P per cent of them, failed",
    ),
    _job(name="notify", kind=bool, help="Post the summary as JSON to the URL in BATCHCHAT_NOTIFY when the job ends"),
)
# What only the command line knows; the rest goes to the job as it is.
NOT_OF_THE_JOB = frozenset({"json", "quiet", "ok_failed", "notify"})
