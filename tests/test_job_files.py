"""Job files: what may stand in one, where it is wrong, and what must not stand in one."""

from __future__ import annotations

import os

import pytest

from batchchat.errors import UsageError
from batchchat.job import resolve
from batchchat.job.described import json_schema
from batchchat.job.file import line_of

KEY = {"OPENAI_API_KEY": "sk-secret-of-the-test"}


@pytest.fixture
def read(tmp_path):
    def read(text, environ=KEY, **options):
        path = tmp_path / "job.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return resolve(options, input=str(path), environ=environ)

    return read


@pytest.fixture
def refusal(read, tmp_path):
    def refusal(text):
        with pytest.raises(UsageError) as caught:
            read(text)
        message = str(caught.value)
        assert str(tmp_path / "job.toml") in message
        return message.replace(str(tmp_path / "job.toml"), "job.toml")

    return refusal


def test_the_contracts_own_example_is_taken(read, tmp_path):
    """The job file that the contract shows is one."""
    job = read(
        'input = "reviews.csv"            # relative to this file, like every path in it\n'
        'output = "labels.parquet"\n'
        "[prompt]                         # column | template | file | messages_column, and system\n"
        'template = "Label: {{ review }}"\n'
        "[request]                        # any field\n"
        'model = "local"\n'
        "max_tokens = 32\n"
        "[endpoint]                       # base_url, api_key_env, headers\n"
        "[pool]\n"
        "concurrency = 8\n"
        "[job]\n"
    )
    assert job.input == str(tmp_path / "reviews.csv")
    assert job.output_path == str(tmp_path / "labels.parquet")
    assert job.checkpoint_path == str(tmp_path / "labels.parquet.batchchat")
    assert (job.model, job.embedded, job.embedded_path) == ("local", True, None)
    assert (job.request, job.pool.concurrency) == ({"max_tokens": 32}, 8)
    assert job.source == str(tmp_path / "job.toml")


