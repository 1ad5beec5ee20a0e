"""Where requests go: URLs, headers, keys. A key comes from a variable, travels as a Secret, and is never repeated."""

from __future__ import annotations

import pytest

from batchchat import wire
from batchchat.errors import UsageError
from batchchat.job import needs_approval, resolve, resume, secret_variables
from batchchat.records import Secret

KEY = {"OPENAI_API_KEY": "sk-secret-of-the-test"}


def endpoint(environ=KEY, *, need_key=True, **options):
    return resolve(options, input="t.csv", environ=environ, need_key=need_key).endpoint


def refusal(environ=KEY, **options):
    with pytest.raises(UsageError) as caught:
        endpoint(environ, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    ("url", "taken"),
    [
        ("http://localhost:8000/v1/", "http://localhost:8000/v1"),
        ("https://host/v1/chat/completions", "https://host/v1"),
        (
            "https://x.openai.azure.com/openai/deployments/d?api-version=2024-10-21",
            "https://x.openai.azure.com/openai/deployments/d?api-version=2024-10-21",
        ),
        ("HTTPS://Host", "https://Host"),
    ],
)
def test_a_url_is_brought_into_form(url, taken):
    """No slash at the end, nothing of what is appended anyway; a query stays."""
    assert endpoint(base_url=url).base_url == taken


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("localhost:8000/v1", "did you mean http://localhost:8000/v1?"),
        ("api.example.com/v1", "did you mean https://api.example.com/v1?"),
        ("ftp://host/v1", "did you mean https://host/v1?"),
        ("http://", "no URL"),
        ("http://ho st/v1", "no URL"),
        ("http://host:port/v1", "no URL"),
        ("http://[::1/v1", "no URL"),
        ("https://host/v1#part", "'#'"),
        ("https://user:hidden@host/v1", "user or password"),
        ("https://host/v1?key=hidden", "carries a key"),
    ],
)
def test_what_is_no_url_is_refused(url, words):
    """A URL without scheme or host, or with a secret in it, is a usage error that repeats no secret."""
    message = refusal(base_url=url)
    assert words in message
    assert "hidden" not in message


def test_openai_wants_a_key():
    """Without a key OpenAI's endpoint is not tried; the message names the ways on."""
    message = refusal({})
    assert "OPENAI_API_KEY is not set" in message
    assert "-m local" in message
    assert refusal({"OPENAI_API_KEY": "  "}) == message


def test_other_endpoints_are_tried_without_a_key():
    """An endpoint that is not OpenAI's may want none."""
    assert endpoint({}, base_url="http://localhost:8000/v1").key is None


def test_a_key_is_stripped_and_masked():
    """White space around a key is not part of it, and no text of the job shows it."""
    job = resolve({}, input="t.csv", environ={"OPENAI_API_KEY": " sk-hidden\n"})
    assert job.endpoint.key == Secret("sk-hidden")
    assert "hidden" not in repr(job)


@pytest.mark.parametrize("key", ["sk hidden", "sk-hidden\nsecond", "sk-hiddén"])
def test_a_key_that_no_header_can_carry_is_refused(key):
    """A key with a blank or a line break inside is named by its variable only."""
    message = refusal({"OPENAI_API_KEY": key})
    assert "OPENAI_API_KEY" in message
    assert "hidd" not in message


def test_a_named_variable_must_be_set():
    """--api-key-env names a variable that is set, also where the endpoint needs none."""
    assert "MY_KEY is not set" in refusal({}, api_key_env="MY_KEY", base_url="http://localhost:1/v1")
    assert endpoint({"MY_KEY": "k"}, api_key_env="MY_KEY").key == Secret("k")


@pytest.mark.parametrize("name", ["sk-hidden-0123456789", "NOT A NAME", "1ST", "$OPENAI_API_KEY"])
def test_a_key_in_the_place_of_a_name_is_not_repeated(name):
    """Who gives the key instead of its variable's name is told so."""
    message = refusal(api_key_env=name)
    assert "name" in message
    assert "hidden" not in message


def test_nothing_is_needed_where_nothing_is_sent():
    """`show` and --dry-run want neither key nor header variables."""
    shown = endpoint({}, need_key=False, api_key_env="MY_KEY", header=["X-Key: ${NOT_SET}"])
    assert (shown.key, shown.headers) == (None, {"X-Key": "${NOT_SET}"})
    assert endpoint({}, dry_run=True).key is None


