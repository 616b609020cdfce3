import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOREIGN = (
    "keras",
    "tensorflow",
    "onnx",
    "tf2onnx",
    "matplotlib",
    "sklearn",
    "scipy",
    "training",
    "model_export",
    "benchmarks",
)

IMPORT_EVERYTHING = """
import importlib, pkgutil, sys
import app
for module in pkgutil.walk_packages(app.__path__, "app."):
    if module.name != "app.__main__":
        importlib.import_module(module.name)
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def test_the_service_imports_nothing_that_trains_or_exports() -> None:
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", IMPORT_EVERYTHING],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    loaded = set(ended.stdout.split())
    assert "onnxruntime" in loaded, "else nothing was imported"
    assert loaded.isdisjoint(FOREIGN)
