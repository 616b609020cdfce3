"""There is no memory for a film."""

import subprocess
from pathlib import Path

import numpy as np

from tests import radiographs
from tests.app.live import Process, process
from tests.faults.requests import post
from tests.required_tools import find_tool

ROOM = 16 * 2**20


def address_space(service: Process) -> int:
    pages = int(Path(f"/proc/{service.process.pid}/statm").read_text().split()[0])
    return pages * 4096


def test_a_film_for_which_there_is_no_memory_is_refused_and_the_next_is_judged(
    tiny_folder: Path, tmp_path: Path, film: bytes
) -> None:
    find_tool("prlimit")
    large = radiographs.png(np.zeros((7000, 7000, 3), np.uint8))  # 200 MB when decoded
    with process(tiny_folder, tmp_path / "log", DECODE_WORKERS="1", LANES="1") as service:
        for path in ("/predict", "/explain"):
            assert service.client.post(path, files={"file": film}).status_code == 200
        limit = address_space(service) + ROOM
        subprocess.run(["prlimit", f"--pid={service.process.pid}", f"--as={limit}"], check=True)
        for path in ("/predict", "/explain"):
            refused = service.client.post(path, files={"file": large})
            assert refused.status_code == 503, refused.text
            assert (refused.status_code, refused.json()["code"]) == (503, "out-of-memory")
            assert post(service, film).status_code == 200
