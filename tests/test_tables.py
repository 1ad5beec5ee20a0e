"""The accepted formats, and byte text."""

from __future__ import annotations

import pytest

from batchchat.errors import UsageError
from batchchat.tables import SUFFIXES, Dialect, beside, find_format, require_format


@pytest.mark.parametrize(
    ("path", "suffix"),
    [
        ("a.csv", ".csv"),
        ("A.CSV.GZ", ".csv.gz"),
        ("x/b.jsonl", ".jsonl"),
        ("a.b.parquet", ".parquet"),
        ("a.tsv.gz", ".tsv.gz"),
    ],
)
def test_a_suffix_names_a_format(path, suffix):
    """In upper or lower case, with .gz for text."""
    assert find_format(path).suffix == suffix


@pytest.mark.parametrize("path", ["a", "a.txt", "csv", "a.parquet.gz", "a.xlsx", "a.csv.zip", "a.json"])
def test_other_names_do_not(path):
    """The message lists what does."""
    assert find_format(path) is None
    with pytest.raises(
        UsageError, match=r"a thing: unknown suffix\. The table formats are \.csv, \.tsv, \.parquet, \.jsonl"
    ):
        require_format(path, "a thing")
    assert len(SUFFIXES) == 7


def test_a_name_beside():
    """Before the suffix, behind a folder's name."""
    assert beside("a/b.csv.gz", "completions") == "a/b.completions.csv.gz"
    assert beside("a/b.CSV", "x") == "a/b.x.CSV"
    assert beside("a/folder/", "x") == "a/folder.x"


def test_byte_text_is_one_character_a_byte():
    """Decoded and encoded cell by cell."""
    dialect = Dialect(codec="gb18030")
    text = "汉字".encode("gb18030").decode("latin-1")
    assert dialect.decode(text) == "汉字"
    assert dialect.encode("汉字") == text
    assert dialect.to_file(text) == "汉字".encode("gb18030")
    assert Dialect(outer="utf-16-le").to_file("é".encode().decode("latin-1")) == "é".encode("utf-16-le")
