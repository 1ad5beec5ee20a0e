"""CSV and TSV in: what is a record, what is a cell, what is a fault and where."""

from __future__ import annotations

import gzip
import random

import pytest
from tablework import rows_of, write

from batchchat import defaults
from batchchat.dataset import open_dataset
from batchchat.errors import InputFault, UsageError


@pytest.fixture
def table(tmp_path):
    """`table(text)` is an opened and checked table; `name` and the options of open_dataset may be given."""

    def make(content, name="t.csv", **options):
        dataset = open_dataset(write(tmp_path / name, content), **options)
        dataset.check()
        return dataset

    return make


@pytest.fixture
def fault(tmp_path):
    """`fault(text)` is the message of the usage error that opening and checking it raises."""

    def make(content, name="t.csv", **options):
        with pytest.raises(UsageError) as caught:
            open_dataset(write(tmp_path / name, content), **options).check()
        return str(caught.value).replace(str(tmp_path) + "/", "")

    return make


def test_cells_are_texts_as_they_stand_there(table):
    """Nothing becomes a number, a null or a date."""
    dataset = table('id,x\n007,NA\n1e5,\n"",null\n 2 ,2024-01-01\n')
    assert rows_of(dataset) == [("007", "NA"), ("1e5", ""), ("", "null"), (" 2 ", "2024-01-01")]
    assert dataset.count() == 4


def test_quotes_line_ends_and_emoji_in_cells(table):
    """What RFC 4180 allows inside quotes comes back as the text that was meant."""
    dataset = table('a,b\n"said ""he""","x\ny"\n"1\r\n2","3\r4"\n👩‍👩‍👧,"a,b"\n')
    assert rows_of(dataset) == [('said "he"', "x\ny"), ("1\r\n2", "3\r4"), ("👩‍👩‍👧", "a,b")]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_every_line_end_is_known(table, newline):
    """Unix, Windows and old Macintosh; the last one may be missing."""
    assert rows_of(table(newline.join(["a,b", "1,2", "3,4"]))) == [("1", "2"), ("3", "4")]


def test_quotes_inside_a_cell_are_ordinary_characters(table):
    """A cell that does not begin with a quote has no quoting."""
    assert rows_of(table('a,b\n5" pipe,x"y"z\n')) == [('5" pipe', 'x"y"z')]


def test_nul_is_a_character(table):
    """The byte 0 stays in its cell."""
    assert rows_of(table(b"a,b\nx\0y,z\n")) == [("x\0y", "z")]


@pytest.mark.parametrize(
    ("header", "row", "cells"),
    [("a,b", "1,2", 2), ("a;b", "1,5;2", 2), ("a\tb", "1,5\t2;3", 2), ("a;b,c;d", "1;2;3", 3), ('"x;y",b', "1,2", 2)],
)
def test_the_header_line_tells_the_delimiter(table, header, row, cells):
    """Comma, semicolon or tab: the one that makes the most cells of it."""
    dataset = table(f"{header}\n{row}\n")
    assert len(dataset.columns) == cells
    assert len(rows_of(dataset)[0]) == cells


def test_a_given_delimiter_wins(table):
    r"""Any one ASCII character, `\t` and `tab` spelled out too."""
    assert rows_of(table("a|b,c\n1|2\n", delimiter="|")) == [("1", "2")]
    assert rows_of(table("a\tb,c,d\n1\t2\n", delimiter="tab")) == [("1", "2")]
    assert rows_of(table("a\tb,c,d\n1\t2\n", delimiter="\\t")) == [("1", "2")]


@pytest.mark.parametrize("delimiter", ["", "ab", '"', "\n", "é"])
def test_a_delimiter_that_is_none(table, delimiter):
    """Two characters, a quote, a line end or a letter that is no ASCII."""
    with pytest.raises(UsageError, match="--delimiter"):
        table("a,b\n", delimiter=delimiter)


