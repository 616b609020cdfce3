"""docs/tutorial.md, followed as it stands there on the shipped model."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from app.settings import Settings
from tests.app.live import running
from tests.required_tools import find_tool
from tests.shipping.repository import ROOT

PAGE = (ROOT / "docs" / "tutorial.md").read_text()
BY_HAND = "make serve"


def shown_answer() -> dict[str, Any]:
    (block,) = re.findall(r"^```json\n(.+?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    answer = json.loads(block)
    assert isinstance(answer, dict)
    return answer


def test_the_tutorial_shows_what_its_commands_answer(tmp_path: Path) -> None:
    find_tool("curl")
    commands = [line for line in re.findall(r"^\$ (.+)$", PAGE, re.MULTILINE) if not line.startswith(BY_HAND)]
    said: dict[str, str] = {}
    with running(Settings(model_dir=ROOT / "models" / "pneumonia" / "1", device="cpu")) as live:
        for command in commands:
            line = command.replace(".venv/bin/python", f"PYTHONPATH={ROOT} {sys.executable}")
            line = line.replace("localhost:8000", live.url.removeprefix("http://"))
            line = line.replace("@README.md", f"@{ROOT / 'README.md'}")
            ended = subprocess.run(
                ["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
            )
            said[command] = ended.stdout
    answer = json.loads(said["curl -F file=@film.jpg localhost:8000/predict"])
    shown = shown_answer()
    assert answer.keys() == shown.keys()
    assert {name: answer[name] for name in ("label", "threshold", "review", "reasons")} == {
        name: shown[name] for name in ("label", "threshold", "review", "reasons")
    }
    assert abs(answer["probability"] - shown["probability"]) < 0.01
    refused = json.loads(said["curl -F file=@README.md localhost:8000/predict"])
    assert f'"code":"{refused["code"]}"' in PAGE
    assert refused["detail"] in PAGE
    assert (tmp_path / "explained.png").read_bytes().startswith(b"\x89PNG")
