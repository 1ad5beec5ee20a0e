"""What is meant: options, variables, job files and defaults become one Job, or an error that says where."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from batchchat import defaults
from batchchat.errors import UsageError
from batchchat.job import approved, needs_approval, resolve, resume
from batchchat.job.options import OPTIONS, VARIABLES
from batchchat.records import Secret

KEY = {"OPENAI_API_KEY": "sk-secret-of-the-test"}


def job(environ=KEY, source="table.csv", **options):
    return resolve(options, input=source, environ=environ)


def refusal(environ=KEY, source="table.csv", **options):
    with pytest.raises(UsageError) as caught:
        job(environ, source, **options)
    return str(caught.value)


@pytest.fixture
def job_file(tmp_path):
    def write(text, name="job.toml"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


# Defaults


def test_without_any_option_the_defaults_hold():
    """A bare input asks OpenAI's endpoint for the column `prompt`, with every default of defaults.py."""
    plain = job()
    assert plain.prompt.column == defaults.PROMPT_COLUMN
    assert plain.endpoint.base_url == defaults.BASE_URL
    assert plain.endpoint.key == Secret("sk-secret-of-the-test")
    assert plain.pool.timeout == defaults.TIMEOUT
    assert plain.pool.max_retries == defaults.MAX_RETRIES
    assert plain.pool.concurrency is None
    assert plain.request == {}
    assert not plain.stream
    assert plain.model is None


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("t.csv", "t.completions.csv"),
        ("dir.x/t.parquet", "dir.x/t.completions.parquet"),
        ("t.csv.gz", "t.completions.csv.gz"),
        ("a.b.jsonl", "a.b.completions.jsonl"),
        ("s3://bucket/t.csv", "s3://bucket/t.completions.csv"),
        ("none", "none.completions"),
    ],
)
def test_the_output_is_named_after_the_input(source, output):
    """INPUT.csv gives INPUT.completions.csv, and the checkpoint stands beside it."""
    named = job(source=source)
    assert named.output_path == output
    assert named.checkpoint_path == output + ".batchchat"


def test_a_folder_gives_a_folder(tmp_path):
    """The output of a folder is a folder, also where its name has a dot."""
    folder = tmp_path / "data.v1"
    folder.mkdir()
    assert job(source=f"{folder}/").output_path == f"{folder}.completions"


def test_a_glob_wants_an_output():
    """Many files by a glob name no output."""
    assert "-o" in refusal(source="data/*.csv")
    assert job(source="data/*.csv", output="out").output_path == "out"


def test_data_in_memory_have_no_paths():
    """Without an input nothing is named."""
    plain = resolve({}, input=None, environ=KEY)
    assert (plain.input, plain.output_path, plain.checkpoint_path) == ("", "", "")


@pytest.mark.parametrize(
    "options", [{"output": "./table.csv"}, {"checkpoint": "table.csv"}, {"output": "o.csv", "checkpoint": "o.csv"}]
)
def test_files_of_a_job_are_three(options):
    """Output, input and checkpoint are never the same file."""
    assert "name another file" in refusal(**options)


# The request


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 1},
        {"temperature": 1.0},
        {"extra_body": '{"temperature": 1}'},
        {"extra_body": {"temperature": 1.0}},
    ],
)
def test_the_same_request_is_the_same_however_it_is_said(options):
    """Whole numbers, floats and extra_body give one value of one type."""
    assert json.dumps(job(**options).settings()) == json.dumps(job(temperature=1.0).settings())