def test_headers_come_from_variables():
    """${NAME} is replaced, stripped, and then a Secret; a plain header is text."""
    made = endpoint({**KEY, "TEAM_TOKEN": " hidden\n"}, header=["Authorization: Bearer ${TEAM_TOKEN}", "X-Team: blue"])
    assert made.headers == {"Authorization": Secret("Bearer hidden"), "X-Team": "blue"}
    assert made.headers_said == {"Authorization": "Bearer ${TEAM_TOKEN}", "X-Team": "blue"}
    assert "hidden" not in repr(made)


def test_a_header_that_carries_a_key_stands_for_it():
    """With an Authorization or api-key header, the usual key goes nowhere unless it was named."""
    header = ["api-key: ${AZURE_KEY}"]
    environ = {**KEY, "AZURE_KEY": "a"}
    assert endpoint(environ, header=header).key is None
    assert endpoint({"AZURE_KEY": "a"}, header=header).key is None
    assert endpoint(environ, header=header, api_key_env="OPENAI_API_KEY").key is not None


def test_the_variables_that_would_be_sent_are_known():
    """The question before a key is sent names every variable."""
    made = endpoint({**KEY, "A": "a"}, header=["X-One: ${A}"], base_url="http://localhost:1/v1")
    assert secret_variables(made) == ("OPENAI_API_KEY", "A")


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("Authorization: Bearer hidden", "Bearer ${NAME}"),
        ("authorization: hidden", "Bearer ${NAME}"),
        ("api-key: hidden", "api-key: ${NAME}"),
        ("X-Api-Key: hidden", "${NAME}"),
        ("Proxy-Authorization: Basic hidden", "${NAME}"),
        ("Cookie: session=hidden", "${NAME}"),
        ("X-Any: sk-hidden-0123456789", "never written out"),
        ("X-Key: hidden${OPENAI_API_KEY}", "never written out"),
        ("X-Any: ${NOT_SET}", "NOT_SET is not set"),
        ("X-Any: ${not a name}", "names no variable"),
        ("no colon", "'Name: value'"),
        (": hidden", "'Name: value'"),
        ("X Y: 1", "no name of a header"),
        ("X-Any: a\nX-Evil: b", "one line"),
        ("X-Any: é", "ASCII"),
        ("Content-Length: 3", "set by batchchat itself"),
    ],
)
def test_what_is_no_header_is_refused(header, words):
    """A malformed header, a literal secret and an unset variable are usage errors; nothing hidden is repeated."""
    message = refusal(header=[header])
    assert words in message
    assert "hidden" not in message


def test_a_variable_with_a_line_break_makes_no_header():
    """A header's variable may not smuggle in another header."""
    message = refusal({**KEY, "TWO": "a\r\nX-Evil: hidden"}, header=["X-Any: ${TWO}"])
    assert "TWO" in message
    assert "hidden" not in message


def test_headers_with_harmless_words_are_headers():
    """A header whose name only contains a suspicious word may be literal."""
    headers = ["X-Tokenizer: fast", "X-Keep: 1", "X-Max-Tokens: 3"]
    assert endpoint(header=headers).headers == {"X-Tokenizer": "fast", "X-Keep": "1", "X-Max-Tokens": "3"}


def test_openais_organisation_and_project_are_sent_to_openai_alone():
    """The official client's variables for them hold at OpenAI's endpoint."""
    environ = {**KEY, "OPENAI_ORG_ID": "org-1", "OPENAI_PROJECT_ID": "proj-1"}
    assert endpoint(environ).headers == {"OpenAI-Organization": "org-1", "OpenAI-Project": "proj-1"}
    assert endpoint(environ, base_url="http://localhost:1/v1").headers == {}


def test_the_embedded_model_gets_no_key():
    """`-m local` is the embedded model, unless an option names an endpoint that has a model of that name."""
    environ = {**KEY, "OPENAI_BASE_URL": "http://localhost:1/v1"}
    for model in ("local", "local:path/to.gguf"):
        job = resolve({"model": model}, input="t.csv", environ=environ)
        assert job.embedded
        assert (job.endpoint.key, job.endpoint.headers) == (None, {})
    named = {"model": "local", "base_url": "http://localhost:1/v1"}
    assert not resolve(named, input="t.csv", environ={}).embedded
    assert resolve({"model": "local"}, input="t.csv", environ={}).embedded


# Azure

