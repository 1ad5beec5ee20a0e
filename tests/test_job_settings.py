"""Profiles, aliases, files of variables, every setting with its origin, and a command line as a job file."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path

import pytest

from batchchat.cli import app
from batchchat.errors import Misspelt, UsageError
from batchchat.job import job_file_text, needs_approval, resolve, resume, shown_settings
from batchchat.job.envfile import with_env_file, with_local_key

CONFIG = """
[profiles.work]
model = "fast"
price = "input=1,output=2"
[profiles.work.endpoint]
base_url = "https://gateway.example.com/v1"
api_key_env = "WORK_KEY"
headers = { X-Team = "a" }
[profiles.work.pool]
rpm = 300
concurrency = 4
[profiles.here.endpoint]
base_url = "http://localhost:9/v1"
[aliases]
fast = "gpt-4.1-mini"
"""


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    """A home with a config, and an empty working folder beside it."""
    for name in list(os.environ):
        if name.startswith(("OPENAI_", "BATCHCHAT_", "XDG_")):
            monkeypatch.delenv(name)
    folder = tmp_path / "home" / ".config" / "batchchat"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(CONFIG)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return folder


@pytest.fixture
def environ(tmp_path):
    return {"HOME": str(tmp_path / "home"), "WORK_KEY": "secret-1", "OPENAI_API_KEY": "secret-2"}


def job(environ, source="t.csv", **options):
    return resolve(options, input=source, environ=environ)


# Profiles


def test_a_profile_gives_endpoint_pool_model_and_price(environ):
    """Everything that a profile says holds; its host needs no approval, since the person said it."""
    found = job(environ, profile="work")
    assert (found.model, found.money.price, found.pool.rpm, found.pool.concurrency) == (
        "gpt-4.1-mini", "input=1,output=2", 300, 4
    )  # fmt: skip
    assert found.endpoint.base_url == "https://gateway.example.com/v1"
    assert found.endpoint.key.reveal() == "secret-1"
    assert found.endpoint.headers == {"X-Team": "a"}
    assert needs_approval(found) is None


def test_nearer_words_win(environ):
    """An option and a variable go before a job file, that before the profile, and the profile before the usual ones."""
    Path("job.toml").write_text('input = "t.csv"\n[request]\nmodel = "of-file"\n[pool]\nrpm = 7\n')
    near = {**environ, "BATCHCHAT_PROFILE": "work", "BATCHCHAT_RPM": "9", "OPENAI_BASE_URL": "http://usual/v1"}
    found = job(near, "job.toml", concurrency=2)
    assert (found.model, found.pool.rpm, found.pool.concurrency) == ("of-file", 9, 2)
    assert found.endpoint.base_url == "https://gateway.example.com/v1"
    assert job({**near, "BATCHCHAT_PROFILE": "work"}, profile="here").endpoint.base_url == "http://localhost:9/v1"


def test_a_profiles_secret_header_does_not_go_to_a_job_files_host_unasked(environ, home):
    """Headers of a profile with a secret in them need approval for a host that a job file names."""
    text = CONFIG.replace('X-Team = "a"', 'X-Key = "${WORK_KEY}"')
    (home / "config.toml").write_text(text)
    Path("job.toml").write_text('input = "t.csv"\n[endpoint]\nbase_url = "https://elsewhere.example.net/v1"\n')
    assert needs_approval(job(environ, "job.toml", profile="work")) == "elsewhere.example.net"


def test_the_embedded_model_is_that_of_this_machine_under_any_profile(environ):
    """`-m local` is the embedded model, also where a profile names an endpoint."""
    assert job(environ, profile="work", model="local").embedded


def test_an_unknown_profile_suggests_the_right_one(environ):
    """A misspelt profile is a usage error with the nearest name and the file."""
    with pytest.raises(Misspelt, match=r"did you mean work\?.*config\.toml has work, here") as wrong:
        job(environ, profile="wrok")
    assert (wrong.value.wrong, wrong.value.meant) == ("wrok", "work")
    with pytest.raises(UsageError, match="BATCHCHAT_PROFILE nope"):
        job({**environ, "BATCHCHAT_PROFILE": "nope"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[profile.work]\n", "unknown key profile; did you mean profiles?"),
        ("[profiles.work]\nmodle = 'x'\n", "unknown key profiles.work.modle; did you mean model?"),
        ("[profiles.work.pool]\nrps = 1\n", "unknown key profiles.work.pool.rps"),
        ("[profiles.work]\npool = 3\n", "is a section"),
        ("[profiles]\nwork = 3\n", "a profile is a section"),
        ("[aliases]\nfast = 3\n", "an alias is a model"),
        ("[profiles.work]\npool = { rpm = 'fast' }\n", "profiles.work.pool.rpm 'fast': must be a number"),
        ("[profiles.work]\nmodel = \n", "this is no TOML"),
        ("[profiles.work.endpoint]\nheaders = { Authorization = 'Bearer sk-abcdefgh' }\n", "never written out"),
    ],
)
def test_a_wrong_config_is_a_usage_error(environ, home, text, said):
    """The file is named, and what is wrong in it."""
    (home / "config.toml").write_text(text)
    with pytest.raises(UsageError) as wrong:
        job(environ, profile="work")
    assert said in str(wrong.value)
    assert "sk-abcdefgh" not in str(wrong.value)


def test_no_config_is_no_error(environ, home):
    """Without the file, or a home, everything is as it was."""
    (home / "config.toml").unlink()
    assert job(environ, model="m").model == "m"
    assert resolve({"model": "m"}, input="t.csv", environ={"OPENAI_API_KEY": "k"}).model == "m"


def test_xdg_config_home_is_heard(environ, tmp_path):
    """Where XDG_CONFIG_HOME is set the file lies there."""
    other = tmp_path / "other" / "batchchat"
    other.mkdir(parents=True)
    (other / "config.toml").write_text('[aliases]\nfast = "another"\n')
    assert job({**environ, "XDG_CONFIG_HOME": str(tmp_path / "other")}, model="fast").model == "another"


# Aliases


def test_an_alias_is_the_models_own_name(environ):
    """An alias holds wherever a model is said, and what is kept is the model's own name."""
    assert job(environ, model="fast").model == "gpt-4.1-mini"
    assert job({**environ, "BATCHCHAT_MODEL": "fast"}).model == "gpt-4.1-mini"
    found = job(environ, model="fast")
    assert found.said["request"]["model"] == "gpt-4.1-mini"
    assert found.settings() == job(environ, model="gpt-4.1-mini").settings()