def test_tsv_is_separated_by_tabs(table):
    """Whatever else its header line has more of."""
    assert rows_of(table("a,b,c\td\n1\t2\n", name="t.tsv")) == [("1", "2")]


def test_blank_lines_between_records_are_no_rows(table):
    """Not before the header, not between rows, not at the end; lines of white space neither."""
    dataset = table("\n\na,b\n\n1,2\n  \n\n3,4\n\n\n")
    assert rows_of(dataset) == [("1", "2"), ("3", "4")]
    assert dataset.where(2).endswith("row 2 (line 8)")


def test_blank_lines_of_one_column_are_rows_but_at_the_end(table):
    """A spreadsheet writes an empty cell so; an editor ends files so."""
    dataset = table("a\n\nx\n\n\ny\n\n\n")
    assert rows_of(dataset) == [("",), ("x",), ("",), ("",), ("y",)]
    assert [dataset.where(row).rpartition("line ")[2] for row in range(1, 6)] == ["2)", "3)", "4)", "5)", "6)"]


def test_a_header_alone_is_a_table_without_rows(table):
    """With and without a line end behind it."""
    for text in ("a,b\n", "a,b"):
        dataset = table(text)
        assert (dataset.columns, dataset.count(), rows_of(dataset)) == (("a", "b"), 0, [])


def test_a_byte_order_mark_is_no_part_of_the_first_name(table):
    """Also where that name is quoted."""
    assert table("\ufeffa,b\n1,2\n").columns == ("a", "b")
    assert table('\ufeff"a;b",c\n1,2\n').columns == ("a;b", "c")


def test_a_header_may_have_line_ends_in_quotes(table):
    """And lines are counted on."""
    dataset = table('"a\nb",c\n1,2\n')
    assert dataset.columns == ("a\nb", "c")
    assert dataset.where(1).endswith("row 1 (line 3)")


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1252", "naïve “x”"),
        ("latin-1", "é"),
        ("utf-8-sig", "é"),
        ("gb18030", "汉字𠀀"),
        ("shift_jis", "表ソ"),
        ("big5", "許功蓋"),
        ("euc_kr", "한국어"),
        ("koi8-r", "привет"),
        ("utf-16", "é👩"),
        ("utf-16-be", "é👩"),
        ("utf-32", "é👩"),
    ],
)
def test_other_encodings(table, encoding, text):
    """One byte, many bytes, and wide ones; the delimiter is never mistaken for half a character."""
    dataset = table(f'nämé,b\n"{text}\n{text}",2\n'.replace("nämé", text).encode(encoding), encoding=encoding)
    assert dataset.columns == (text, "b")
    assert rows_of(dataset) == [(f"{text}\n{text}", "2")]


@pytest.mark.parametrize("encoding", ["utf-7", "iso2022_jp", "cp037", "rot13", "no-such", "idna"])
def test_encodings_in_which_tables_cannot_be_cut(table, encoding):
    """They are refused, not misread."""
    with pytest.raises(UsageError, match=f"--encoding {encoding}"):
        table("a,b\n1,2\n", encoding=encoding)


def test_gzip_is_read_as_what_it_holds(table):
    """Also many streams behind one another."""
    dataset = table(gzip.compress(b"a,b\n1,2\n") + gzip.compress(b"3,4\n"), name="t.csv.gz")
    assert rows_of(dataset, start=2) == [("3", "4")]


def test_a_cell_of_five_megabytes(table):
    """The csv module's own limit is lifted."""
    long = "x" * (5 << 20)
    assert rows_of(table(f'a,b\n1,"{long}\n"\n')) == [("1", long + "\n")]


