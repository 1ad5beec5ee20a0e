"""Answers that are errors: each of the API's, and what the servers around it make of them."""

from __future__ import annotations

import json

import pytest
from fakes import error
from hypothesis import given
from hypothesis import strategies as st

from batchchat.errors import (
    BadRequest,
    ContentRefused,
    ContextTooLong,
    Forbidden,
    JobStopped,
    KeyRefused,
    ModelMissing,
    QuotaExhausted,
    RateLimited,
    RequestError,
    RequestTooLarge,
    ServerError,
    UnreadableReply,
)
from batchchat.records import RateLimits
from batchchat.wire import error_from
from batchchat.wire.errors import error_in

JSON = {"content-type": "application/json"}


def judge(status, body=b"", **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return error_from(status, {**JSON, **named}, body if isinstance(body, bytes) else json.dumps(body).encode())


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadRequest),
        (401, KeyRefused),
        (402, QuotaExhausted),
        (403, Forbidden),
        (404, ModelMissing),
        (405, BadRequest),
        (406, BadRequest),
        (408, ServerError),
        (409, ServerError),
        (410, BadRequest),
        (411, BadRequest),
        (413, BadRequest),
        (415, BadRequest),
        (418, BadRequest),
        (422, BadRequest),
        (425, ServerError),
        (429, RateLimited),
        (431, BadRequest),
        (451, BadRequest),
        (499, BadRequest),
        (500, ServerError),
        (501, ServerError),
        (502, ServerError),
        (503, ServerError),
        (504, ServerError),
        (520, ServerError),
        (524, ServerError),
        (529, RateLimited),
        (599, ServerError),
        (600, ServerError),
        (300, BadRequest),
        (302, BadRequest),
        (304, BadRequest),
    ],
)
def test_a_status_alone(status, kind):
    """Without a body to go by, the status decides."""
    found = judge(status)
    assert type(found) is kind
    if isinstance(found, RequestError):
        assert found.status == status
        assert found.message


@pytest.mark.parametrize(
    ("status", "kind"), [(400, BadRequest), (404, BadRequest), (429, RateLimited), (500, ServerError), (403, Forbidden)]
)
def test_an_error_object_is_read(status, kind):
    """Message, type, code and param of the error object, and the endpoint's id."""
    found = judge(status, error("no good", kind="some_type", code="some_code", param="n"), x_request_id="r1")
    assert type(found) is kind
    assert (found.message, found.type, found.code, found.param) == ("no good", "some_type", "some_code", "n")
    assert (found.request_id, found.retry_after, found.limits, found.billed) == ("r1", None, None, False)
    assert str(found) == f"some_type: no good (HTTP {status})"


def test_an_error_without_a_type_is_called_what_it_is():
    """The `error` column has a type in any case."""
    assert str(judge(400, error("no good"))) == "bad_request: no good (HTTP 400)"


def test_limits_and_waits_come_along():
    """The limiter learns from errors, too."""
    found = judge(429, error("slow"), retry_after="2", x_ratelimit_remaining_requests="0")
    assert (found.retry_after, found.limits) == (2, RateLimits(requests_remaining=0))
    assert judge(500, retry_after_ms="1500").retry_after == 1.5


BILLING = [
    "insufficient_quota",
    "credit_balance_exhausted",
    "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded",
    "organization_usage_limit_exceeded",
    "enforced_spend_limit_reached",
    "billing_error",
    "billing_hard_limit_reached",
    "billing_not_active",
    "account_deactivated",
    "insufficient_balance",
    "insufficient_credits",
    "insufficient_user_quota",
    "payment_required",
]


@pytest.mark.parametrize("word", BILLING)
@pytest.mark.parametrize("status", [429, 403, 400])
def test_the_billing_kinds_stop_the_job(word, status):
    """By code, by type and by `error_code`; a Retry-After changes nothing."""
    for body in (
        error("m", code=word),
        error("m", kind=word),
        {"error": {"message": "m", "error_code": word}},
        {"error": {"message": "m", "details": {"error_code": word}}},
        {"type": "error", "error": {"type": word, "message": "m"}},
    ):
        assert type(judge(status, body)) is QuotaExhausted
    assert type(judge(status, error("m", code=word), retry_after="1")) is QuotaExhausted


