from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "docs" / "five_photos.ipynb"


def test_the_notebook_runs():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": NOTEBOOK.parents[1]}}
    )
    client.execute()
    printed = [
        output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", [])
    ]
    mean = next(text for text in printed if "mean error" in text).split("mean error ")[1].split()[0]
    assert float(mean) < 0.15  # drawn dresses by MetaCloth: nothing like chance
