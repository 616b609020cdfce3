"""The wall clock jumps."""

import ast
import re
import signal
from pathlib import Path

import pytest

from tests.app.live import ROOT, answer_on, process, wait_until
from tests.faults.requests import LIVE, connect, post, predict

WALL_CLOCKS = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.today", "date.today"}
TELLS_THE_DATE = {"telemetry", "reporting", "keys.py"}
"""What writes dates into logs and DICOM objects, and knows a key's last day."""


@pytest.mark.parametrize("jump", [signal.SIGUSR1, signal.SIGUSR2], ids=["a day ahead", "a day back"])
def test_a_jump_of_the_wall_clock_ends_nothing_and_no_figure_is_negative(
    tiny_folder: Path, tmp_path: Path, film: bytes, jump: signal.Signals
) -> None:
    request = predict(film)
    with (
        process(tiny_folder, tmp_path / "log", module="tests.faults.jumping_clock") as service,
        connect(service) as idle,
        connect(service) as sending,
    ):
        assert answer_on(idle, LIVE)[0] == 200
        sending.sendall(request[:-10])
        wait_until(lambda: "pneumoscope_in_flight 2.0" in service.client.get("/metrics").text, "it is sent")
        before = str(service.lines()[-1]["time"])[:10]
        service.process.send_signal(jump)

        def jumped() -> bool:
            service.client.get("/model")  # health checks are not in the log
            return str(service.lines()[-1]["time"])[:10] != before

        wait_until(jumped, "the log shows another day")
        assert answer_on(idle, LIVE)[0] == 200, "it was not taken for one that idled for a day"
        assert answer_on(sending, request[-10:])[0] == 200, "the upload was not taken for one of a day"
        timing = post(service, film).json()["timing_ms"]
        assert all(0 <= milliseconds < 60_000 for milliseconds in timing.values())
        assert service.client.get("/health/ready").status_code == 200
        text = service.client.get("/metrics").text
        sums = [float(value) for value in re.findall(r"seconds_sum\S* (\S+)$", text, re.MULTILINE)]
        assert sums
        assert all(0 <= seconds < 600 for seconds in sums)
        taken = [line["seconds"] for line in service.lines() if "seconds" in line]
        assert all(0 <= seconds < 60 for seconds in taken)


def test_only_what_tells_the_date_asks_the_wall_clock() -> None:
    asking = set()
    for path in (ROOT / "app").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in WALL_CLOCKS:
                asking.add(path.relative_to(ROOT / "app").parts[0])
    assert asking <= TELLS_THE_DATE
