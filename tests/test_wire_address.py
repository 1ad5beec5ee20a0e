"""Addresses: what is typed, and what is asked."""

from __future__ import annotations

import pytest

from batchchat.errors import UsageError
from batchchat.records import Endpoint, Secret
from batchchat.wire import address, check_url, is_loopback, origin


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("https://api.openai.com/v1", "https://api.openai.com/v1"),
        ("https://api.openai.com/v1/", "https://api.openai.com/v1"),
        (" HTTP://LocalHost:8000/V1// ", "http://localhost:8000/V1"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1"),
        ("https://x.example/v1/chat/completions", "https://x.example/v1"),
        ("https://x.example/v1/chat/completions/?a=b", "https://x.example/v1?a=b"),
        ("https://x.example/openai?api-version=2024-06-01", "https://x.example/openai?api-version=2024-06-01"),
        ("https://x.example/v1#part", "https://x.example/v1"),
        ("https://x.example/a b/v1", "https://x.example/a%20b/v1"),
        ("https://x.example/a%20b", "https://x.example/a%20b"),
        ("https://bücher.example/v1", "https://bücher.example/v1"),
    ],
)
def test_a_base_url_may_be_typed_in_several_ways(typed, meant):
    """With and without slashes, as the whole address of chat completions, with a query: the same is meant."""
    assert check_url(typed) == meant


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("", "is no URL"),
        ("api.openai.com/v1", "with its scheme"),
        ("localhost:8000/v1", "with its scheme"),
        ("ftp://x.example", "ftp:// is not spoken"),
        ("https://", "names no host"),
        ("https:///v1", "names no host"),
        ("http://exa mple/v1", "names no host"),
        ("http://x.example:99999/v1", "is no URL"),
        ("http://x.example:0/v1", "names no host"),
        ("http://[::1/v1", "is no URL"),
        ("http://x..example/v1", "is no URL"),
        ("https://me:pass@x.example/v1", "user name or password"),
        ("https://x.example/v1?api_key=abc", r"a key in a URL \(api_key=\)"),
        ("https://x.example/v1?Key=abc", "a key in a URL"),
    ],
)
def test_what_is_no_base_url_is_a_usage_error(typed, said):
    """The message says what is wrong, and never shows a password."""
    with pytest.raises(UsageError, match=said) as caught:
        check_url(typed)
    assert "pass@" not in str(caught.value)
    assert "abc" not in str(caught.value)
    assert str(caught.value).startswith("--base-url")


@pytest.mark.parametrize(
    "name", ["key", "api_key", "api-key", "apikey", "access_token", "token", "subscription-key", "API_KEY"]
)
def test_a_key_in_a_url_is_a_usage_error(name):
    """It would be kept and printed."""
    with pytest.raises(UsageError, match="a key in a URL"):
        check_url(f"https://x.example/v1?a=b&{name}=abc")


def test_a_usage_error_names_where_the_url_was_given():
    """A job file's key is named instead of the option."""
    with pytest.raises(UsageError, match=r"^endpoint\.base_url: "):
        check_url("x", name="endpoint.base_url")


def test_a_password_is_not_shown_where_the_url_is_none():
    """Even a URL that cannot be read keeps its password to itself."""
    with pytest.raises(UsageError) as caught:
        check_url("https://me:secret@x.example:99999/")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("endpoint", "asked"),
    [
        (Endpoint(base_url="https://x.example/v1/"), "https://x.example/v1/chat/completions"),
        (Endpoint(base_url="http://x.example"), "http://x.example/chat/completions"),
        (
            Endpoint(base_url="https://x.example/o?api-version=1", query={"a": "b c", "t": Secret("s")}),
            "https://x.example/o/chat/completions?api-version=1&a=b+c&t=s",
        ),
        (
            Endpoint(base_url="https://r.openai.azure.com/", azure=True, deployment="my d/1", api_version="2024-10-21"),
            "https://r.openai.azure.com/openai/deployments/my%20d%2F1/chat/completions?api-version=2024-10-21",
        ),
        (
            Endpoint(base_url="https://r.openai.azure.com/openai", azure=True, deployment="d", api_version="1"),
            "https://r.openai.azure.com/openai/deployments/d/chat/completions?api-version=1",
        ),
        (
            Endpoint(base_url="https://r.example/openai/deployments/e?api-version=2", azure=True, deployment="d"),
            "https://r.example/openai/deployments/e/chat/completions?api-version=2",
        ),
        (
            Endpoint(base_url="https://r.example/openai/v1", azure=True, deployment="d"),
            "https://r.example/openai/v1/chat/completions",
        ),
        (
            Endpoint(base_url="https://r.example/x?api-version=2", api_version="3"),
            "https://r.example/x/chat/completions?api-version=2",
        ),
    ],
)
def test_the_address_of_chat_completions(endpoint, asked):
    """The path is joined before the query, which is kept; Azure's deployments have their own path."""
    assert address(endpoint) == asked


def test_the_address_of_models():
    """Other paths are joined alike."""
    assert address(Endpoint(base_url="http://h/v1?a=1"), "/models") == "http://h/v1/models?a=1"


def test_an_endpoint_shows_no_secret():
    """Its repr masks key, headers and query."""
    endpoint = Endpoint(
        base_url="http://h", key=Secret("k-123"), headers={"X": Secret("h-123")}, query={"t": Secret("q-123")}
    )
    assert "123" not in repr(endpoint)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://a.example/x", "https://A.example:443/y", True),
        ("http://a.example", "http://a.example:80", True),
        ("http://a.example", "https://a.example", False),
        ("http://a.example", "http://b.example", False),
        ("http://a.example:1", "http://a.example:2", False),
        ("http://a.example.", "http://a.example", True),
    ],
)
def test_an_origin_is_scheme_host_and_port(one, other, same):
    """A key goes where all three are equal."""
    assert (origin(one) == origin(other)) is same


@pytest.mark.parametrize(
    ("host", "answer"),
    [
        ("localhost", True),
        ("a.localhost.", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("[::1]", True),
        ("10.0.0.1", False),
        ("localhost.example", False),
        ("x.example", False),
    ],
)
def test_loopback_is_known_by_name(host, answer):
    """This machine's own names and addresses."""
    assert is_loopback(host) is answer
