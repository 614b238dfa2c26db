"""The Python of README as a notebook: a kernel runs it, and pictures appear."""

import base64
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

import detinv

ROOT = Path(__file__).resolve().parents[2]


def executed(cells: list[str], folder: Path) -> list[list[dict[str, Any]]]:
    """Run code cells in a kernel of its own, and return the outputs of each."""
    nbformat = pytest.importorskip("nbformat", reason="needs nbclient")
    nbclient = pytest.importorskip("nbclient", reason="needs nbclient")
    pytest.importorskip("ipykernel", reason="needs ipykernel")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    return [json.loads(json.dumps(cell.outputs)) for cell in notebook.cells]


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let kernels import the package under test, and write what they keep into a folder of the test."""
    path = os.pathsep.join(filter(None, [str(Path(detinv.__file__).parents[1]), os.environ.get("PYTHONPATH")]))
    monkeypatch.setenv("PYTHONPATH", path)
    for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))


@pytest.mark.slow
# Jupyter's own packages warn of what they will change in each other.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning", "ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_python_of_readme_is_a_notebook(kernel, tmp_path: Path):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    cells = code.replace("steps=200", "steps=1").split("\n\n")
    assert len(cells) == 3
    outputs = executed([*cells[:2], "result", *cells[2:], "result"], tmp_path)
    for number in (2, 4):
        (shown,) = outputs[number]
        picture = base64.b64decode(shown["data"]["image/png"])
        assert picture.startswith(b"\x89PNG") and len(picture) > 1000
        assert shown["data"]["text/plain"].startswith("InversionResult(")
    assert not [output for cell in outputs for output in cell if output.get("name") == "stderr"]
    assert (tmp_path / "out" / "report.html").is_file()
