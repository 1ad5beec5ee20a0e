"""The notebook in docs/, and interrupts, on a real kernel."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="a real kernel needs nbclient and ipykernel")
nbclient = pytest.importorskip("nbclient", reason="a real kernel needs nbclient and ipykernel")
pytest.importorskip("ipykernel", reason="a real kernel needs nbclient and ipykernel")

# The kernel says that loopback is not encrypted, and old sockets of its client are closed by the collector.
pytestmark = [
    pytest.mark.peer,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:jupyter_client"),
]
PROJECT = Path(__file__).resolve().parents[1]
NOTEBOOK = PROJECT / "docs" / "notebook.ipynb"
START = """
import asyncio, batchchat, pandas as pd
frame = pd.DataFrame({{"prompt": [f"p{{n}}" for n in range(60)]}})
options = {{"base_url": "{url}", "model": "sim", "concurrency": 4}}
"""


@pytest.fixture
def client(tmp_path, monkeypatch):
    """A factory: a client with a running kernel for a notebook of these cells, in an empty folder."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(PROJECT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    work = tmp_path / "work"
    work.mkdir()

    def made(notebook):
        return nbclient.NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(work)}})

    return made


def of_cells(*sources):
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])


def shown(cell, kind):
    """The plain texts of a cell's outputs of a kind."""
    outputs = [output for output in cell.outputs if output.output_type == kind]
    return [output.get("text") or output["data"]["text/plain"] for output in outputs]


def test_the_notebook_runs_from_top_to_bottom(client):
    """Every cell of docs/notebook.ipynb works, the interrupted one included, and says what its text promises."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client(notebook).execute()
    codes = [cell for cell in notebook.cells if cell.cell_type == "code"]
    results = [shown(cell, "execute_result") for cell in codes]
    assert results[2] == ["0"]
    assert results[3] == ["1"]
    assert "HTTP 400" in results[4][0] or "invalid_request" in results[4][0]
    assert "True" in results[5][0]
    assert results[6] == ["(400, 0, 0)"]
    displays = [shown(cell, "display_data") for cell in codes]
    assert [len(found) for found in displays] == [0, 1, 1, 1, 1, 1, 1, 2, 0]
    assert "stopped (interrupt)" in displays[5][0]


def test_the_notebook_is_committed_without_outputs():
    """What a cell prints is of one machine and one day."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert all(not cell.outputs and cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code")


@pytest.mark.parametrize("call", ["batchchat.run(frame, **options)", "await batchchat.arun(frame, **options)"])
async def test_the_stop_button_drains(client, simulator, call):
    """The kernel's interrupt ends the call in order: nothing that was asked is lost, and the same call goes on."""
    sim = simulator(latency=0.8)
    # What the kernel makes of an interrupted `await` is its matter: CancelledError or KeyboardInterrupt.
    caught = f"try:\n    {call}\nexcept (KeyboardInterrupt, asyncio.CancelledError):\n    print('stopped')"
    notebook = of_cells(START.format(url=sim.base_url), caught, f"len({call})")
    runner = client(notebook)
    async with runner.async_setup_kernel():
        await runner.async_execute_cell(notebook.cells[0], 0)
        cell = asyncio.create_task(runner.async_execute_cell(notebook.cells[1], 1))
        deadline = time.monotonic() + 30
        while sim.stats()["received"] < 4:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        await runner.km.interrupt_kernel()
        await cell
        assert "stopped" in "".join(shown(notebook.cells[1], "stream"))
        paid = sim.stats()["received"]
        assert sim.stats()["answered"] == paid < 60
        sim.reset(latency=0)
        await runner.async_execute_cell(notebook.cells[2], 2)
    assert shown(notebook.cells[2], "execute_result") == ["60"]
    assert sim.stats()["received"] == 60 - paid
