"""Rows to requests: what is found before the first request, and what only a row can show."""

from __future__ import annotations

import json

import pytest

from batchchat import wire
from batchchat.errors import UsageError
from batchchat.job import PromptSettings
from batchchat.prompt import RequestBuilder
from batchchat.records import Batch


def build(columns, *, parameters=None, **prompt) -> RequestBuilder:
    if not {"template", "messages_column"} & prompt.keys():
        prompt.setdefault("column", "prompt")
    return RequestBuilder(PromptSettings(**prompt), model="m", parameters=parameters or {}, columns=columns)


def first(builder: RequestBuilder, **columns):
    batch = Batch(start=1, size=1, columns={name: [value] for name, value in columns.items()})
    return next(iter(builder.tasks(batch)))


def messages(builder: RequestBuilder, **columns):
    task = first(builder, **columns)
    assert task.error is None, task.error
    return json.loads(task.request.body)["messages"]


def test_a_prompt_column_is_a_user_message():
    """The prompt column's text is the user message, as it stands."""
    assert messages(build(["prompt"]), prompt=" {{ x }} ") == [{"role": "user", "content": " {{ x }} "}]


def test_a_template_takes_columns_by_name_and_by_row():
    """Columns are variables, and all of them are in `row` too, whatever their names."""
    builder = build(["a", "b c"], template="{{ a }}/{{ row['b c'] }}")
    assert messages(builder, a="1", **{"b c": "2"})[0]["content"] == "1/2"
    assert builder.columns == ("a", "b c")


def test_only_the_columns_that_are_named_are_read():
    """The builder names the columns that its templates read, so that no other is read from the table."""
    assert build(["a", "b", "c"], template="{{ c }}", system="{{ a }}").columns == ("a", "c")


def test_using_row_as_a_whole_reads_every_column():
    """A template that goes over `row` reads all columns."""
    assert build(["a", "b"], template="{% for k in row %}{{ k }}={{ row[k] }} {% endfor %}").columns == ("a", "b")


def test_a_null_renders_as_nothing():
    """Null is an empty string in a template."""
    assert messages(build(["a"], template="x{{ a }}y"), a=None)[0]["content"] == "xy"


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ reviw }}", ["'reviw'", "did you mean 'review'"]),
        ("{{ row['Review'] }}", ["'Review'", "did you mean 'review'"]),
        ("{{ review", ["does not parse", "line 1"]),
        ("no column at all", ["names no column"]),
    ],
)
def test_a_faulty_template_is_found_before_anything_is_sent(template, words):
    """A template that cannot serve is a usage error that names the fault and the remedy."""
    with pytest.raises(UsageError) as found:
        build(["review"], template=template)
    for word in words:
        assert word in str(found.value)


def test_a_missing_prompt_column_suggests_the_nearest():
    """A wrong column name is a usage error that suggests the right one."""
    with pytest.raises(UsageError, match="did you mean 'prompt'"):
        build(["prompts", "prompt"], column="promt")


@pytest.mark.parametrize("value", [None, "", "  \n"])
def test_a_blank_prompt_is_that_rows_error(value):
    """A null or blank prompt is not sent; the row's error says so."""
    task = first(build(["prompt"]), prompt=value)
    assert task.request is None
    assert "nothing was sent" in str(task.error)


def test_a_template_that_fails_on_a_row_is_that_rows_error():
    """An expression that does not work on this value fails this row only."""
    task = first(build(["a"], template="{{ a / 2 }}"), a="text")
    assert task.request is None
    assert "TypeError" in str(task.error)


def test_templates_are_sandboxed():
    """A job file from elsewhere cannot reach into Python."""
    task = first(build(["a"], template="{{ a.__class__.__mro__ }}"), a="x")
    assert task.request is None


def test_the_system_template_comes_first():
    """--system is rendered for each row and stands before the user's message."""
    got = messages(build(["prompt", "lang"], system="Answer in {{ lang }}"), prompt="hi", lang="de")
    assert got == [{"role": "system", "content": "Answer in de"}, {"role": "user", "content": "hi"}]


def test_messages_come_as_json_or_as_a_list():
    """A messages column holds a list of messages or the JSON of one; nulls of a Parquet struct are no fields."""
    builder = build(["m"], messages_column="m")
    told = [{"role": "user", "content": "hi"}]
    assert messages(builder, m=json.dumps(told)) == told
    assert messages(builder, m=[{"role": "user", "content": "hi", "name": None}]) == told


def test_the_system_message_is_not_doubled():
    """--system goes before messages that have no system message, and only before those."""
    builder = build(["m"], messages_column="m", system="S")
    assert messages(builder, m='[{"role":"user","content":"x"}]')[0] == {"role": "system", "content": "S"}
    own = [{"role": "developer", "content": "D"}, {"role": "user", "content": "x"}]
    assert messages(builder, m=own) == own


@pytest.mark.parametrize("value", [None, "", "[]", "{}", "not json", '[{"content": "x"}]', '[{"role": "user"}]', 7])
def test_messages_that_are_none_are_that_rows_error(value):
    """A cell that holds no messages is not sent."""
    assert first(build(["m"], messages_column="m"), m=value).request is None


def test_the_request_is_what_encoding_all_fields_gives():
    """Encoding the fixed fields once changes no byte and no key."""
    parameters = {"temperature": 0.5, "max_tokens": 7, "n": 2, "stop": ["a"], "logit_bias": {"5": 1}}
    task = first(build(["prompt"], parameters=parameters), prompt="h\u00e9 \ud800")
    same = wire.make_request({"model": "m", "messages": [{"role": "user", "content": "h\u00e9 \ufffd"}], **parameters})
    assert task.request == same


def test_a_rows_key_is_its_requests():
    """Two rows with the same request have the same key; another parameter gives another."""
    one, two = first(build(["prompt"]), prompt="x"), first(build(["prompt", "b"]), prompt="x", b="y")
    other = first(build(["prompt"], parameters={"temperature": 0.0}), prompt="x")
    assert one.key == two.key != other.key


def test_the_digest_sees_every_change_of_what_is_read():
    """A batch's digest changes with the values of the columns that are read, their rows and their nulls."""
    builder = build(["prompt"])

    def digest(*values):
        return builder.digest(Batch(start=1, size=len(values), columns={"prompt": list(values)}))

    seen = {
        digest("a", "b"),
        digest("b", "a"),
        digest("ab", ""),
        digest("ab"),
        digest("a", None),
        digest("a", "\ud800"),
    }
    assert len(seen) == 6
    assert digest("a", "b") == digest("a", "b")