def test_a_job_file_says_the_same_as_options(job_file):
    """A job file and a command line with the same words have the same settings."""
    path = job_file(
        'input = "t.csv"\n[prompt]\ntemplate = "Hi {{ a }}"\nsystem = "Be brief"\n'
        '[request]\nmodel = "m"\ntemperature = 1\nstop = "x"\nlogit_bias = { "5" = 2.0 }\n'
        "[request.extra_body]\ntop_k = 3\n"
    )
    typed = job(
        prompt="Hi {{ a }}",
        system="Be brief",
        model="m",
        temperature=1.0,
        stop=("x",),
        logit_bias='{"5": 2}',
        extra_body='{"top_k": 3}',
    )
    assert json.dumps(job(source=path).settings()) == json.dumps(typed.settings())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temperature": 2.1}, "--temperature 2.1: must be from 0 to 2"),
        ({"top_p": -0.1}, "--top-p -0.1: must be from 0 to 1"),
        ({"n": 0}, "--n 0: must be from 1 to 128"),
        ({"n": 129}, "--n 129: must be from 1 to 128"),
        ({"presence_penalty": 3.0}, "--presence-penalty 3.0: must be from -2 to 2"),
        ({"frequency_penalty": -3.0}, "--frequency-penalty -3.0: must be from -2 to 2"),
        ({"logit_bias": '{"7": 101}'}, "--logit-bias 101: must be from -100 to 100"),
        ({"logit_bias": "{7"}, "--logit-bias: this is no JSON"),
        ({"stop": ["a"] * 5}, "--stop: must be at most 4, these are 5"),
        ({"max_tokens": 0}, "--max-tokens 0: must be at least 1"),
        ({"seed": 2**63}, "--seed 9223372036854775808: must be from"),
        ({"temperature": float("nan")}, "must be a finite number"),
        ({"temperature": True}, "must be a number"),
        ({"model": " "}, "--model ' ': must not be empty"),
        ({"response_format": "{}"}, "must say its type"),
        ({"response_format": '{"type": "json_schema"}'}, '"json_schema"'),
        ({"response_format": "[]"}, "--response-format: must be a table"),
        ({"extra_body": "[]"}, "--extra-body: must be a table"),
        ({"extra_body": '{"n": 500}'}, "must be from 1 to 128"),
        ({"extra_body": '{"model": "x"}'}, "--model"),
        ({"extra_body": '{"messages": []}'}, "made of the rows"),
        ({"extra_body": '{"stream": true}'}, "--stream"),
        ({"extra_body": '{"x": NaN}'}, "no number of JSON"),
        ({"extra_body": '{"x": 1e400}'}, "no number of JSON"),
        ({"extra_body": '{"x": 99999999999999999999}'}, "64 bits"),
        ({"extra_body": '{"top_p": 1}', "top_p": 0.5}, "said twice"),
        ({"extra_body": '{"top_logprobs": 3}'}, "needs logprobs"),
        ({"concurrency": 0}, "--concurrency 0: must be from 1 to 4096"),
        ({"rpm": 0.0}, "--rpm 0.0: must be above 0"),
        ({"timeout": -1.0}, "--timeout -1.0: must be above 0"),
        ({"max_retries": -1}, "--max-retries -1: must be at least 0"),
        ({"limit": 0}, "--limit 0: must be at least 1"),
        ({"max_cost": "ten"}, "--max-cost 'ten': must be an amount of US dollars"),
        ({"max_cost": "0"}, "above 0"),
        ({"retry": "failed,lenght"}, "did you mean length?"),
        ({"rows": "3,x"}, "as 3,17-20"),
        ({"rows": "0-2"}, "counted from 1"),
        ({"rows": "5-3"}, "backwards"),
        ({"rows": "1", "sample": 2}, "do not go together"),
        ({"seed_rows": 1}, "--sample"),
        ({"restart": True, "keep_answered": True}, "do not go together"),
        ({"restart": True, "retry_failed": True}, "do not go together"),
        ({"delimiter": "ab"}, "one character"),
        ({"encoding": "utf9"}, "did you mean utf-8?"),
        ({"temprature": 1}, "did you mean temperature?"),
        ({"user": "\udcff"}, "no Unicode text"),
        ({"prompt": "\udcff"}, "no Unicode text"),
    ],
)
def test_what_is_not_allowed_is_named_with_its_range(options, words):
    """An error says the option, the value and what it must be."""
    assert words in refusal(**options)