# Faults: what is said, and where.


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "t.csv: is empty; it has no header line."),
        ("\n\n", "t.csv: is empty; it has no header line."),
        ("a,,c\n", "t.csv, header line: column 2 of 3 has no name"),
        ("a,b,a\n", "t.csv, header line: two columns are named 'a'. Rename one."),
        ("a,b\n1,2\n1,2,3\n", "t.csv, row 2 (line 3): has 3 cells, the header line has 2"),
        ("a,b\n1,2\n\n1\n", "t.csv, row 2 (line 4): has 1 cells, the header line has 2"),
        ('a,b\n1,"2\n2"\n1,"2\n3",4\n', "t.csv, row 2 (line 4): has 3 cells in 2 lines (is a quote not closed?)"),
        ('a,b\n1,2\n3,"4\n5,6\n', "t.csv, row 2 (line 3): a quote opens a cell here and nothing closes it"),
        ('a,b\n1,2\n"3\n4","5\n6', "t.csv, row 2 (line 4): a quote opens a cell here and nothing closes it"),
        ('a,"b\n1,2\n', "t.csv, header line: a quote opens a cell and nothing closes it"),
        (b"a,b\n1,\xe9\n", "t.csv, row 1 (line 2): the byte 0xE9 is not utf-8; where the file is in another encoding"),
        (b'a,b\n1,2\n\n"1\n\xff",2\n', "t.csv, row 2 (line 5): the byte 0xFF is not utf-8"),
        (b"a,b\xe9\n", "t.csv, header line: the byte 0xE9 is not utf-8"),
        ("a,b\n".encode("utf-16"), "t.csv: is not UTF-8 but UTF-16. Add --encoding utf-16."),
        (gzip.compress(b"a,b\n"), "t.csv: is compressed with gzip. Give it a name that ends in .gz."),
        (b"PK\x03\x04....", "t.csv: is a ZIP archive (a spreadsheet?), not text."),
    ],
)  # fmt: skip
def test_a_fault_is_named_with_its_row_and_line(fault, content, said):
    """Before the first request."""
    assert said in fault(content)


def test_a_byte_that_is_no_text_in_another_encoding(fault):
    """The encoding that was asked for is named."""
    assert "row 1 (line 2): the byte 0x81 is not cp1252" in fault(b"a,b\n1,\x81\n", encoding="cp1252")


def test_a_fault_in_utf_16(fault):
    """Half a character at the end, and half a pair in the middle."""
    text = "a,b\n1,2\n3,4\n".encode("utf-16-le")
    assert "row 2 (line 3): the bytes 34 (at 20)" in fault(text[:21], encoding="utf-16-le")
    assert "row 2 (line 3): the bytes 3D D8 (at 16)" in fault(text[:16] + b"\x3d\xd8" + text[16:], encoding="utf-16-le")


