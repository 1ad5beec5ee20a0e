"""Images of rows: sent with the prompt, checked before, never read from elsewhere, never many in memory."""

from __future__ import annotations

import asyncio
import base64
import csv
import json
import os
import shutil
import threading
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fakes import ScriptedServer, completion, http

import batchchat
from batchchat.api import run_job, show_requests
from batchchat.api.endpoint.images import with_images
from batchchat.api.run.signals import Switch
from batchchat.cli import app
from batchchat.errors import BadRow, UsageError
from batchchat.events import Observer
from batchchat.job import resolve
from batchchat.prompt import RequestBuilder, filled
from batchchat.prompt.images import Images
from batchchat.records import Batch, ChatRequest, Image

PNG = b"\x89PNG\r\n\x1a\n" + b"pixels " * 20
KINDS = {
    "image/png": PNG,
    "image/jpeg": b"\xff\xd8\xff\xe0" + b"x" * 50,
    "image/gif": b"GIF89a" + b"x" * 50,
    "image/webp": b"RIFF\x10\x00\x00\x00WEBPVP8 " + b"x" * 50,
    "image/bmp": b"BM\x46\x00\x00\x00\x00\x00\x00\x00" + b"x" * 50,
    "image/tiff": b"II*\x00" + b"x" * 50,
    "image/avif": b"\x00\x00\x00\x20ftypavif" + b"x" * 50,
    "image/heic": b"\x00\x00\x00\x20ftypheic" + b"x" * 50,
}