def test_extra_body_passes_what_this_version_does_not_know():
    """Fields of other servers are sent as they stand, and known fields beyond OpenAI's range too."""
    sent = job(extra_body='{"top_k": 3, "temperature": 5, "guided_json": {"a": [1, null]}}').request
    assert sent == {"temperature": 5, "top_k": 3, "guided_json": {"a": [1, None]}}


def test_a_null_takes_a_field_back(job_file):
    """A known field that is null is not sent."""
    path = job_file('input = "t.csv"\n[request]\ntemperature = 1\n')
    assert job(source=path, extra_body='{"temperature": null}').request == {}


def test_json_options_may_stand_in_a_file(tmp_path):
    """@PATH reads a JSON option from a file; a file that is not there is named."""
    schema = tmp_path / "format.json"
    schema.write_text('{"type": "json_object"}')
    assert job(response_format=f"@{schema}").request == {"response_format": {"type": "json_object"}}
    assert "no.json" in refusal(response_format="@no.json")


def test_numbers_out_of_an_array_are_numbers():
    """Python callers pass numpy's numbers."""
    numpy = pytest.importorskip("numpy")
    assert job(n=numpy.int64(3), temperature=numpy.float64(0.5)).request == {"n": 3, "temperature": 0.5}


def test_what_is_not_of_a_request_is_not_in_the_settings():
    """Pool, endpoint, stream, budget, limit and prefix change no settings."""
    plain = job().settings()
    other = job(
        concurrency=3,
        rpm=5.0,
        timeout=3.0,
        base_url="http://localhost:1/v1",
        stream=True,
        max_cost="3",
        limit=4,
        prefix="x_",
    )
    assert other.settings() == plain
    assert other.stream
    assert other.money.max_cost == Decimal(3)


# The prompt


@pytest.mark.parametrize("other", ["prompt_column", "prompt_file", "messages_column"])
def test_what_is_asked_is_said_in_one_way(other):
    """--prompt goes with none of its three other ways."""
    assert "--prompt " in refusal(prompt="{{ a }}", **{other: "b"})


def test_an_option_replaces_a_job_files_way_of_asking(job_file):
    """A nearer way to say what is asked replaces a farther one of another kind."""
    path = job_file('input = "t.csv"\n[prompt]\ntemplate = "{{ a }}"\nsystem = "s"\n')
    nearer = job(source=path, messages_column="m").prompt
    assert (nearer.template, nearer.messages_column, nearer.column, nearer.system) == (None, "m", None, "s")


def test_a_template_file_is_the_same_as_the_option(tmp_path):
    """The last line break and the kind of line breaks make no other prompt; the file is named in messages."""
    path = tmp_path / "prompt.txt"
    path.write_bytes(b"\xef\xbb\xbfHi\r\n{{ a }}\r\n")
    read = job(prompt_file=str(path)).prompt
    assert read.template == job(prompt="Hi\n{{ a }}").prompt.template
    assert read.template_name == str(path)


def test_a_template_file_that_cannot_be_read_is_named(tmp_path):
    """A missing file and one that is no text are usage errors."""
    broken = tmp_path / "prompt.txt"
    broken.write_bytes(b"\xff\xfe\x00")
    assert "no.txt: cannot be read" in refusal(prompt_file="no.txt")
    assert "UTF-8" in refusal(prompt_file=str(broken))


# Nearness