# Files of variables


def test_a_local_env_file_gives_only_the_key(environ):
    """./.env gives the variable that api_key_env names, and no other; what is set goes before."""
    Path(".env").write_text(
        "OPENAI_API_KEY=from-file\nWORK_KEY='w'\nBATCHCHAT_MODEL=sneaky\nOPENAI_BASE_URL=http://x\n"
    )
    bare = {"HOME": environ["HOME"]}
    found = job(bare, model="m")
    assert found.endpoint.key.reveal() == "from-file"
    assert (found.model, found.endpoint.base_url) == ("m", "https://api.openai.com/v1")
    assert job(bare, profile="work").endpoint.key.reveal() == "w"
    assert job(environ, model="m").endpoint.key.reveal() == "secret-2"
    with pytest.raises(UsageError, match="WORK_KEY is not set"):
        job(bare, model="m", header=["X-Key: ${WORK_KEY}"])


def test_a_named_env_file_gives_all(environ):
    """--env-file gives every variable in it, keys, models and headers; what is set goes before."""
    Path("my.env").write_text('export WORK_KEY=w # mine\nBATCHCHAT_MODEL=of-env\nOPENAI_API_KEY="k\\tx"\n\n# end\n')
    bare = {"HOME": environ["HOME"], "OPENAI_API_KEY": "set"}
    found = job(bare, env_file="my.env", header=["X-Key: ${WORK_KEY}"])
    assert (found.model, found.endpoint.key.reveal()) == ("of-env", "set")
    assert found.endpoint.headers["X-Key"].reveal() == "w"


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=plain", "plain"),
        ("A = spaced ", "spaced"),
        ("export A='single # kept'", "single # kept"),
        ('A="line\\nbreak"', "line\nbreak"),
        ("A=with # comment", "with"),
        ("A=a#b", "a#b"),
        ("A=", ""),
    ],
)
def test_lines_of_an_env_file(line, value):
    """Quotes, comments and `export` are understood as shells and other programs understand them."""
    Path("x.env").write_text(line + "\n")
    assert with_env_file({}, "x.env") == {"A": value}


def test_a_wrong_env_file_is_a_usage_error():
    """A named file that is not there, or has a line that is none, is an error; a stray ./.env is not."""
    Path("x.env").write_text("A=1\nthis is none\n")
    with pytest.raises(UsageError, match=r"x\.env, line 2: must be NAME=value"):
        with_env_file({}, "x.env")
    with pytest.raises(UsageError, match="cannot be read"):
        with_env_file({}, "no.env")
    Path(".env").write_bytes(b"\xff\xfe\n")
    assert with_local_key({}, "A") == {}


def test_a_resumed_job_finds_its_key_in_a_file(environ):
    """`resume` takes the key from ./.env, and variables from --env-file, as `run` does."""
    said = job(environ, model="m").said
    Path(".env").write_text("OPENAI_API_KEY=later\n")
    assert resume(said, checkpoint="x", environ={}).endpoint.key.reveal() == "later"