HOST = "https://r.openai.azure.com"
AZURE = {"AZURE_OPENAI_ENDPOINT": f"{HOST}/", "AZURE_OPENAI_API_KEY": "k", "OPENAI_API_VERSION": "2024-10-21"}


def test_the_variables_of_the_azure_client_work_unchanged():
    """Its three variables name the endpoint, the key and the version; the deployment is the model."""
    found = endpoint(AZURE, model="labels")
    assert (found.base_url, found.azure, found.api_version) == (HOST, True, "2024-10-21")
    assert (found.key, found.api_key_env) == (Secret("k"), "AZURE_OPENAI_API_KEY")
    url = f"{HOST}/openai/deployments/labels/chat/completions?api-version=2024-10-21"
    assert wire.address(found.record(deployment="labels")) == url


def test_another_endpoint_is_not_azure():
    """Where a URL is named, the variables of the Azure client say nothing."""
    for environ, options in (({**AZURE, **KEY, "OPENAI_BASE_URL": "http://h/v1"}, {}), ({**AZURE, **KEY}, {"url": 1})):
        found = endpoint(environ, model="m", base_url="http://h/v1" if options else None)
        assert (found.base_url, found.azure, found.api_version) == ("http://h/v1", False, None)
        assert found.key == Secret(KEY["OPENAI_API_KEY"])


def test_a_host_of_azure_is_known_by_its_name():
    """A URL that an option names is Azure's by its host; OPENAI_API_KEY serves where there is no key of Azure's own."""
    found = endpoint({**KEY, "OPENAI_API_VERSION": "1"}, base_url=f"{HOST}/openai", model="d")
    assert (found.azure, found.api_version, found.key) == (True, "1", Secret(KEY["OPENAI_API_KEY"]))


def test_a_version_makes_a_gateway_azure():
    """`--api-version` says that a gateway speaks Azure's dialect, and goes before the variable."""
    found = endpoint(AZURE, base_url="https://gateway.example/x", api_version="2025-01-01", model="d")
    assert (found.azure, found.api_version) == (True, "2025-01-01")


def test_a_version_is_asked_for_only_where_one_is_needed():
    """Without one it is a usage error; the URL's own serves, and the path that needs none."""
    bare = {name: text for name, text in AZURE.items() if name != "OPENAI_API_VERSION"}
    assert "--api-version" in refusal(bare, model="d")
    assert endpoint(bare, need_key=False, model="d").api_version is None
    assert endpoint(bare, base_url=f"{HOST}/openai?api-version=2", model="d").api_version is None
    assert endpoint(bare, base_url=f"{HOST}/openai/v1", model="d").api_version is None


def test_a_deployment_is_asked_for():
    """Azure lists no deployments: a job without a model is a usage error."""
    assert "-m" in refusal(AZURE)


def test_a_resumed_job_goes_to_the_same_azure():
    """The version that a variable gave is kept, so that another shell resumes to the same place."""
    job = resolve({"model": "d"}, input="t.csv", environ={**AZURE, "AZURE_OPENAI_ENDPOINT": "https://apim.example"})
    again = resume(job.said, checkpoint="t.batchchat", environ={"AZURE_OPENAI_API_KEY": "k"}).endpoint
    assert (again.base_url, again.azure, again.api_version) == ("https://apim.example", True, "2024-10-21")
    assert again.key == Secret("k")


# A key out of a command


def test_a_command_stands_for_the_variable():
    """With a command no variable has to be set, and none is read."""
    found = endpoint({}, api_key_command="print-key")
    assert (found.key, found.key_command) == (None, "print-key")


def test_a_command_is_no_business_of_a_job_file(tmp_path):
    """A job file from elsewhere runs no command; nor does a checkpoint, which keeps none."""
    path = tmp_path / "job.toml"
    path.write_text('input = "t.csv"\n[endpoint]\napi_key_command = "x"\n')
    with pytest.raises(UsageError, match="unknown key"):
        resolve({}, input=str(path), environ=KEY)
    job = resolve({"api_key_command": "print-key"}, input="t.csv", environ={})
    assert "print-key" not in repr(job.said)


def test_a_key_of_a_command_is_approved_too(tmp_path):
    """A host that only a job file names gets no printed key unless a person approved it."""
    path = tmp_path / "job.toml"
    path.write_text('input = "t.csv"\n[endpoint]\nbase_url = "https://elsewhere.example/v1"\n')
    job = resolve({"api_key_command": "print-key"}, input=str(path), environ={})
    assert needs_approval(job) == "elsewhere.example"
