"""CSV and TSV out: every record as it was, and the result cells behind it."""

from __future__ import annotations

import csv
import gzip
import io

import pytest
from tablework import COLUMNS, TEXT, constant, lookup, through, write

from batchchat.dataset import open_dataset
from batchchat.output import publish
from batchchat.records import ResultColumn


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("id,x\n007,NA\n,\n", "id,x,completion\n007,NA,ok\n,,ok\n"),
        ('"id",x\r\n"007",""\r\n', '"id",x,completion\r\n"007","",ok\r\n'),
        ("a,b\r1,2\r", "a,b,completion\r1,2,ok\r"),
        ("a,b\n1,2", "a,b,completion\n1,2,ok"),
        ("a,b\n1,2\r\n3,4\n", "a,b,completion\n1,2,ok\r\n3,4,ok\n"),
        ('a,b\n"x\r\ny","é ""q"""\n', 'a,b,completion\n"x\r\ny","é ""q""",ok\n'),
        ("\ufeffa;b\n1,5;2\n", "\ufeffa;b;completion\n1,5;2;ok\n"),
        ("\n\na,b\n\n1,2\n  \n3,4\n\n\n", "\n\na,b,completion\n\n1,2,ok\n  \n3,4,ok\n\n\n"),
        ("a\n\nx\n\n\n", "a,completion\n,ok\nx,ok\n\n\n"),
        ("a,b", "a,b,completion"),
        ("a,b\n", "a,b,completion\n"),
        ('a,b\n 1 , "2"\n5" x,\n', 'a,b,completion\n 1 , "2",ok\n5" x,,ok\n'),
        ("a,b\n\0,👩\n", "a,b,completion\n\0,👩,ok\n"),
    ],
)
def test_records_pass_through(tmp_path, given, expected):
    """Quoting, line ends, blank lines, byte-order mark, white space: all stay."""
    path = write(tmp_path / "t.csv", given)
    assert through(path, tmp_path / "o.csv", TEXT, constant("ok")) == expected.encode()


def test_result_cells_are_quoted_where_they_need_it(tmp_path):
    """A null is nothing, an empty text is two quotes."""
    path = write(tmp_path / "t.csv", "a;b\n1;2\n")
    for value, cell in [
        (None, ""), ("", '""'), ("x", "x"), ("x;y", '"x;y"'), ("x,y", "x,y"), ('"', '""""'), ("x\ny", '"x\ny"'),
        ("x\ry", '"x\ry"'), (" x ", " x "), ("\0", "\0"), ("=1+1", "=1+1"),
    ]:  # fmt: skip
        found = through(path, tmp_path / "o.csv", TEXT, constant(value))
        assert found == f"a;b;completion\n1;2;{cell}\n".encode()


def test_kinds_of_result_columns(tmp_path):
    """Numbers as digits, lists as JSON."""
    columns = [ResultColumn(name=name, kind=name) for name in ("string", "strings", "int64", "float64")]
    values = {"string": ["é"], "strings": [["a", None, '"é"']], "int64": [-5], "float64": [0.1]}
    path = write(tmp_path / "t.csv", "a\nx\n")
    found = through(path, tmp_path / "o.csv", columns, lambda *_: values)
    assert found.decode() == 'a,string,strings,int64,float64\nx,é,"[""a"", null, ""\\""é\\""""]",-5,0.1\n'
    nulls = through(path, tmp_path / "o.csv", columns, lambda *_: {key: [None] for key in values})
    assert nulls.decode().endswith("\nx,,,,\n")


def test_safe_csv_keeps_spreadsheets_from_running_cells(tmp_path):
    """Only when it is asked for, only result cells, only in CSV and TSV."""
    path = write(tmp_path / "t.csv", "a\n=1\n")
    dataset = open_dataset(path)
    for value, cell in [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@x", "'@x"),
        ("\t=1", "'\t=1"),
        ("\uff1d1", "'\uff1d1"),
        ("1=", "1="),
        ("", '""'),
    ]:
        publish(dataset, str(tmp_path / "o.csv"), TEXT, constant(value), safe_csv=True)
        assert (tmp_path / "o.csv").read_text() == f"a,completion\n=1,{cell}\n"
    publish(dataset, str(tmp_path / "o.jsonl"), TEXT, constant("=1"), safe_csv=True)
    assert (tmp_path / "o.jsonl").read_text() == '{"a": "=1", "completion": "=1"}\n'


