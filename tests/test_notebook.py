"""docs/retrain.ipynb, executed as on Kaggle or Colab, on synthetic films and a small network."""

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
import pytest
import typer
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from traitlets.config import Config

from app.engine.classifier import Classifier
from app.engine.finding import Finding
from app.imaging import read
from model_export.__main__ import app as model_export
from tests.required_tools import find_tool
from tests.training.conftest import write_films
from training.__main__ import app as training

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "docs" / "retrain.ipynb"
Execute = Callable[..., Any]


def opened() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]


def printed(notebook: Any) -> str:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return "".join(output.text for output in outputs if output.output_type == "stream")


@pytest.fixture
def execute() -> Iterator[Execute]:
    """Executes the notebook in `folder`, up to the cell named, with `parameters` in the environment."""

    def run(folder: Path, upto: str, **parameters: str) -> Any:
        notebook = opened()
        names = [cell.id for cell in notebook.cells]
        notebook.cells = notebook.cells[: names.index(upto) + 1]
        client = NotebookClient(
            notebook, timeout=900, resources={"metadata": {"path": str(folder)}}, config=Config(manager)
        )
        environment = os.environ | {"IPYTHONDIR": own, "TF_CPP_MIN_LOG_LEVEL": "3"} | parameters
        return client.execute(env=environment)

    # Sockets of the file system, whose paths must be short: no port that another test may take.
    with TemporaryDirectory() as own:
        manager = {"KernelManager": {"transport": "ipc", "connection_file": f"{own}/kernel.json"}}
        yield run


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("chest films")
    write_films(root / "train", patients=20)
    write_films(root / "test", patients=1)
    return root


def test_the_notebook_is_valid_and_stored_without_outputs() -> None:
    notebook = opened()
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.id for cell in code if cell.outputs or cell.execution_count is not None] == []


def test_every_command_that_is_named_exists_with_its_options() -> None:
    text = "\n".join(cell.source for cell in opened().cells)
    text = re.sub(r'"\s+f"', "", text)
    named = re.findall(r"python -m (training|model_export)\b([^`\"]*)", text)
    of_training = typer.main.get_command(training).commands  # type: ignore[attr-defined]
    used = set()
    for package, words in named:
        name = words.split()[0] if package == "training" else package
        command = of_training[name] if package == "training" else typer.main.get_command(model_export)
        known = {option for parameter in command.params for option in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", words)) <= known
        used.add(name)
    assert used == {"explore", "fit", "evaluate", "report", "model_export"}


def test_it_goes_from_films_to_a_file_that_the_service_reads(
    execute: Execute, data: Path, tmp_path: Path
) -> None:
    notebook = execute(
        NOTEBOOK.parent,
        "score",
        DATA=str(data),
        OUTPUT=str(tmp_path / "my run"),
        STAGES="64x1x16",
        ARCHITECTURE="small_resnet",
        REPORT_OPTIONS="--probes 2 --no-heatmap-check",  # after one epoch it may call every film the same
    )
    classifier = Classifier.open(tmp_path / "my run" / "model")
    assert (classifier.manifest.architecture, classifier.input_size) == ("small_resnet", 64)
    assert Classifier.open_file(tmp_path / "my run" / "model" / "model.onnx").precision == "float16"
    (film,) = [path for path in (data / "test" / "PNEUMONIA").iterdir() if path.stem.endswith("_0")]
    (finding,) = classifier.classify([read(film.read_bytes(), size=64)])
    assert isinstance(finding, Finding)
    assert f"{film.name}: {finding.label}" in printed(notebook)
    assert f"probability of pneumonia: {finding.probability:.4f}" in printed(notebook)
    assert (tmp_path / "my run" / "report.md").is_file()
    pictured = {
        cell.id
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if "image/png" in output.get("data", ())
    }
    assert pictured == {"explore", "fit", "evaluate", "report", "score"}


def test_a_command_that_fails_stops_its_cell_and_says_why(execute: Execute, tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    with pytest.raises(CellExecutionError, match="CalledProcessError") as caught:
        execute(NOTEBOOK.parent, "explore", DATA=str(tmp_path), OUTPUT=str(tmp_path / "run"))
    assert "Error: There is no folder" in str(caught.value)


def test_films_that_are_missing_are_said_first(execute: Execute, tmp_path: Path) -> None:
    with pytest.raises(CellExecutionError, match="set DATA to the data set's folder"):
        execute(tmp_path, "parameters", DATA=str(tmp_path / "nowhere"))


def test_outside_a_checkout_it_asks_for_the_repository(execute: Execute, data: Path, tmp_path: Path) -> None:
    with pytest.raises(CellExecutionError, match="set REPOSITORY to the address"):
        execute(tmp_path, "install", DATA=str(data))


def test_outside_a_checkout_it_clones_the_repository_once(
    execute: Execute, data: Path, tmp_path: Path
) -> None:
    origin, session = tmp_path / "origin", tmp_path / "session"
    (origin / "training").mkdir(parents=True)
    (origin / "training" / "__main__.py").touch()
    session.mkdir()
    git = [find_tool("git"), "-C", str(origin), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (("init", "--quiet"), ("add", "."), ("commit", "--quiet", "--message", "a")):
        subprocess.run([*git, *words], check=True)
    for _ in range(2):
        notebook = execute(session, "install", DATA=str(data), REPOSITORY=str(origin))
        assert f"Working in {session / 'pneumoscope'}" in printed(notebook)
    assert (session / "pneumoscope" / "training" / "__main__.py").is_file()