def test_paths_are_relative_to_the_file(read, tmp_path, monkeypatch):
    """Input, output, checkpoint, template and model file are found beside the job file, from any folder."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "p.txt").write_text("Hi")
    monkeypatch.chdir("/")
    job = read(
        'input = "sub/t.csv"\noutput = "../o.csv"\ncheckpoint = "c.db"\n[prompt]\nfile = "sub/p.txt"\n'
        '[request]\nmodel = "local:m.gguf"\n'
    )
    assert job.input == str(tmp_path / "sub" / "t.csv")
    assert os.path.normpath(job.output) == str(tmp_path.parent / "o.csv")
    assert job.checkpoint_path == str(tmp_path / "c.db")
    assert job.prompt.template == "Hi"
    assert job.embedded_path == str(tmp_path / "m.gguf")


def test_urls_and_whole_paths_stay(read):
    """A path on remote storage and an absolute one are left as they are."""
    job = read('input = "s3://bucket/t.csv"\noutput = "/data/o.csv"\n')
    assert (job.input, job.output) == ("s3://bucket/t.csv", "/data/o.csv")


def test_options_are_relative_to_the_working_folder(read):
    """-o on the command line is not relative to the job file."""
    assert read('input = "t.csv"\n', output="o.csv").output_path == "o.csv"


def test_every_section_is_taken(read):
    """Text, pool, job and request sections say what the options say."""
    job = read(
        'input = "t.csv"\n[text]\ndelimiter = ";"\nencoding = "cp1252"\n'
        "[pool]\nconcurrency = 2\nrpm = 3\ntpm = 4.5\ntimeout = 5\nmax_retries = 0\nmax_outage = 6\n"
        "max_retry_after = 7\n"
        '[job]\nlimit = 8\nmax_cost = 0.1\nprice = "input=1,output=2"\nprefix = "x"\n'
        '[request]\nstream = true\nreasoning_effort = "low"\ntools = [{ type = "function" }]\n'
    )
    assert (job.text.delimiter, job.text.encoding) == (";", "cp1252")
    assert (job.pool.rpm, job.pool.tpm, job.pool.max_outage, job.pool.max_retry_after) == (3.0, 4.5, 6.0, 7.0)
    assert (str(job.money.max_cost), job.money.price, job.rows.limit, job.policy.prefix) == (
        "0.1",
        "input=1,output=2",
        8,
        "x",
    )
    assert job.stream
    assert job.request == {"reasoning_effort": "low", "tools": [{"type": "function"}]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("input = ", "job.toml: this is no TOML"),
        ('input = "t.csv"\n[pool\n', "job.toml, line 2, column 6: this is no TOML"),
        (b'input = "\xff"\n', "job.toml: a job file is UTF-8 text"),
        ("[pool]\nrpm = 1\n", 'job.toml: no table is named; write input = "TABLE.csv"'),
        ('inptu = "t.csv"\n', "job.toml, line 1: unknown key inptu; did you mean input?"),
        ('input = "t.csv"\n[requst]\n', "job.toml, line 2: unknown key requst; did you mean request?"),
        (
            'input = "t.csv"\n\n[pool]\nconcurency = 4\n',
            "job.toml, line 4: unknown key pool.concurency; did you mean concurrency?",
        ),
        (
            'input = "t.csv"\n[pool]\nmax_tokens = 4\n',
            "job.toml, line 3: unknown key pool.max_tokens; it belongs in [request]",
        ),
        ('input = "t.csv"\n[request]\ntop_k = 4\n', "goes under [request.extra_body]"),
        ('input = "t.csv"\n[request]\nmessages = []\n', "made of the rows"),
        ('input = "t.csv"\npool = 4\n', "job.toml, line 2: pool is a section"),
        ('input = "t.csv"\n[pool]\nrpm = "fast"\n', "job.toml, line 3: pool.rpm 'fast': must be a number"),
        ('input = "t.csv"\n[pool]\nconcurrency = 1.5\n', "pool.concurrency 1.5: must be a whole number"),
        ('input = "t.csv"\n[pool]\nconcurrency = "4"\n', "pool.concurrency '4': must be a whole number"),
        (
            'input = "t.csv"\n[request]\ntemperature = 5\n',
            "job.toml, line 3: request.temperature 5: must be from 0 to 2",
        ),
        ('input = "t.csv"\n[request]\nreasoning_effort = "hgh"\n', "did you mean high?"),
        ('input = "t.csv"\n[request]\nstop = [1]\n', "must be text"),
        ('input = "t.csv"\n[request.extra_body]\nday = 2020-01-01\n', "line 3: request.extra_body.day: a date"),
        ("input = 3\n", "job.toml, line 1: input 3: must be text"),
        ('input = ""\n', "job.toml: no table is named"),
        (
            'input = "t.csv"\n[prompt]\ncolumn = "a"\ntemplate = "b"\n',
            "prompt.column and job.toml, line 4: prompt.template do not go together",
        ),
        ('input = "t.csv"\n[prompt]\nfile = "none.txt"\n', "none.txt: cannot be read"),
        ('input = "t.csv"\n[endpoint]\nbase_url = "example"\n', "job.toml, line 3: endpoint.base_url"),
        ('input = "t.csv"\n[endpoint]\nheaders = 3\n', "must be a table"),
        ('input = "t.csv"\n[endpoint]\napi_key_env = "NOT_SET"\n', "the variable NOT_SET is not set"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(refusal, text, words):
    """An error of a job file says the file, the line, the key and what is near."""
    assert words in refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        '[endpoint]\napi_key = "sk-live-0123456789"\n',
        '[endpoint]\napi_key_env = "sk-live-0123456789"\n',
        '[endpoint]\nheaders = { Authorization = "Bearer live-0123456789" }\n',
        '[endpoint.headers]\napi-key = "live-0123456789"\n',
        '[endpoint.headers]\nX-Api-Key = "live-0123456789"\n',
        '[endpoint.headers]\nX-Anything = "sk-live-0123456789"\n',
        '[endpoint.headers]\nAuthorization = "Bearer live-0123456789${EMPTY}"\n',
        '[endpoint]\nbase_url = "https://user:live-0123456789@host/v1"\n',
        '[endpoint]\nbase_url = "https://host/v1?api_key=live-0123456789"\n',
        '[request.extra_body]\ntoken = "sk-live-0123456789"\n',
        '[request]\nuser = "sk-live-0123456789"\n',
        '[prompt]\nsystem = "my key is sk-proj-0123456789abcdefghij"\n',
    ],
)
def test_a_literal_secret_is_refused_and_not_repeated(refusal, text):
    """A key written out in a job file is a usage error that does not print it."""
    message = refusal('input = "t.csv"\n' + text)
    assert "live-0123456789" not in message
    assert "0123456789abc" not in message


def test_a_job_file_that_is_not_there_is_named():
    """A missing job file is a usage error."""
    with pytest.raises(UsageError, match=r"nowhere\.toml: cannot be read: No such file"):
        resolve({}, input="nowhere.toml", environ=KEY)


def test_lines_are_found_past_texts_that_look_like_toml():
    """Text inside a multi-line string is neither a table nor a key."""
    text = 'input = "t"\n[prompt]\ntemplate = """\n[pool]\nrpm = 1\n"""\n[pool]\nrpm = 2\n'
    assert line_of(text, ("pool", "rpm")) == 8
    assert line_of(text, ("pool", "gone")) == 7
    assert line_of(text, ("none",)) is None


def test_a_byte_order_mark_and_windows_lines_are_taken(read):
    """Editors on Windows write those."""
    assert read(b'\xef\xbb\xbfinput = "t.csv"\r\n[pool]\r\nrpm = 3\r\n').pool.rpm == 3.0


def test_the_schema_of_job_files_describes_every_key():
    """Editors complete job files from the JSON Schema: every key has a sentence."""
    schema = json_schema()
    models = [schema, *schema["$defs"].values()]
    keys = {name: key for model in models for name, key in model.get("properties", {}).items() if "$ref" not in key}
    assert {"temperature", "base_url", "concurrency", "max_cost"} <= keys.keys()
    assert [name for name, key in keys.items() if not key.get("description")] == []