def test_a_surrogate_becomes_the_replacement_character(tmp_path):
    """And does not stop a publish; two halves are the character that they make."""
    path = write(tmp_path / "t.csv", "a\nx\n")
    assert "\ufffd!" in through(path, tmp_path / "o.csv", TEXT, constant("\ud800!")).decode()
    assert "é👩" in through(path, tmp_path / "o.csv", TEXT, constant("é\ud83d\udc69")).decode()


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "utf-16-be", "gb18030", "utf-32"])
def test_the_output_has_the_encoding_of_the_input(tmp_path, encoding):
    """Its byte-order mark too."""
    text = 'a,é\n"x\n“y”",2\n'
    path = write(tmp_path / "t.csv", text.encode(encoding))
    found = through(path, tmp_path / "o.csv", TEXT, constant("naïve"), encoding=encoding)
    assert found == 'a,é,completion\n"x\n“y”",2,naïve\n'.encode(encoding)


def test_what_an_encoding_lacks_is_escaped(tmp_path):
    """A paid answer is not lost to an old encoding."""
    path = write(tmp_path / "t.csv", "a\né\n".encode("cp1252"))
    found = through(path, tmp_path / "o.csv", TEXT, constant("€ 👩"), encoding="cp1252")
    assert found == "a,completion\né,€ \\U0001f469\n".encode("cp1252")


def test_bytes_that_decode_to_the_same_character_stay_different(tmp_path):
    """In cp932 three codes are one character; decoding and encoding would make them one."""
    rows = b"".join(b"%d,%s\n" % (n, code) for n, code in enumerate([b"\x81\xca", b"\xfa\x54", b"\xee\xf9"]))
    path = write(tmp_path / "t.csv", b"a,b\n" + rows)
    found = through(path, tmp_path / "o.csv", TEXT, constant("x"), encoding="cp932")
    assert found == b"a,b,completion\n" + rows.replace(b"\n", b",x\n")


def test_another_delimiter_is_written_anew(tmp_path):
    """The cells stay what they were, empty ones bare."""
    path = write(tmp_path / "t.csv", 'a,b,c\r\n007,"x,y",\r\n"t\tu",2,""\r\n')
    found = through(path, tmp_path / "o.tsv", TEXT, constant(""))
    assert found == b'a\tb\tc\tcompletion\r\n007\tx,y\t\t""\r\n"t\tu"\t2\t\t""\r\n'
    path = write(tmp_path / "t.tsv", "a\tb\n1,5\t2\n")
    assert through(path, tmp_path / "o.csv", TEXT, constant("x")) == b'a,b,completion\n"1,5",2,x\n'


def test_tsv_stays_tsv(tmp_path):
    """Byte for byte, as CSV does."""
    path = write(tmp_path / "t.tsv", "a\tb\r\n1,5\t'2'\r\n")
    assert through(path, tmp_path / "o.tsv", TEXT, constant("x\ty")) == b"a\tb\tcompletion\r\n1,5\t'2'\t\"x\ty\"\r\n"


def test_gzip_out_is_the_same_bytes_every_time(tmp_path):
    """Without a name and a time in it; in and out of gzip, the records are the same."""
    path = write(tmp_path / "t.csv.gz", gzip.compress(b"a,b\n1,2\n"))
    one = through(path, tmp_path / "one.csv.gz", TEXT, constant("x"))
    two = through(path, tmp_path / "two.csv.gz", TEXT, constant("x"))
    assert one == two
    assert gzip.decompress(one) == through(path, tmp_path / "o.csv", TEXT, constant("x")) == b"a,b,completion\n1,2,x\n"


def test_jsonl_to_csv(tmp_path):
    """Numbers keep their digits, nested values are JSON, null and missing are nothing, an empty text is two quotes."""
    lines = '{"a": 1.50, "b": "x,y"}\n{"a": 12345678901234567890123, "b": null, "c": [1.0, {"d": true}]}\n{"b": ""}\n'
    path = write(tmp_path / "t.jsonl", lines)
    assert through(path, tmp_path / "o.csv", TEXT, constant("ok")).decode() == (
        'a,b,c,completion\n1.50,"x,y",,ok\n12345678901234567890123,,"[1.0, {""d"": true}]",ok\n,"",,ok\n'
    )


def test_other_readers_find_the_results(tmp_path):
    """A whole table of 3,000 rows, read back with the csv module."""
    text = "id,text\r\n" + "".join(f'{n},"a ""{n}""\n"\r\n' for n in range(3000))
    found = through(write(tmp_path / "t.csv", text), tmp_path / "o.csv")
    rows = list(csv.DictReader(io.StringIO(found.decode(), newline="")))
    expected = lookup(1, 3000)
    assert [row["text"] for row in rows] == [f'a "{n}"\n' for n in range(3000)]
    for column in COLUMNS:
        values = ["" if value is None else str(value) for value in expected[column.name]]
        assert [row[column.name] for row in rows] == values