@pytest.mark.parametrize(
    "message",
    [
        "You exceeded your current quota, please check your plan and billing details.",
        "Insufficient Balance",
        "Your credit balance is too low to access the API.",
        "insufficient credits",
        "You have reached your specified API usage limits: spend limit",
    ],
)
def test_where_the_code_is_null_the_well_known_wording_tells(message):
    """A spent quota without a code stops the job as well."""
    assert type(judge(429, error(message))) is QuotaExhausted
    assert type(judge(403, error(message))) is QuotaExhausted


def test_a_rate_in_the_words_of_a_spent_quota_is_a_rate():
    """Gemini says "quota" and when to come back; OpenAI's own rate code says what it is."""
    words = "You exceeded your current quota, please check your plan and billing details. Please retry in 34.5s."
    found = judge(429, [{"error": {"code": 429, "message": words, "status": "RESOURCE_EXHAUSTED"}}])
    assert (type(found), found.retry_after) == (RateLimited, 34.5)
    assert type(judge(429, error("You exceeded your current quota"), retry_after="3")) is RateLimited
    assert type(judge(429, error("insufficient quota", code="rate_limit_exceeded"))) is RateLimited
    assert type(judge(429, error("m", code="quota_exceeded"), retry_after="3")) is RateLimited
    assert type(judge(429, error("m", code="quota_exceeded"))) is QuotaExhausted


def test_wording_does_not_make_a_server_error_a_matter_of_money():
    """A 500 that mentions a plan is a 500; with a billing code it is what the code says."""
    assert type(judge(500, error("check your plan and billing"))) is ServerError
    assert type(judge(500, error("m", code="insufficient_quota"))) is QuotaExhausted


@pytest.mark.parametrize(
    "said",
    [
        {"code": "rate_limit_exceeded"},
        {"kind": "requests", "code": "rate_limit_exceeded"},
        {"kind": "tokens"},
        {"code": "slow_down"},
        {"code": "429"},
        {},
    ],
)
def test_the_rate_kinds_are_paced(said):
    """429 of the rate kind; `slow_down` keeps its code, since concurrency is to be cut."""
    found = judge(429, error("Rate limit reached: Limit 10, Used 10, Requested 1.", **said))
    assert type(found) is RateLimited
    assert found.code == said.get("code")


@pytest.mark.parametrize(
    "message",
    [
        "Request too large for gpt-4 on tokens per min (TPM): Limit 30000, Requested 36278.",
        "The request is larger than the limit",
        "Limit: 30,000, Requested: 36,278",
        "limit 30000, requested ~30001",
        "This is too large for the model",
    ],
)
def test_a_request_above_the_limit_is_the_rows_error(message):
    """Waiting would never help."""
    assert type(judge(429, error(message, code="rate_limit_exceeded"), retry_after="1")) is RequestTooLarge


@pytest.mark.parametrize(
    "message", ["Limit 30000, Requested 30000", "Limit 30000, Used 29000, Requested 2000", "Requested 5", "Limit 5"]
)
def test_a_request_within_the_limit_is_paced(message):
    """It fits, but not now."""
    assert type(judge(429, error(message))) is RateLimited


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ("Please try again in 20s.", 20),
        ("Please try again in 6m0s. Visit", 360),
        ("try again in 320ms", 0.32),
        ("Please retry after 27 seconds.", 27),
        ("Try again in 2 minutes and be patient", 120),
        ("retry in 1 hour", 3600),
        ("retry after 500 milliseconds", 0.5),
        ("try again later", None),
        ("retry in 5 requests", None),
    ],
)
def test_without_a_header_the_wording_says_how_long_to_wait(message, seconds):
    """Some endpoints say it in words only."""
    assert judge(429, error(message)).retry_after == seconds
    assert judge(429, error(message), retry_after="1").retry_after == 1


