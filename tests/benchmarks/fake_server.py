"""A server that a test commands: how long it holds requests back, and what it answers."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from benchmarks.load import Request

REQUEST = Request("/predict", {"Content-Type": "text/plain"}, b"a film")


@dataclass
class Fake:
    """`answer` is called for each request in a thread of its own; the status that it returns is sent."""

    answer: Callable[[int], int]
    url: str = ""
    seen: int = 0
    at_once: int = 0
    most_at_once: int = 0
    bodies: list[bytes] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


@contextmanager
def fake(answer: Callable[[int], int]) -> Iterator[Fake]:
    """A server on a free port; `answer` gets the number of the request, from 0."""
    state = Fake(answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with state.lock:
                place = state.seen
                state.bodies.append(body)
                state.seen += 1
                state.at_once += 1
                state.most_at_once = max(state.most_at_once, state.at_once)
            status = state.answer(place)
            with state.lock:
                state.at_once -= 1
            if status == 0:
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: object) -> None:
            return

    class Server(ThreadingHTTPServer):
        request_queue_size = 256

        def handle_error(self, *_: object) -> None:
            return

    with Server(("127.0.0.1", 0), Handler) as server:
        state.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()


def stalling(seconds: float) -> Callable[[int], int]:
    """Answers 200, but to nobody before `seconds` have passed since the first request came."""
    first: list[float] = []

    def answer(place: int) -> int:
        if place == 0:
            first.append(time.monotonic())
        while not first:
            time.sleep(0.001)
        time.sleep(max(0.0, first[0] + seconds - time.monotonic()))
        return 200

    return answer