def test_the_nearer_word_wins(job_file):
    """Option, then variable, then job file, then OPENAI_BASE_URL, then the default."""
    environ = {**KEY, "OPENAI_BASE_URL": "http://localhost:1/v1"}
    assert job(environ).endpoint.base_url == "http://localhost:1/v1"
    path = job_file('input = "t.csv"\n[endpoint]\nbase_url = "http://localhost:2/v1/"\n[pool]\nconcurrency = 2\n')
    assert job(environ, path).endpoint.base_url == "http://localhost:2/v1"
    environ |= {"BATCHCHAT_BASE_URL": "http://localhost:3/v1", "BATCHCHAT_CONCURRENCY": "3", "BATCHCHAT_MODEL": "m"}
    near = job(environ, path)
    assert (near.endpoint.base_url, near.endpoint.base_url_source) == ("http://localhost:3/v1", "environment")
    assert (near.pool.concurrency, near.model) == (3, "m")
    nearest = job(environ, path, base_url="http://localhost:4/v1", concurrency=4, model="n")
    assert (nearest.endpoint.base_url, nearest.endpoint.base_url_source) == ("http://localhost:4/v1", "option")
    assert (nearest.pool.concurrency, nearest.model) == (4, "n")


def test_headers_and_extra_body_add_up(job_file):
    """A nearer header or field joins those of the job file, and replaces only its namesake."""
    path = job_file(
        'input = "t.csv"\n[request.extra_body]\na = 1\nb = 1\n[endpoint.headers]\nX-One = "1"\nX-Two = "1"\n'
    )
    near = job(source=path, extra_body='{"b": 2}', header=["x-two: 2"])
    assert near.request == {"a": 1, "b": 2}
    assert near.endpoint.headers == {"X-One": "1", "x-two": "2"}


def test_an_empty_variable_says_nothing():
    """Variables that are set to nothing are as good as not set."""
    environ = {**KEY, "OPENAI_BASE_URL": "", "BATCHCHAT_RPM": " ", "BATCHCHAT_MODEL": ""}
    plain = job(environ)
    assert (plain.endpoint.base_url, plain.pool.rpm, plain.model) == (defaults.BASE_URL, None, None)


def test_a_wrong_variable_is_named():
    """A variable's bad value is an error that names the variable."""
    assert "BATCHCHAT_RPM 'fast': must be a number" in refusal({**KEY, "BATCHCHAT_RPM": "fast"})


def test_variables_are_named_by_one_rule():
    """BATCHCHAT_ and the option's name in capitals, for model, endpoint and pool."""
    assert all(OPTIONS[name.removeprefix("BATCHCHAT_").lower()] == place for name, place in VARIABLES.items())
    assert {place[0] for place in VARIABLES.values()} == {"request", "endpoint", "pool"}


def test_every_word_has_its_origin(job_file):
    """Each setting that was said names who said it."""
    path = job_file('input = "t.csv"\n[pool]\nrpm = 5\n')
    origins = job({**KEY, "BATCHCHAT_TPM": "7"}, path, concurrency=3).origins
    assert origins["pool.concurrency"] == "--concurrency"
    assert origins["pool.tpm"] == "BATCHCHAT_TPM"
    assert origins["pool.rpm"] == f"{path}, line 3: pool.rpm"


# Rows and retries


def test_rows_are_ranges():
    """Row lists are sorted, joined and counted from 1."""
    assert job(rows="20,3,17-19,18-21").rows.rows == (range(3, 4), range(17, 22))
    assert job(rows=[3, 4]).rows.rows == (range(3, 5),)
    assert job(rows="2").rows.trial
    assert not job(limit=2).rows.trial


def test_retry_failed_is_retry_failed():
    """--retry-failed is the same as --retry failed."""
    assert job(retry_failed=True).policy.retry == job(retry="failed").policy.retry == {"failed"}
    assert job(retry="length, empty", retry_failed=True).policy.retry == {"failed", "length", "empty"}


def test_text_settings_are_brought_into_form():
    r"""A tab may be written \t; an encoding must exist."""
    assert job(delimiter="\\t", encoding="latin-1").text.delimiter == "\t"


# The checkpoint's memory