def test_an_overloaded_endpoint_is_paced():
    """503 with Retry-After, 503 by code, 529."""
    assert type(judge(503, retry_after="3")) is RateLimited
    assert type(judge(503, retry_after_ms="3")) is RateLimited
    for word in ("server_is_overloaded", "overloaded_error", "slow_down", "engine_overloaded"):
        assert type(judge(503, error("m", code=word))) is RateLimited
    assert type(judge(529, error("m", kind="overloaded_error"))) is RateLimited
    assert type(judge(500, retry_after="3")) is ServerError


@pytest.mark.parametrize(("status", "billed"), [(500, False), (502, False), (504, True), (524, True), (408, False)])
def test_a_gateway_that_gave_up_may_have_been_billed(status, billed):
    """Behind a 504 the model may have answered."""
    assert judge(status).billed is billed


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (404, {"code": "model_not_found", "message": "The model `x` does not exist or you do not have access to it."}),
        (404, {"message": "The model `x` does not exist.", "type": "NotFoundError", "code": 404}),
        (404, {"message": 'model "x" not found, try pulling it first', "type": "api_error"}),
        (404, {"code": "invalid_model", "message": "m"}),
        (404, {"code": "model_not_available", "message": "m"}),
        (404, {"code": "unknown_model", "message": "m"}),
        (404, {"message": "no such model"}),
        (404, {"message": "unknown model x"}),
        (404, {"message": "The deployment x doesn't exist"}),
        (404, {"message": "This model is not available in your region"}),
        (404, {"message": "The model `x` is one that you do not have access to"}),
        (404, {"message": "No healthy deployments available for x"}),
        (404, {"code": "DeploymentNotFound", "message": "The API deployment for this resource does not exist."}),
        (404, {"message": "No endpoints found for x/y.", "code": 404}),
        (403, {"code": "model_not_found", "message": "Project does not have access to model `x`"}),
        (400, {"code": "model_not_found", "message": "m"}),
        (400, {"message": "x/y is not a valid model ID", "code": 400}),
        (400, {"message": "Invalid model name passed in model=x"}),
    ],
)
def test_a_missing_model_stops_the_job(status, said):
    """Whatever the server calls it."""
    found = judge(status, {"error": said})
    assert type(found) is ModelMissing
    assert str(found).startswith("the endpoint does not have this model (HTTP ")
    assert said["message"] in str(found)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"404 page not found",
        b"<html><title>404 Not Found</title></html>",
        {"detail": "Not Found"},
        {"error": "Not Found", "path": "/v1"},
        {"error": {"message": "Invalid URL (POST /v1/foo)", "type": "invalid_request_error"}},
        {"error": {"code": "404", "message": "Resource not found"}},
        {"error": {"code": 404, "message": "File Not Found", "type": "not_found_error"}},
        {"message": "no Route matched with those values"},
        {"error": {"message": "Unknown request URL: POST /chat. Please check the URL for typos"}},
    ],
)
def test_a_missing_path_stops_the_job(body):
    """The message says where it looked, and what is usual."""
    found = error_from(
        404, JSON, body if isinstance(body, bytes) else json.dumps(body).encode(), url="http://h/chat/completions"
    )
    assert type(found) is ModelMissing
    assert "nothing is at http://h/chat/completions; check the base URL (most end in /v1) (HTTP 404" in str(found)


@pytest.mark.parametrize("message", ["No such file: file-1", "No endpoints found that support image input", "gone"])
def test_another_404_is_the_rows_error(message):
    """Something that only this row asked for is not there."""
    assert type(judge(404, error(message))) is BadRequest


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (400, {"code": "context_length_exceeded", "message": "m"}),
        (400, {"code": "context_window_exceeded", "message": "m"}),
        (400, {"message": "the request exceeds the available context size"}),
        (400, {"message": "Input exceeds the maximum number of tokens"}),
        (400, {"message": "too many input tokens"}),
        (400, {"message": "it does not fit into the context window"}),
        (400, {"message": "This model's maximum context length is 8192 tokens, however you requested 9000"}),
        (400, {"type": "exceed_context_size_error", "message": "m", "n_ctx": 1}),
        (400, {"message": "prompt is too long: 210000 tokens > 200000 maximum", "type": "invalid_request_error"}),
        (403, {"message": "Input validation error: context length exceeded"}),
        (413, {"message": "too many tokens"}),
        (422, {"message": "input tokens would exceed the limit"}),
    ],
)
def test_a_context_that_is_too_long(status, said):
    """It is the row's error, by its own name."""
    assert type(judge(status, {"error": said})) is ContextTooLong


