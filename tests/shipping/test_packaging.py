"""What an installation brings, and what the service can do without."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import pytest

from tests.app.command_line import environment
from tests.app.live import process
from tests.shipping.repository import ROOT, dockerfile_stages
from tests.shipping.runtime_only import absent_modules, distributions

DEVELOPERS_MODULES = ("tensorflow", "keras", "onnx", "tf2onnx", "sklearn", "matplotlib", "httpx", "pytest")


def test_the_service_answers_where_only_its_runtime_packages_can_be_imported(
    tiny_folder: Path, tmp_path: Path, film: bytes
) -> None:
    with process(tiny_folder, tmp_path / "log", module="tests.shipping.runtime_only") as service:
        for route in ("predict", "explain"):
            answer = service.client.post(f"/{route}", files={"file": film})
            assert answer.status_code == httpx.codes.OK, answer.text
        for page in ("", "docs", "openapi.json", "model", "metrics"):
            assert service.client.get(f"/{page}").status_code == httpx.codes.OK


def test_films_are_judged_without_a_server_where_only_runtime_packages_can_be_imported(
    tiny_folder: Path, tmp_path: Path, film: bytes
) -> None:
    (tmp_path / "film.jpg").write_bytes(film)
    told = subprocess.run(
        [sys.executable, "-m", "tests.shipping.runtime_only", "predict", tmp_path / "film.jpg"],
        cwd=ROOT,
        env=environment(MODEL_DIR=str(tiny_folder)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    assert "1 film: " in told.stdout


@pytest.mark.parametrize("module", DEVELOPERS_MODULES)
def test_a_developers_module_does_not_count_as_runtime(module: str) -> None:
    assert module in absent_modules()


def test_a_developers_environment_has_one_onnxruntime() -> None:
    assert "onnxruntime" in distributions("pneumoscope[dev]")
    assert "onnxruntime-gpu" not in distributions("pneumoscope[dev]")


@pytest.fixture(scope="module")
def image_wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names in the wheel of what the Dockerfile's build stage copies."""
    context = tmp_path_factory.mktemp("context")
    for step in dockerfile_stages()[0]:
        if step.name == "COPY":
            *sources, _ = step.words
            for source in sources:
                _copy(ROOT / source, context / source)
    return _names_in_wheel(context)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names in the wheel of the repository."""
    context = tmp_path_factory.mktemp("repository")
    for name in (
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "app",
        "training",
        "model_export",
        "benchmarks",
        "tests",
    ):
        _copy(ROOT / name, context / name)
    return _names_in_wheel(context)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def _names_in_wheel(context: Path) -> set[str]:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet"]
    subprocess.run(
        [*pip, "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", context / "dist", context],
        check=True,
        capture_output=True,
        text=True,
    )
    (path,) = (context / "dist").iterdir()
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())


def _tops(names: set[str]) -> set[str]:
    return {name.partition("/")[0] for name in names if ".dist-info/" not in name}


def test_every_file_of_the_service_is_in_the_wheel(wheel: set[str]) -> None:
    files = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "app").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {path for path in files if path.startswith("app/web/")}
    assert files <= wheel


def test_the_wheel_has_the_project_and_not_its_tests(wheel: set[str]) -> None:
    assert _tops(wheel) == {"app", "training", "model_export"}


def test_the_wheel_carries_the_licence(wheel: set[str]) -> None:
    assert [name for name in wheel if name.endswith(".dist-info/licenses/LICENSE")]


def test_the_image_gets_the_service_alone(image_wheel: set[str]) -> None:
    assert _tops(image_wheel) == {"app"}


def test_imports_run_one_way() -> None:
    lint_imports = Path(sys.executable).with_name("lint-imports")
    told = subprocess.run([lint_imports, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout
