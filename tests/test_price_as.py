"""Prices of a deployment: what an endpoint calls by a name of its own costs what the model behind it costs."""

from __future__ import annotations

import json
import os
from decimal import Decimal
from pathlib import Path

import pytest

from batchchat.api.money.price import find_price
from batchchat.cli import app
from batchchat.errors import UsageError
from batchchat.job import resolve

AZURE = "https://example.openai.azure.com/openai/deployments/labels?api-version=2024-10-21"


@pytest.fixture(autouse=True)
def _plain_surroundings(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith(("OPENAI_", "BATCHCHAT_", "AZURE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text("prompt\nhello\nthere\n", encoding="utf-8")


def price(environ=None, **options):
    job = resolve({"model": "labels", **options}, input="t.csv", environ=environ or {}, need_key=False)
    return find_price(job, "labels")


@pytest.mark.parametrize("url", [AZURE, "http://127.0.0.1:9/v1", "https://gateway.example.com/v1"])
def test_a_deployment_costs_what_its_model_costs(url):
    """At Azure, a gateway or this machine the price is that of the model named, by the endpoint or its maker."""
    assert price(base_url=url) is None
    known = price(base_url=url, price_as="gpt-4o-mini")
    assert (known.tiers[0].input, known.tiers[0].output) == (Decimal("0.15"), Decimal("0.6"))


def test_a_price_that_is_told_goes_before():
    """--price is believed, also beside --price-as, which then only says the tokenizer."""
    assert price(base_url=AZURE, price_as="gpt-4o-mini", price="input=1,output=2").tiers[0].input == 1


def test_an_unknown_name_is_a_usage_error(simulator, capsys):
    """A model of which no price is known is refused with the nearest one that has a price; nothing is sent."""
    with pytest.raises(UsageError, match=r"--price-as gpt-4o-minni: .*did you mean gpt-4o-mini\?"):
        price(base_url=AZURE, price_as="gpt-4o-minni")
    sim = simulator()
    words = ["run", "t.csv", "--base-url", sim.base_url, "-m", "labels", "--price-as", "nothing-like-it"]
    assert app.entry(words) == 2
    assert "--price-as nothing-like-it" in capsys.readouterr().err
    assert sim.stats()["received"] == 0


def test_a_job_is_billed_and_bounded_by_it(simulator, capsys):
    """Bill, budget and column use it; the key and the settings do not know of it: said later, nothing is sent again."""
    sim = simulator()
    words = ["run", "t.csv", "--base-url", sim.base_url, "-m", "labels", "--max-tokens", "5", "--json", "--quiet"]
    assert app.entry(words) == 0
    assert json.loads(capsys.readouterr().out)["cost_usd"] is None
    assert app.entry([*words, "--price-as", "gpt-4o-mini", "--max-cost", "1"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["cost_usd"] > 0, summary["requests"], sim.stats()["received"]) == (True, 0, 2)
    assert app.entry(["resume", "t.completions.csv", "--price-as", "gpt-4o-mini", "--add-columns", "cost_usd"]) == 0
    last = Path("t.completions.csv").read_text(encoding="utf-8").splitlines()[-1]
    assert float(last.rpartition(",")[2]) == pytest.approx(summary["cost_usd"] / 2)


def test_an_estimate_counts_with_its_tokenizer(simulator, capsys):
    """Prompts are counted as that model's, and priced so, in a comparison too."""
    words = ["estimate", "t.csv", "--base-url", "http://127.0.0.1:9/v1", "-m", "labels", "--max-tokens", "5", "--json"]
    assert app.entry([*words, "--price-as", "gpt-4o-mini"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "o200k_base" in found["tokenizer"]
    assert found["cost_usd"]["expected"] > 0
    assert app.entry([*words, "--price-as", "gpt-4o-mini", "--compare", "labels,gpt-4o"]) == 0
    one, other = json.loads(capsys.readouterr().out)["models"]
    assert one["model"] == "labels"
    assert 0 < one["cost_usd"]["high"] < other["cost_usd"]["high"]


def test_job_files_and_profiles_say_it():
    """It stands in [job] of a job file and in a profile."""
    Path("job.toml").write_text(
        f'input = "t.csv"\n[request]\nmodel = "labels"\n[endpoint]\nbase_url = "{AZURE}"\n'
        '[job]\nprice_as = "gpt-4o-mini"\n',
        encoding="utf-8",
    )
    assert resolve({}, input="job.toml", environ={}, need_key=False).money.price_as == "gpt-4o-mini"
    Path("batchchat").mkdir()
    Path("batchchat/config.toml").write_text('[profiles.work]\nprice_as = "gpt-4o"\n', encoding="utf-8")
    environ = {"XDG_CONFIG_HOME": str(Path.cwd())}
    assert price(environ, base_url=AZURE, profile="work").tiers[0].input == Decimal("2.5")


def test_a_server_on_this_machine_is_looked_up_in_no_list(monkeypatch):
    """The list of prices is slow to load, and knows no server on loopback: it is left alone."""
    monkeypatch.setattr("batchchat.api.money.price.price_for", lambda *_, **__: pytest.fail("the list was asked"))
    environ = {"OPENAI_API_KEY": "sk-none"}
    for host in ("127.0.0.1:8000", "localhost", "[::1]:1234"):
        job = resolve({"model": "labels", "base_url": f"http://{host}/v1"}, input="t.csv", environ=environ)
        assert find_price(job, "labels") is None