# Every setting


def test_every_setting_says_where_it_comes_from(environ):
    """Option, variable, job file with its line, profile and default are named; no key is shown."""
    Path("job.toml").write_text('input = "t.csv"\n[prompt]\ntemplate = "{{ a }}"\n[request]\ntemperature = 0\n')
    found = {
        one.name: one
        for one in shown_settings(job({**environ, "BATCHCHAT_TIMEOUT": "9"}, "job.toml", profile="work", tpm=5))
    }
    assert found["prompt.template"].origin == "job.toml, line 3: prompt.template"
    assert found["request.temperature"].origin == "job.toml, line 5: request.temperature"
    assert found["pool.timeout"].origin == "BATCHCHAT_TIMEOUT"
    assert found["pool.tpm"].origin == "--tpm"
    assert found["pool.rpm"].origin.endswith("config.toml: profiles.work.pool.rpm")
    assert found["request.model"].origin.endswith("profiles.work.model, alias fast")
    assert found["pool.max_retries"].origin == "default"
    assert (found["output"].value, found["output"].origin) == ("t.completions.csv", "default, from the input's name")
    assert "secret" not in str(found)


def test_show_settings_prints_them(capsys, monkeypatch):
    """`show --settings` is a line each, or JSON; it needs no key and no table."""
    assert app.entry(["show", "t.csv", "--settings", "-p", "work", "-c", "3"]) == 0
    lines = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines()}
    assert lines["pool.concurrency"] == ["pool.concurrency", "3", "--concurrency"]
    assert app.entry(["show", "t.csv", "--settings", "-p", "work", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["pool.rpm"]["value"] == 300


# A command line as a job file


def test_a_command_line_becomes_the_same_job(environ):
    """The job file that is written is the same job: settings, endpoint, pool, money and paths."""
    options = {
        "prompt": 'Say "{{ a }}"\nin one\\two words:\n"""{{ b }}"""',
        "system": "ünï \t tab",
        "model": "fast",
        "temperature": 0.5,
        "stop": ["x", "\n"],
        "logit_bias": '{"50256": -100}',
        "response_format": '{"type": "json_schema", "json_schema": {"name": "n", "schema": {"a b": [1, true, "x"]}}}',
        "extra_body": '{"top_k": 3, "deep": {"er": {"yes": true}}}',
        "header": ["X-Key: ${WORK_KEY}"],
        "rpm": 60,
        "max_cost": "2.50",
        "price": "input=1,output=2",
        "limit": 9,
        "prefix": "p_",
        "output": "sub/o.parquet",
        "delimiter": ";",
        "base_url": "https://gateway.example.com/v1",
    }
    first = job(environ, "data/t.csv", **options)
    Path("jobs").mkdir()
    Path("jobs/j.toml").write_text(job_file_text(first, "jobs"), encoding="utf-8")
    second = job(environ, "jobs/j.toml")
    assert second.settings() == first.settings()
    for name in ("pool", "money", "rows", "text", "stream"):
        assert getattr(second, name) == getattr(first, name), name
    assert second.endpoint.headers_said == first.endpoint.headers_said
    assert second.endpoint.base_url == first.endpoint.base_url
    assert second.policy.prefix == "p_"
    for name in ("input", "output_path"):
        assert os.path.realpath(getattr(second, name)) == os.path.realpath(getattr(first, name))
    assert tomllib.loads(Path("jobs/j.toml").read_text(encoding="utf-8"))["input"] == "../data/t.csv"


def test_what_toml_cannot_say_is_a_usage_error(environ):
    """A null in extra_body has no place in a job file."""
    with pytest.raises(UsageError, match="TOML has no null"):
        job_file_text(job(environ, model="m", extra_body='{"a": null}'), ".")


def test_save_job_writes_it_and_sends_nothing(capsys, simulator):
    """`run --save-job` writes the file, names the command that runs it, and replaces no file unasked."""
    server = simulator()
    Path("t.csv").write_text("text\none\n")
    words = ["run", "t.csv", "--base-url", server.base_url, "-m", "m", "--prompt", "{{ text }}", "--save-job"]
    assert app.entry([*words, "j.toml"]) == 0
    told = capsys.readouterr()
    assert told.out == ""
    assert "batchchat run j.toml" in told.err
    assert server.stats()["received"] == 0
    assert app.entry([*words, "j.toml"]) == 2
    assert "exists" in capsys.readouterr().err
    assert app.entry([*words, "j.toml", "--overwrite"]) == 0
    assert app.entry([*words, "j.txt"]) == 2
    assert app.entry(["run", "j.toml", "--quiet"]) == 0
    assert server.stats()["received"] == 1