def test_a_job_is_made_again_of_what_it_said(tmp_path, job_file):
    """What `said` keeps, through JSON, gives the same job; nothing of it is a secret."""
    path = job_file(
        'input = "t.csv"\noutput = "o.csv"\n[prompt]\ntemplate = "Hi {{ a }}"\n[request]\nmodel = "m"\nn = 2\n'
        'stream = true\n[endpoint]\nbase_url = "https://gateway.example/v1"\nheaders = { X-Key = "${SECRET}" }\n'
        '[pool]\nrpm = 5\n[job]\nmax_cost = 2.5\nprice = { input = 1, output = 2 }\nprefix = "p_"\n'
    )
    environ = {**KEY, "SECRET": "hush-hush"}
    first = job(environ, path, yes=True, restart=True)
    kept = json.dumps(first.said)
    assert "hush" not in kept
    assert "sk-secret" not in kept
    again = resume(json.loads(kept), checkpoint=first.checkpoint_path, environ={**environ, "BATCHCHAT_MODEL": "other"})
    assert again.settings() == first.settings()
    assert (again.pool, again.money, again.stream) == (first.pool, first.money, True)
    assert (again.endpoint.base_url, again.endpoint.headers) == (first.endpoint.base_url, first.endpoint.headers)
    assert (again.input, again.output) == (str(tmp_path / "t.csv"), str(tmp_path / "o.csv"))
    assert (again.policy.prefix, again.policy.restart) == ("p_", False)
    assert needs_approval(again) is None


def test_options_stand_over_what_the_checkpoint_kept(tmp_path):
    """A resumed job takes new pool settings."""
    said = job(source=str(tmp_path / "t.csv"), rpm=5.0).said
    again = resume(said, {"rpm": 6.0}, checkpoint=str(tmp_path / "t.completions.csv.batchchat"), environ=KEY)
    assert again.pool.rpm == 6.0


def test_files_that_moved_with_the_checkpoint_are_found(tmp_path):
    """A folder that was renamed is resumed where it is now."""
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    (old / "t.csv").write_text("prompt\n")
    said = job(source=str(old / "t.csv"), output=str(old / "o.csv")).said
    old.rename(new)
    again = resume(json.loads(json.dumps(said)), checkpoint=str(new / "o.csv.batchchat"), environ=KEY)
    assert (again.input, again.output) == (str(new / "t.csv"), str(new / "o.csv"))


# Approval


def test_a_host_of_a_job_file_alone_needs_approval(job_file):
    """A key goes to a job file's host after --base-url, --yes or a person's word."""
    path = job_file('input = "t.csv"\n[endpoint]\nbase_url = "https://gateway.example:8443/v1"\n')
    asked = job(source=path)
    assert needs_approval(asked) == "gateway.example:8443"
    assert needs_approval(approved(asked)) is None
    assert needs_approval(job(source=path, yes=True)) is None
    assert needs_approval(job(source=path, base_url="https://gateway.example:8443/v1")) is None
    assert needs_approval(job({}, path)) is None


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://api.openai.com/v1", None),
        ("https://eu.api.openai.com/v1", None),
        ("http://api.openai.com/v1", "api.openai.com"),
        ("https://api.openai.com.evil.example/v1", "api.openai.com.evil.example"),
        ("http://127.0.0.1:8000/v1", None),
        ("http://[::1]:8000/v1", None),
        ("http://localhost:8000/v1", None),
        ("http://localhost.evil.example/v1", "localhost.evil.example"),
        ("http://10.0.0.1/v1", "10.0.0.1"),
    ],
)
def test_only_openai_and_loopback_need_none(job_file, url, host):
    """What looks like OpenAI's host, or like loopback, is not taken for it."""
    path = job_file(f'input = "t.csv"\n[endpoint]\nbase_url = "{url}"\n')
    assert needs_approval(job(source=path)) == host


def test_a_secret_header_needs_approval_too(job_file):
    """A header out of the environment is a key as well."""
    path = job_file(
        'input = "t.csv"\n[endpoint]\nbase_url = "https://gateway.example/v1"\nheaders = { X-Any = "${HOME_KEY}" }\n'
    )
    assert needs_approval(job({"HOME_KEY": "x"}, path)) == "gateway.example"
