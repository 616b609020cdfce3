"""The commands that documents and CI name are there, and install what they should."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from app.engine.classifier import Classifier
from tests.shipping.repository import ROOT, documents
from training.recipe import Stage

TARGETS = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
FENCED = re.compile(r"^ *```[a-z]*\n(.*?)^ *```", flags=re.MULTILINE | re.DOTALL)


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "--no-print-directory", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What make sees of a fresh clone."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def named_targets(text: str) -> set[str]:
    """Targets of every `make X` in code spans, code blocks and scripts."""
    code = "\n".join([*FENCED.findall(text), *re.findall(r"`([^`\n]+)`", text)])
    return set(re.findall(r"\bmake ([a-z][a-z-]*)", re.sub(r"(^|\s)#.*", "", code)))


@pytest.mark.parametrize("document", documents(), ids=lambda path: path.name)
def test_every_make_command_in_a_document_is_a_target(document: Path) -> None:
    assert named_targets(document.read_text()) <= set(TARGETS)


def test_readme_shows_the_two_commands_that_a_newcomer_needs() -> None:
    assert {"serve", "test"} <= named_targets((ROOT / "README.md").read_text())


def test_ci_runs_the_commands_that_people_run() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert re.findall(r"^make ([a-z]+)", script, flags=re.MULTILINE) == ["lint", "test"]
    assert subprocess.run(["bash", "-n", ROOT / ".ci" / "run"], check=False).returncode == 0


@pytest.mark.parametrize("target", TARGETS)
def test_help_tells_of_every_target(clone: Path, target: str) -> None:
    assert re.search(rf"^  {target} +\S", make(clone).stdout, flags=re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "environment", "extra"),
    [
        (("serve", "HARDWARE=cpu"), ".venv", "cpu,dicom,tracing"),
        (("serve", "HARDWARE=gpu"), ".venv-gpu", "gpu,dicom,tracing"),
        (("test", "HARDWARE=gpu"), ".venv", "dev"),
        (("lint",), ".venv", "dev"),
        (("bench", "HARDWARE=cpu"), ".venv", "dev"),
        (("bench", "HARDWARE=gpu"), ".venv-gpu", "gpu,bench"),
    ],
)
def test_a_fresh_clone_installs_one_extra_before_it_runs(
    clone: Path, arguments: tuple[str, ...], environment: str, extra: str
) -> None:
    plan = make(clone, "--dry-run", *arguments, "PYTHON=python3").stdout
    assert f"python3 -m venv {environment}\n" in plan
    (install,) = re.findall(r"^.* pip install .*$", plan, flags=re.MULTILINE)
    assert install.startswith(f"{environment}/bin/python ")
    assert install.endswith(f"--constraint constraints.txt --editable '.[{extra}]'")


def installed(clone: Path, stamp: str) -> None:
    """Make it look as if `stamp` had been reached."""
    (clone / ".venv").mkdir()
    for name in (".created", stamp):
        (clone / ".venv" / name).touch()


def test_a_second_run_installs_nothing(clone: Path) -> None:
    installed(clone, ".serve")
    assert make(clone, "--dry-run", "serve", "HARDWARE=cpu").stdout.split() == [
        ".venv/bin/python",
        "-m",
        "app",
    ]


@pytest.mark.parametrize("changed", ["pyproject.toml", "constraints.txt"])
def test_a_changed_requirement_installs_again(clone: Path, changed: str) -> None:
    installed(clone, ".serve")
    assert "pip install" in make(clone, "--dry-run", "serve", "HARDWARE=cpu", f"--what-if={changed}").stdout


def test_an_install_that_fails_is_tried_again_next_time(clone: Path) -> None:
    (clone / ".venv" / "bin").mkdir(parents=True)
    (clone / ".venv" / ".created").touch()
    (clone / ".venv" / "bin" / "python").symlink_to("/bin/false")
    assert make(clone, "serve", "HARDWARE=cpu").returncode != 0
    assert not (clone / ".venv" / ".serve").exists()


def test_a_machine_without_a_new_enough_python_is_told_so(clone: Path) -> None:
    told = make(clone, "serve", "HARDWARE=cpu", "PYTHON=")
    assert told.returncode != 0
    assert "Python 3.11 or newer is needed" in told.stderr


@pytest.mark.parametrize(
    ("target", "name"),
    [(target, "DATA") for target in ("explore", "train", "compare", "reproduce")] + [("export", "MODEL")],
)
def test_a_missing_argument_is_told_in_words(clone: Path, target: str, name: str) -> None:
    installed(clone, ".dev")
    told = make(clone, target)
    assert told.returncode != 0
    assert f"{name} is missing" in told.stderr


def chain(commands: list[str]) -> list[dict[str, object]]:
    """Options of each `fit`; stages and numbers by value, and the run that it starts from by its place."""
    runs: list[str] = []
    told = []
    for command in commands:
        words = shlex.split(command.partition(" fit ")[2])
        given = dict(zip(words[::2], words[1::2], strict=True)) | {"--data": "DIR"}
        runs.append(given.pop("--run", "runs/resnet50"))
        options: dict[str, object] = dict(given)
        if weights := given.get("--weights"):
            options["--weights"] = runs.index(str(Path(weights).parent))
        if stages := given.get("--stages"):
            options["--stages"] = [Stage.parse(stage) for stage in stages.split(",")]
        numbers = {name for name, value in given.items() if re.fullmatch(r"[\d.e-]+", value)}
        told.append(options | {name: float(given[name]) for name in numbers})
    return told


def test_reproduce_is_what_the_shipped_model_says_of_its_training() -> None:
    manifest = Classifier.open_file(ROOT / "models/pneumonia/1/model.int8.onnx").manifest
    assert manifest.training is not None
    would_run = make(ROOT, "-n", "--always-make", "reproduce", "DATA=films").stdout.replace("\\\n", "")
    commands = [line for line in would_run.splitlines() if "training fit" in line]
    assert chain(commands) == chain(manifest.training.command.split(" && "))
    assert len(commands) > 1