@pytest.mark.parametrize(
    "said",
    [
        {"code": "content_filter", "message": "The response was filtered"},
        {"code": "content_policy_violation", "message": "m"},
        {"code": "content_filtered", "message": "m"},
        {"code": "data_inspection_failed", "message": "m"},
        {"code": "moderation_blocked", "message": "m"},
        {"code": "400", "message": "m", "metadata": {"type": "content_filter"}},
        {"code": "400", "message": "m", "innererror": {"code": "ResponsibleAIPolicyViolation"}},
    ],
)
def test_a_content_filter_in_front_of_the_model(said):
    """Azure's is a 400; no completion came with it."""
    found = judge(400, {"error": said})
    assert type(found) is ContentRefused
    assert found.completion is None


@pytest.mark.parametrize(
    ("status", "said", "kind"),
    [
        (400, "true", ServerError),
        (422, " True ", ServerError),
        (403, "true", ServerError),
        (500, "false", BadRequest),
        (429, "false", BadRequest),
        (503, "false", BadRequest),
        (409, "FALSE", BadRequest),
        (400, "false", BadRequest),
        (500, "true", ServerError),
        (429, "true", RateLimited),
        (500, "maybe", ServerError),
        (401, "true", KeyRefused),
        (402, "true", QuotaExhausted),
        (404, "true", ModelMissing),
    ],
)
def test_x_should_retry_is_obeyed(status, said, kind):
    """Both ways; what stops the job stops it all the same."""
    assert type(judge(status, x_should_retry=said)) is kind


def test_what_was_obeyed_keeps_its_name():
    """The `error` column says what it was, not what was made of it."""
    assert str(judge(500, error("oops"), x_should_retry="false")) == "server_error: oops (HTTP 500)"
    assert str(judge(400, error("oops"), x_should_retry="true")) == "bad_request: oops (HTTP 400)"


def test_what_a_person_reads_when_the_job_stops():
    """What is wrong, with status and code, and what the endpoint said."""
    assert str(judge(401, error("Incorrect API key", code="invalid_api_key"))) == (
        "the endpoint refuses the key (HTTP 401, invalid_api_key): Incorrect API key"
    )
    assert str(judge(404)) == (
        "nothing is at this path of the endpoint; check the base URL (most end in /v1) (HTTP 404): Not Found"
    )
    assert str(judge(402)) == "the account has no money or quota left (HTTP 402): Payment Required"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "Internal Server Error"),
        (b"   ", "Internal Server Error"),
        (b"upstream\n  connect\terror", "upstream connect error"),
        (b"<html><head><title>500 &amp; more</title><style>x{}</style></head><body>b</body></html>", "500 & more"),
        (b"<!DOCTYPE html><style>x{}</style><script>y()</script><body>Down <b>for</b> now", "Down for now"),
        (b"<html><title></title><h1 class=a>Oh\nno</h1>", "Oh no"),
        (b'"just text"', "just text"),
        (b"[]", "Internal Server Error"),
        (b"{}", "Internal Server Error"),
        (b"null", "Internal Server Error"),
        ({"error": "text"}, "text"),
        ({"error": {"error": "inner"}}, "inner"),
        ({"error": {"msg": "short"}}, "short"),
        ({"error": {"detail": "more"}}, "more"),
        ({"message": "plain", "type": "t"}, "plain"),
        ({"detail": "text"}, "text"),
        ({"detail": [{"loc": ["body", "n"], "msg": "too big", "type": "t"}, {"msg": "b"}, "c"]}, "n: too big; b; c"),
        ({"errors": [{"code": 1, "message": "a"}]}, "a"),
        ({"error": {"code": "some_code"}}, "some_code"),
        ({"error": {"message": {"odd": 1}}}, "{'odd': 1}"),
        ({"error": {"message": "half \ud83d"}}, "half \ufffd"),
        (b"\xff\xfe", "\ufffd\ufffd"),
    ],
)
def test_messages_are_found_in_any_shape(body, message):
    """Error objects of all servers, lists, texts, pages and nothing."""
    assert judge(500, body).message == message