@pytest.fixture(autouse=True)
def _plain_surroundings(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith(("OPENAI_", "BATCHCHAT_")):
            monkeypatch.delenv(name)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


def table(*cells, path="t.csv"):
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        rows = ([f"what is it? {n}", cell] for n, cell in enumerate(cells, 1))
        csv.writer(file).writerows([["prompt", "photo"], *rows])
    return path


def read(path="t.completions.csv"):
    with Path(path).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def save(path, data=PNG):
    Path(path).write_bytes(data)
    return str(path)


def url(data, mime="image/png"):
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


async def contents(source="t.csv", **options):
    """The content of the user's message of each request that was sent."""
    async with ScriptedServer([http(completion())]) as server:
        said = {"model": "m", "base_url": server.url, "concurrency": 1, "image_column": "photo", **options}
        job = resolve(said, input=source, environ={})
        await run_job(job, observer=Observer(), switch=Switch())
        return [request.json["messages"][-1]["content"] for request in server.received]


def run(sim, *words, source="t.csv"):
    return app.entry(
        ["run", source, "--base-url", sim.base_url, "-m", "m", "--image-column", "photo", *map(str, words)]
    )


async def test_paths_and_urls_go_beside_the_prompt():
    """The message is a text part and an image part: a file as a data URL, a URL as it is, several in their order."""
    save("a.png")
    await asyncio.to_thread(Path("sub").mkdir)
    save("sub/b.png", KINDS["image/jpeg"])  # called what it is not
    web = "https://example.com/c.png?x=1"
    table("a.png", "sub/b.png", web, url(PNG), json.dumps(["a.png", web, "a.png"]))
    sent = await contents()
    assert [content[0] for content in sent] == [{"type": "text", "text": f"what is it? {n}"} for n in range(1, 6)]
    images = [[part["image_url"]["url"] for part in content[1:]] for content in sent]
    jpeg = url(KINDS["image/jpeg"], "image/jpeg")
    assert images == [[url(PNG)], [jpeg], [web], [url(PNG)], [url(PNG), web, url(PNG)]]
    assert all(part["type"] == "image_url" for content in sent for part in content[1:])


@pytest.mark.parametrize(("mime", "data"), KINDS.items())
def test_the_type_is_that_of_the_content(mime, data):
    """The MIME type is found by how the bytes begin, whatever the file is called."""
    _, (image,) = Images(column="c", folder=str(Path.cwd()), limit_mb=1).of(save("x.dat", data))
    assert image.mime == mime


async def test_bytes_in_parquet_are_images():
    """Bytes, and structs of bytes and path as data sets have them, are sent as data URLs."""
    cells = [{"bytes": PNG, "path": "gone.png"}, {"bytes": None, "path": "a.png"}]
    save("a.png", KINDS["image/gif"])
    pq.write_table(pa.table({"prompt": ["x", "y"], "photo": cells}), "t.parquet")
    pq.write_table(pa.table({"prompt": ["x"], "photo": [PNG]}), "u.parquet")
    one, other = await contents("t.parquet")
    assert one[1]["image_url"]["url"] == url(PNG)
    assert other[1]["image_url"]["url"] == url(KINDS["image/gif"], "image/gif")
    ((_, image),) = await contents("u.parquet")
    assert image["image_url"]["url"] == url(PNG)


def test_what_is_no_image_is_its_rows_error(simulator):
    """Missing, no image, too large, a folder, null: each is its row's error with the reason; the others are sent."""
    save("good.png")
    save("text.png", b"just text")
    save("empty.png", b"")
    save("large.png", PNG + b"x" * 20_000)
    Path("folder.png").mkdir()
    cells = [
        "good.png", "none.png", "text.png", "empty.png", "large.png", "folder.png", "", "[]", "s3://b/x.png",
        "data:text/plain;base64,aGk=", url(b"x" * 20_000),
    ]  # fmt: skip
    table(*cells)
    sim = simulator()
    assert run(sim, "--max-image-mb", "0.01", "--quiet") == 3
    rows = read()
    assert sim.stats()["received"] == 1
    why = [
        "", "is not there", "is no image", "is no image", "--max-image-mb", "is no file", "blank", "names no image",
        "neither a path nor", "is no image", "--max-image-mb",
    ]  # fmt: skip
    for row, reason in zip(rows, why, strict=True):
        assert bool(row["error"]) == bool(reason)
        assert reason in row["error"]
        assert not reason or row["error"].startswith("invalid_row: column 'photo'")


def test_nothing_outside_of_the_folder_is_read(simulator, tmp_path):
    """An absolute path, `..` and a link that leave the input's folder are refused without a look at the file."""
    save(tmp_path / "secret.png")
    Path("link.png").symlink_to(tmp_path / "secret.png")
    table(str(tmp_path / "secret.png"), "../secret.png", "link.png", "../none.png", "a\0b.png")
    sim = simulator()
    assert run(sim, "--quiet") in {1, 3}
    assert sim.stats()["received"] == 0
    assert all("outside of the folder" in row["error"] for row in read())
    assert run(sim, "--image-folder", tmp_path, "--restart", "-o", "other.csv", "--quiet") == 3
    found = [row["error"].partition(": the image")[2] for row in read("other.csv")]
    assert ["not there" in why for why in found[1:4]] == [False, False, True] or "outside" in found[1]


def test_paths_begin_in_the_image_folder(simulator, tmp_path):
    """With --image-folder relative paths begin there; of a job file it is relative to the file."""
    (tmp_path / "photos").mkdir()
    save(tmp_path / "photos" / "a.png")
    table("a.png", "../photos/a.png", "../t.csv")
    sim = simulator()
    assert run(sim, "--image-folder", "../photos", "--quiet") == 3
    assert [bool(row["error"]) for row in read()] == [False, False, True]
    assert run(sim, "--image-folder", "../photos", "--save-job", "../job.toml") == 0
    assert 'image_folder = "photos"' in (tmp_path / "job.toml").read_text(encoding="utf-8")
    os.chdir(tmp_path)
    assert app.entry(["run", "job.toml", "--quiet"]) == 3  # the same job, from elsewhere: nothing is sent again
    assert sim.stats()["received"] == 2
    with pytest.raises(UsageError, match="there is no such folder"):
        resolve({"image_column": "photo", "image_folder": "nowhere", "model": "m"}, input="work/t.csv", environ={})


def test_a_job_may_be_moved_with_its_images(simulator, tmp_path):
    """Table, checkpoint and images that are moved together go on, and nothing is paid again."""
    Path("photos").mkdir()
    save("photos/a.png")
    table("a.png", "b.png")
    sim = simulator()
    assert run(sim, "--image-folder", "photos", "--quiet") == 3
    os.chdir(tmp_path)
    shutil.move("work", "moved")
    save("moved/photos/b.png", KINDS["image/gif"])
    assert app.entry(["resume", "moved/t.completions.csv", "--quiet"]) == 0
    assert sim.stats()["received"] == 2


def test_the_key_depends_on_the_bytes(simulator):
    """A renamed or touched image costs nothing; one whose bytes changed costs its row, also at the same size."""
    save("a.png")
    save("b.png", PNG + b"1")
    table("a.png", "b.png", "b.png", "b.png")
    sim = simulator()
    assert run(sim, "--quiet") == 0
    Path("a.png").rename("other.png")
    table("other.png", "b.png", "b.png", "b.png")
    os.utime("b.png", (1, 1))
    assert run(sim, "--quiet") == 0
    assert sim.stats()["received"] == 4
    save("other.png", PNG[:-1] + b"!")
    assert run(sim, "--quiet") == 0
    assert sim.stats()["received"] == 5


def test_answers_to_images_that_are_gone_stay(simulator):
    """Images that were deleted after their answers came take nothing away: not from an export, nor from a run."""
    for name in "ab":
        save(f"{name}.png", PNG + name.encode())
    table("a.png", "b.png", "c.png")
    sim = simulator()
    assert run(sim, "--quiet") == 3
    save("c.png", PNG + b"c")
    Path("a.png").unlink()
    Path("b.png").unlink()
    assert app.entry(["export", "t.completions.csv", "-o", "out.csv"]) == 0
    assert [bool(row["completion"]) for row in read("out.csv")] == [True, True, False]
    assert run(sim, "--quiet") == 0
    assert [bool(row["completion"]) for row in read()] == [True, True, True]
    assert sim.stats()["received"] == 3
    save("b.png", PNG + b"another")
    assert run(sim, "--quiet") == 0
    assert sim.stats()["received"] == 4
    table("a.png", "gone.png", "c.png")  # an edited cell has no answer; its neighbour that is gone cannot say more
    assert run(sim, "--quiet") == 2
    assert app.entry(["export", "t.completions.csv", "-o", "out.csv"]) == 0
    assert [bool(row["completion"]) for row in read("out.csv")] == [False, False, True]


def test_an_image_that_came_later_is_sent(simulator):
    """A row whose image was missing is sent when it is there; the ones that were answered are not sent again."""
    save("a.png")
    table("a.png", "b.png")
    sim = simulator()
    assert run(sim, "--quiet") == 3
    save("b.png")
    assert run(sim, "--quiet") == 0
    assert sim.stats()["received"] == 2


async def test_an_image_that_changes_meanwhile_is_its_rows_error():
    """What was fingerprinted and what is sent are the same bytes, else nothing is sent."""
    save("a.png")
    builder = RequestBuilder(
        resolve({"image_column": "photo", "model": "m"}, input="t.csv", environ={}, need_key=False).prompt,
        model="m", parameters={}, columns=("prompt", "photo"), folder=str(Path.cwd()),
    )  # fmt: skip
    (task,) = builder.tasks(Batch(start=1, size=1, columns={"prompt": ["x"], "photo": ["a.png"]}))
    assert len(task.request.body) < 500
    assert b"base64" in filled(task.request).body
    save("a.png", PNG + b"more")
    with pytest.raises(BadRow, match="changed while the job ran"):
        filled(task.request)
    await asyncio.to_thread(Path("a.png").unlink)
    with pytest.raises(BadRow, match="cannot be read any more"):
        filled(task.request)


def test_a_prompt_cannot_forge_an_image(simulator):
    """A prompt that holds the mark of an image is sent as the text that it is."""
    save("a.png")
    images = Images(column="photo", folder=str(Path.cwd()), limit_mb=1)
    _, (image,) = images.of("a.png")
    text = f'"url":"{image.mark}"'
    frame = pd.DataFrame({"prompt": [text], "photo": ["a.png"]})
    frame.to_csv("t.csv", index=False)
    job = resolve({"image_column": "photo", "model": "m"}, input="t.csv", environ={}, need_key=False)
    (shown,) = show_requests(job, 1)
    text_part, image_part = shown.body["messages"][0]["content"]
    assert (text_part["text"], image_part["image_url"]["url"]) == (text, url(PNG))


def test_show_has_the_image(capsys):
    """The request that is shown is the one that is sent, image and all."""
    save("a.png")
    table("a.png")
    assert app.entry(["show", "t.csv", "-m", "m", "--image-column", "photo"]) == 0
    content = json.loads(capsys.readouterr().out)["messages"][0]["content"]
    assert content[1]["image_url"]["url"] == url(PNG)


def test_a_template_needs_no_column_beside_an_image(capsys):
    """With an image each row asks something else, so a prompt without columns is no mistake."""
    save("a.png")
    table("a.png")
    words = ["show", "t.csv", "-m", "m", "--prompt", "What is this?"]
    assert app.entry([*words, "--image-column", "photo", "--system", "Be short."]) == 0
    system, user = json.loads(capsys.readouterr().out)["messages"]
    assert (system["content"], user["content"][0]["text"]) == ("Be short.", "What is this?")
    assert app.entry(words) == 2


def test_options_that_do_not_go_together():
    """Images of a messages column stand in its messages; a folder or a size goes with a column of images."""
    for options, why in (
        ({"image_column": "photo", "messages_column": "m"}, "--image-column and --messages-column do not go together"),
        ({"image_folder": "."}, "--image-folder: goes with --image-column"),
        ({"max_image_mb": 3}, "--max-image-mb: goes with --image-column"),
    ):
        with pytest.raises(UsageError, match=why):
            resolve({"model": "m", **options}, input="t.csv", environ={}, need_key=False)


def test_a_trial_shows_the_prompt_and_not_the_image(simulator, capsys):
    """A person reads the text of the prompt, and that an image goes with it."""
    save("a.png")
    table("a.png")
    assert run(simulator(), "--rows", "1", "--json") == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert answer["prompt"] == "what is it? 1 [image]"


@pytest.mark.parametrize("limit", [["--max-cost", "1"], ["--max-tokens-total", "1000"]])
def test_a_budget_cannot_be_kept_with_images(simulator, capsys, limit):
    """An image has no known bound, so a budget is a usage error before anything is sent."""
    save("a.png")
    table("a.png")
    sim = simulator()
    assert run(sim, *limit, "--price", "input=1,output=1", "--max-tokens", "3") == 2
    assert "image_url" in capsys.readouterr().err
    assert sim.stats()["received"] == 0


def test_an_estimate_reads_no_image_whole(capsys, monkeypatch):
    """Counting looks at how images begin and says that their tokens are a rule of thumb."""
    save("a.png")
    table("a.png", "none.png")

    def never(*_):
        raise AssertionError("an image was read")

    monkeypatch.setattr("hashlib.file_digest", never)
    assert app.entry(["estimate", "t.csv", "-m", "gpt-4o-mini", "--image-column", "photo", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["to_send"] == 1
    assert found["prompt_tokens"]["expected"] > 700
    assert any("765" in note for note in found["notes"])
    assert found["prompt_basis"] != "exact"


def test_data_in_memory_name_images(simulator):
    """Of a DataFrame paths begin in the working folder; bytes are taken too."""
    save("a.png")
    frame = pd.DataFrame({"prompt": ["x", "y"], "photo": ["a.png", PNG]})
    found = batchchat.run(
        frame, model="m", base_url=simulator().base_url, image_column="photo", progress=False, concurrency=2
    )
    assert found["error"].isna().all()


def big_image():
    status = Path(save("a.png", PNG + b"x" * 100_000)).stat()
    return Image(
        mark="batchchat:x",
        mime="image/png",
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        path=f"{Path.cwd()}/a.png",
    )


async def test_few_images_are_in_memory_and_none_is_read_on_the_loop():
    """However many requests are in flight, so many bytes of images are loaded at a time, in other threads."""
    image = big_image()
    size = image.size
    body = b'{"messages":[{"image_url":{"url":"batchchat:x"}}]}'
    here, most, ends = 0, 0, []

    async def send(request):
        nonlocal here, most
        here += 1
        most = max(most, here)
        assert len(request.body) > size
        await asyncio.sleep(0.01)
        here -= 1
        ends.append(threading.get_ident())

    sender = with_images(send, room=5 * size * 3)
    requests = [ChatRequest(body=body, key=b"", images=(image,)) for _ in range(20)]
    tasks = [asyncio.create_task(sender(request)) for request in requests]
    await asyncio.sleep(0.005)
    tasks[10].cancel()  # one that waits
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert most == 3
    assert (len(ends), sum(isinstance(one, asyncio.CancelledError) for one in done)) == (19, 1)
    await with_images(send, room=1)(requests[0])  # one always may


async def test_a_large_image_arrives_whole():
    """An image of several MB comes through, and comes again where the first attempt failed."""
    save("a.png", PNG + os.urandom(6_000_000))
    table("a.png")
    async with ScriptedServer([http(b"{}", 500), http(completion())]) as server:
        job = resolve({"model": "m", "base_url": server.url, "image_column": "photo"}, input="t.csv", environ={})
        summary = await run_job(job, observer=Observer(), switch=Switch())
        assert summary.status == 0
        sent = [request.json["messages"][0]["content"][1]["image_url"]["url"] for request in server.received]
    assert sent == [url(await asyncio.to_thread(Path("a.png").read_bytes))] * 2


async def test_parts_of_a_messages_column_pass_through():
    """Text, image, audio and file parts of a messages column are sent as they stand, from JSON and from Parquet."""
    parts = [
        {"type": "text", "text": "what?"},
        {"type": "image_url", "image_url": {"url": "https://e.com/a.png", "detail": "low"}},
        {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "text", "text": "cached", "prompt_cache_breakpoint": {"mode": "explicit"}},
    ]
    messages = [{"role": "user", "content": parts}]
    pd.DataFrame({"photo": [json.dumps(messages)]}).to_csv("t.csv", index=False)
    pq.write_table(pa.table({"photo": [messages]}), "t.parquet")
    for source in ("t.csv", "t.parquet"):
        assert await contents(source, image_column=None, messages_column="photo") == [parts]
