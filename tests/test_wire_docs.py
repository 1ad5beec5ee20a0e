"""docs/wire.md lists every field and every error, and names tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from batchchat import errors
from batchchat.errors import RequestError

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "wire.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`((?:peers/)?test_\w+\.py)::(test_\w+)`", PAGE)))
REQUEST = """
messages model audio frequency_penalty presence_penalty function_call functions logit_bias logprobs
top_logprobs max_completion_tokens max_tokens metadata modalities moderation n parallel_tool_calls prediction
prompt_cache_key prompt_cache_options prompt_cache_retention reasoning_effort response_format
safety_identifier seed service_tier stop store stream stream_options temperature top_p tools tool_choice user
verbosity web_search_options
"""
REPLY = """
id object created model choices usage service_tier system_fingerprint metadata moderation logprobs content
refusal annotations audio tool_calls function_call finish_reason prompt_tokens completion_tokens total_tokens
cached_tokens prompt_tokens_details completion_tokens_details reasoning_tokens
"""
KINDS = [
    name
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, RequestError) and not kind.__subclasses__() and name != "BadRow"
]


@pytest.mark.parametrize(("file", "test"), NAMED, ids=lambda part: part)
def test_a_named_test_is_there(file, test):
    """A reader who looks a test up finds it."""
    assert re.search(rf"^(async )?def {test}\(", (TESTS / file).read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize(("title", "fields"), [("Requests", REQUEST), ("Replies", REPLY)])
def test_every_field_is_listed(title, fields):
    """Every field that the API documents has its line."""
    section = PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]
    assert [name for name in fields.split() if not re.search(rf"[`.]{name}`", section)] == []


@pytest.mark.parametrize(
    "kind", [*KINDS, "KeyRefused", "QuotaExhausted", "ModelMissing", "WaitTooLong", "EndpointDown"]
)
def test_every_error_is_listed(kind):
    """Every error that an attempt can end in has a line that says what happens to row, pool and job."""
    assert f"`{kind}`" in PAGE


SECTIONS = ("Requests", "Replies", "Event streams", "Errors", "Headers", "Connections")


def lines_of(title):
    section = PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]
    table = [line for line in section.splitlines() if line.startswith("| ")]
    return [line for line in table[1:] if not set(line) <= set("|- ")]


@pytest.mark.parametrize("title", SECTIONS)
def test_every_line_names_the_test_that_holds_it(title):
    """Nothing is claimed of the wire without a test."""
    assert lines_of(title)
    assert [line for line in lines_of(title) if not re.search(r"`test_\w+\.py::test_\w+`", line)] == []


@pytest.mark.parametrize("code", "400 401 402 403 404 408 409 413 422 429 503 504 529".split())
def test_every_error_of_the_api_says_what_becomes_of_row_pool_and_job(code):
    """Each status that the API documents has a line whose test runs a whole job into it."""
    named = [line for line in lines_of("Errors") if re.search(rf"\b{code}\b", line.split("|")[1])]
    assert named
    assert [line for line in named if "test_wire_outcomes.py::" not in line] == []
