"""Clients that vanish; those that stall are in test_overload.py and test_connections.py of tests/app."""

import signal
import socket
import struct
from pathlib import Path

from tests.app.live import process, wait_until
from tests.faults.requests import connect, metric, post, predict

FAULTY = "tests.faults.faulty_device"


def reset(client: socket.socket) -> None:
    """End a connection without a goodbye, as a machine does that has lost its power and come back."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def test_clients_that_vanish_while_sending_leave_their_places_to_others(
    tiny_folder: Path, tmp_path: Path, film: bytes
) -> None:
    with process(tiny_folder, tmp_path / "log", MAX_QUEUE="4") as service:
        for _ in range(3):
            clients = [connect(service) for _ in range(4)]
            for client in clients:
                client.sendall(predict(film)[:-10])
            wait_until(lambda: metric(service, "pneumoscope_in_flight") == 5, "all places are taken")
            assert post(service, film).status_code == 429
            for client in clients:
                reset(client)
            wait_until(lambda: metric(service, "pneumoscope_in_flight") == 1, "they are free again")
        assert post(service, film).status_code == 200


def test_clients_that_vanish_before_their_answer_leave_the_queue(
    tiny_folder: Path, tmp_path: Path, film: bytes
) -> None:
    with process(tiny_folder, tmp_path / "log", module=FAULTY, MAX_WAIT_S="3600") as service:
        service.process.send_signal(signal.SIGUSR2)
        clients = [connect(service) for _ in range(6)]
        for client in clients:
            client.sendall(predict(film))
        wait_until(lambda: metric(service, "pneumoscope_queue_depth") >= 4, "films wait")
        for client in clients:
            reset(client)
        wait_until(lambda: metric(service, "pneumoscope_queue_depth") == 0, "none waits any more")
        service.process.send_signal(signal.SIGHUP)
        assert post(service, film).status_code == 200
        assert [line for line in service.lines() if "stack" in line] == []