def test_an_unknown_status_without_a_body_says_so():
    """There is always a message."""
    assert judge(599).message == "no message"


@pytest.mark.parametrize("body", [b"x" * 100_000, b"<html>" + b"y" * 5000, error("z " * 1000)])
def test_long_messages_are_shortened(body):
    """About 500 characters of whatever came."""
    message = judge(500, body).message
    assert 400 < len(message) <= 500
    assert message.endswith("…")


@pytest.mark.parametrize(
    "said",
    [
        "bad key hunter2hunter2",
        "bad Authorization: Bearer abcdefghijkl",
        "Incorrect API key provided: sk-proj-abcdefghijklmnop",
        "x" * 495 + "hunter2hunter2",
    ],
)
def test_no_message_shows_a_key(said):
    """Neither the one that was sent, nor anything that looks like one, in any field."""
    for status in (400, 401, 429, 500):
        body = json.dumps({"error": {"message": said, "type": said, "code": said, "param": said}}).encode()
        for sent in (body, said.encode(), b"<title>" + said.encode()):
            found = error_from(status, JSON, sent, hide=("hunter2hunter2", ""))
            shown = str(found) + repr(vars(found))
            assert "hunter2" not in shown
            assert "abcdefghijkl" not in shown


@pytest.mark.parametrize("code", ["request_too_large", "tokens_per_request_exceeded"])
def test_a_code_may_say_that_the_request_is_too_large(code):
    """Whatever its message says."""
    assert type(judge(429, error("m", code=code))) is RequestTooLarge


def test_an_error_code_is_a_code():
    """Some call it `error_code`."""
    assert judge(400, {"error": {"message": "m", "error_code": "c"}}).code == "c"


@pytest.mark.parametrize(("length", "shown"), [(500, 500), (501, 500)])
def test_a_message_is_shortened_only_where_it_is_too_long(length, shown):
    """500 characters are shown whole."""
    message = judge(500, error("x" * length)).message
    assert len(message) == shown
    assert message.endswith("…") is (length > 500)


def test_long_codes_are_cut():
    """A code is a word, whatever comes."""
    assert len(judge(400, error("m", code="c" * 1000)).code) == 200


def test_odd_types_of_fields_are_taken_as_text():
    """Codes may be numbers, params lists."""
    found = judge(400, {"error": {"message": "m", "code": 7, "type": ["x"], "param": {"a": 1}}})
    assert (found.code, found.type, found.param) == ("7", None, None)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(["error", "message", "code", "type", "detail", "errors", "loc", "msg", "innererror", "status"])
odd_objects = st.dictionaries(NAMES, json_values | st.dictionaries(NAMES, json_values, max_size=4), max_size=5)


@given(st.integers(300, 599), odd_objects | json_values | st.lists(odd_objects, max_size=2), st.binary(max_size=20))
def test_any_answer_is_one_of_our_errors(status, value, junk):
    """Whatever came, it is a value: nothing is raised, and the message can be written."""
    for body in (json.dumps(value).encode(), junk, b"<html>" + junk):
        found = error_from(status, JSON, body)
        assert isinstance(found, RequestError | JobStopped)
        assert str(found).encode()
        assert len(str(found)) < 1200