def test_a_gzip_stream_that_was_cut(fault):
    """It is said to be cut, not to be ragged."""
    packed = gzip.compress(random.Random(1).randbytes(50_000).hex().encode())
    assert "cut off" in fault(gzip.compress(b"a\n") + packed[: len(packed) // 2], name="t.csv.gz")
    assert "is no gzip file" in fault(b"a,b\n1,2\n", name="t.csv.gz")


def test_a_fault_beyond_the_limit_is_no_fault(table):
    """The first N rows are all that counts."""
    dataset = table("a,b\n1,2\n3,4\n5\n", limit=2)
    assert rows_of(dataset) == [("1", "2"), ("3", "4")]
    assert dataset.count() == 2


def test_a_fault_found_late_stops_after_the_rows_before_it(tmp_path):
    """What the check did not reach is an input fault."""
    lines = "".join(f"{row},x\n" for row in range(5000))
    dataset = open_dataset(write(tmp_path / "t.csv", f"a,b\n{lines}bad\n"))
    dataset.check(limit_bytes=100)
    assert dataset.count() is None
    seen = 0
    with pytest.raises(InputFault, match=r"row 5001 \(line 5002\): has 1 cells"):
        for batch in dataset.batches(["a"]):
            seen += batch.size
    assert seen == 5000


def test_undecodable_bytes_found_late(tmp_path):
    """Only the columns that are asked for are decoded."""
    dataset = open_dataset(write(tmp_path / "t.csv", b"a,b\n1,2\n3,\xe9\n"))
    assert rows_of(dataset, "a") == [("1",), ("3",)]
    with pytest.raises(InputFault, match=r"row 2 \(line 3\): the byte 0xE9"):
        rows_of(dataset, "b")


def test_a_file_that_changes_while_it_is_read(tmp_path):
    """Offsets that were remembered would point anywhere: the job stops."""
    path = tmp_path / "t.csv"
    dataset = open_dataset(write(path, "a,b\n1,2\n"))
    dataset.check()
    write(path, "a,b\n1,2\n3,4\n")
    with pytest.raises(InputFault, match="changed"):
        rows_of(dataset)
    path.unlink()
    with pytest.raises(InputFault, match="cannot be read"):
        rows_of(dataset)


# Batches and starts.


def many(rows, seed=3):
    """A table with everything that makes cutting hard, and its cells."""
    draw = random.Random(seed)
    cells = [["a", "b"]]
    lines = ["a,b\r\n"]
    for row in range(rows):
        text = draw.choice(['"x\ny"', '"said ""he"""', "é", "", "plain", '"1\r\n2\r3"'])
        lines.append(draw.choice(["", "", "", "\r\n", "\n"]) + f"{row},{text}\r\n")
        cells.append([str(row), text[1:-1].replace('""', '"') if text.startswith('"') else text])
    return "".join(lines), [tuple(row) for row in cells[1:]]


@pytest.mark.parametrize("checked", [True, False])
def test_a_start_anywhere_gives_the_rest(tmp_path, checked):
    """With and without remembered places, from the row that was asked for, to the last."""
    text, cells = many(3000)
    dataset = open_dataset(write(tmp_path / "t.csv", text))
    if checked:
        dataset.check()
    for start in (2500, 1, 2, 1024, 1025, 1026, 2048, 2999, 3000):
        assert rows_of(dataset, start=start) == cells[start - 1 :]
    assert rows_of(dataset, start=3001) == []


def test_boundaries_do_not_depend_on_where_reading_began(tmp_path):
    """A start in the middle of a batch gives the rest of that batch first."""
    dataset = open_dataset(write(tmp_path / "t.csv", many(3000)[0]))
    ends = [batch.start + batch.size for batch in dataset.batches(["a"])]
    assert ends == [1025, 2049, 3001]
    assert [batch.start + batch.size for batch in dataset.batches(["b"], start=700)] == ends
    assert [batch.start + batch.size for batch in dataset.batches(["b"], start=1025)] == ends[1:]


def test_huge_rows_make_small_batches(tmp_path):
    """A batch ends when it has some megabytes."""
    dataset = open_dataset(write(tmp_path / "t.csv", "a,b\n" + f"1,{'x' * (3 << 20)}\n" * 7))
    assert [batch.size for batch in dataset.batches(["a"])] == [3, 3, 1]
    assert defaults.BATCH_BYTES == 8 << 20


@pytest.mark.parametrize("name", ["t.csv.gz", "t.csv"])
def test_starts_in_compressed_and_wide_files(tmp_path, name):
    """Places are remembered in what was decoded."""
    text, cells = many(2500)
    content = gzip.compress(text.encode()) if name.endswith("gz") else text.encode("utf-16")
    dataset = open_dataset(write(tmp_path / name, content), encoding=None if name.endswith("gz") else "utf-16")
    dataset.check()
    assert rows_of(dataset, start=2100) == cells[2099:]


def test_where_a_row_begins(tmp_path):
    """The line of its first character, whatever line ends and blank lines come before it."""
    text, _ = many(2000)
    path = write(tmp_path / "t.csv", text)
    dataset = open_dataset(path)
    dataset.check()
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for row in (1, 2, 77, 1024, 1025, 1999):
        place, _, line = dataset.where(row).rpartition(" (line ")
        assert place == f"{path}, row {row}"
        assert lines[int(line[:-1]) - 1].startswith(f"{row - 1},")