@pytest.mark.parametrize(
    ("said", "kind", "status"),
    [
        ({"type": "invalid_request_error", "code": "model_not_found"}, ModelMissing, None),
        ({"type": "invalid_request_error", "code": "rate_limit_exceeded"}, RateLimited, 200),
        ({"type": "invalid_request_error", "code": "context_length_exceeded"}, ContextTooLong, 200),
        ({"type": "invalid_request_error", "code": "content_policy_violation"}, ContentRefused, 200),
        ({"type": "invalid_request_error"}, BadRequest, 200),
        ({"code": 400}, BadRequest, 200),
        ({"code": "429"}, RateLimited, 200),
        ({"code": 599}, ServerError, 200),
        ({"code": 399}, UnreadableReply, 200),
        ({"code": 600}, UnreadableReply, 200),
        ({"code": "5000"}, UnreadableReply, 200),
        ({"code": "service_unavailable"}, ServerError, 200),
        ({"type": "server_error"}, ServerError, 200),
        ({"message": "Insufficient balance"}, QuotaExhausted, None),
    ],
)
def test_an_error_object_in_a_200_is_judged_by_the_word_that_says_most(said, kind, status):
    """The type of many errors says less than their code; a code may be a status."""
    found = error_in({"message": "no", **said}, JSON)
    assert type(found) is kind
    assert status is None or found.status == status


def test_an_error_object_in_a_200_is_quoted_as_what_it_is():
    """Where nobody knows what it means, the message says that it stood in the place of an answer."""
    assert error_in({"message": "strange"}, JSON).message == "an error instead of an answer: strange"
    assert error_in({"message": "no", "code": "rate_limit_exceeded"}, JSON).message == "no"


def test_a_wait_in_words_is_for_refusals_only():
    """What else fails is tried again by our own schedule."""
    assert error_in({"message": "try again in 7s", "type": "server_error"}, JSON).retry_after is None
    assert error_in({"message": "try again in 7s", "code": "rate_limit_exceeded"}, JSON).retry_after == 7


def test_only_a_503_is_paced_because_it_names_a_wait():
    """A gateway's 504 with Retry-After has failed, not refused."""
    assert type(judge(503, retry_after="3")) is RateLimited
    found = judge(504, retry_after="3")
    assert (type(found), found.retry_after) == (ServerError, 3)


@pytest.mark.parametrize("status", [400, 403, 429])
def test_an_empty_account_is_known_by_its_wording(status):
    """Whatever status it comes with."""
    assert type(judge(status, {"error": {"message": "Insufficient account balance"}})) is QuotaExhausted


@pytest.mark.parametrize("said", ["yes", "0", "1", "", "truth", "no", "falsely"])
def test_x_should_retry_that_is_neither_changes_nothing(said):
    """Only `true` and `false` say something."""
    assert type(judge(400, x_should_retry=said)) is BadRequest
    assert type(judge(500, x_should_retry=said)) is ServerError


def test_of_a_list_of_errors_the_first_is_told():
    """Gemini wraps its error object in a list."""
    assert judge(400, [{"error": {"message": "first"}}, {"error": {"message": "second"}}]).message == "first"
    assert judge(400, [{"error": {"message": "first"}}, 7]).message == "first"


@pytest.mark.parametrize(
    ("finding", "message"),
    [
        ({"loc": ["body", "aaa", 0], "msg": "too long"}, "aaa.0: too long"),
        ({"loc": ["body", "x"], "type": "missing"}, "x: missing"),
        ({"loc": ["body"], "message": "no"}, "no"),
        ({"loc": "body", "msg": "no"}, "no"),
    ],
)
def test_a_finding_of_a_validation_names_its_field(finding, message):
    """As FastAPI's servers list them; the body itself is no field."""
    assert judge(422, {"detail": [finding]}).message == message


@pytest.mark.parametrize(
    ("page", "message"),
    [
        (b"<HTML><TITLE\nlang=en>Bad\ngateway</TITLE\n><p>x", "Bad gateway"),
        (b"<html><STYLE>\na { b }\n</STYLE><Script>\nc()\n</sCRIPT>Down for repair<!-- \nd\n -->", "Down for repair"),
        (b"<html><title> \n</title><h1>No</h1><p>way</p>", "No way"),
    ],
)
def test_the_words_of_a_page_are_found_however_it_is_written(page, message):
    """Upper case, tags over several lines, a title that is blank."""
    assert judge(502, page).message == message
