"""The code in docs/clients.md, and the command lines in docs/api.md, run as they stand there on real servers."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage

from app.api import examples
from app.api.errors import ALL_KINDS
from app.keys import entry_of
from app.settings import Settings
from tests import dicom_films, radiographs
from tests.app.live import PATIENCE_SECONDS, Gate, Live, running, wait_until
from tests.app.web.browser import chromium, executable
from tests.required_tools import find_tool

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "clients.md").read_text()
BLOCKS: list[tuple[str, str]] = re.findall(r"^```(\w+)\n(.+?)^```$", PAGE, re.MULTILINE | re.DOTALL)
CURL_ONE, CURL_MANY = (code for language, code in BLOCKS if language == "bash")
HTTPX, STANDARD_LIBRARY = (code for language, code in BLOCKS if language == "python")
FETCH, IN_NODE, IN_A_PAGE = (code for language, code in BLOCKS if language == "js")
SERVICE = "http://localhost:8000"
TRIES = 6

DAMAGED = radiographs.jpeg(radiographs.draw())[:1000]


@dataclass
class Ended:
    """What a program printed, and whether it says that all is well."""

    said: str
    well: bool


class Program:
    """A snippet in a process of its own."""

    def __init__(self, folder: Path, command: list[str]) -> None:
        self._process = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=_plain_environment()
        )

    def finish(self) -> Ended:
        said, _ = self._process.communicate(timeout=PATIENCE_SECONDS)
        return Ended(said.decode(), self._process.returncode == 0)


class Curl(Program):
    """curl, which leaves what it got in a file."""

    def __init__(self, folder: Path, code: str) -> None:
        super().__init__(folder, ["bash", "-c", code])
        self._folder = folder

    def finish(self) -> Ended:
        ended = super().finish()
        (answer,) = self._folder.glob("answer*.json")
        return Ended(ended.said + _in_words(json.loads(answer.read_text())), ended.well)


class InAPage:
    """The snippet for browsers, in Chromium, in a page of the service's own host."""

    def __init__(self, browser: Browser, url: str, films: list[Path]) -> None:
        self._page = browser.new_page()
        self._films = films
        self._heard: list[ConsoleMessage] = []
        code = (FETCH + IN_A_PAGE).replace(SERVICE, "")
        body = f"<input type=file multiple><script>{code}</script>"
        self._page.route(f"{url}/own", lambda route: route.fulfill(body=body, content_type="text/html"))
        self._page.goto(f"{url}/own")
        self._page.on("console", self._hear)
        self._page.set_input_files("input", films)

    def _hear(self, message: ConsoleMessage) -> None:
        self._heard.append(message)

    def finish(self) -> Ended:
        # Chromium itself notes each refusal on the console.
        def own() -> list[ConsoleMessage]:
            return [message for message in self._heard if "Failed to load resource" not in message.text]

        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(own()) < len(self._films) and not any(message.type == "error" for message in own()):
            assert time.monotonic() < deadline, "the page says nothing"
            self._page.wait_for_timeout(50)
        said = "\n".join(message.text for message in own())
        well = all(message.type == "log" for message in own())
        self._page.close()
        return Ended(said, well)


Start = Callable[[str, Path, list[str]], Program | InAPage]


def _plain_environment() -> dict[str, str]:
    """This process's environment without a proxy, which must not stand before a server of this machine."""
    return {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}


def _in_words(answer: Any) -> str:
    items = answer if isinstance(answer, list) else [answer]
    return "\n".join(
        "{title}: {detail} ({code})".format(**item)
        if "code" in item
        else "{label} {probability:.6f}".format(**item)
        for item in items
    )


def curl(url: str, folder: Path, films: list[str]) -> Curl:
    find_tool("curl")
    code = CURL_ONE.replace("film.jpg", films[0])
    if len(films) > 1:
        code = CURL_MANY.replace("one.jpg", films[0]).replace("two.png", films[1])
    return Curl(folder, code.replace(SERVICE, url))


def with_key(code: str, key: str) -> str:
    """The code with a key where its comment says."""
    assert '"X-API-Key": "..."' in code
    return re.sub(r"HEADERS = {}(;?) +(?:#|//) ({.+?}).*", r"HEADERS = \2\1", code).replace(
        '"..."', f'"{key}"'
    )


def python(code: str) -> Start:
    def start(url: str, folder: Path, films: list[str]) -> Program:
        (folder / "judge.py").write_text(code.replace(SERVICE, url))
        return Program(folder, [sys.executable, "-W", "error", "judge.py", *films])

    return start


def node(url: str, folder: Path, films: list[str]) -> Program:
    program = find_tool("node")
    (folder / "judge.mjs").write_text((FETCH + IN_NODE).replace(SERVICE, url))
    return Program(folder, [program, "judge.mjs", *films])


PROGRAMS: dict[str, Start] = {
    "httpx": python(HTTPX),
    "standard library": python(STANDARD_LIBRARY),
    "node": node,
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(params=["curl", *PROGRAMS, "browser"])
def start(request: pytest.FixtureRequest) -> Start:
    """Starts one of the snippets."""
    name: str = request.param
    if name != "browser":
        return curl if name == "curl" else PROGRAMS[name]
    if executable() is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    browser: Browser = request.getfixturevalue("browser")
    return lambda url, folder, films: InAPage(browser, url, [folder / film for film in films])


@pytest.fixture
def films(tmp_path: Path, film: bytes) -> Path:
    """The folder that snippets run in, with two films and a damaged one."""
    (tmp_path / "good.jpg").write_bytes(film)
    (tmp_path / "dark.png").write_bytes(radiographs.png(radiographs.draw(seed=3) // 3))
    (tmp_path / "damaged.jpg").write_bytes(DAMAGED)
    return tmp_path


def answer_of(live: Live, film: Path) -> str:
    return _in_words(live.predict(film.read_bytes()).json())


def test_every_piece_of_code_on_the_page_is_run_here() -> None:
    assert len(BLOCKS) == 7
    assert PAGE.count("```") == 2 * len(BLOCKS)


def test_a_film_is_judged(start: Start, live: Live, films: Path) -> None:
    ended = start(live.url, films, ["good.jpg"]).finish()
    assert ended.well, ended.said
    assert answer_of(live, films / "good.jpg") in ended.said


def test_of_many_films_each_gets_its_own_answer_or_problem(start: Start, live: Live, films: Path) -> None:
    good = start(live.url, films, ["good.jpg", "dark.png"]).finish()
    assert good.well, good.said
    first, second = (answer_of(live, films / name) for name in ("good.jpg", "dark.png"))
    assert good.said.index(first) < good.said.index(second)
    mixed = start(live.url, films, ["damaged.jpg", "good.jpg"]).finish()
    assert mixed.well, mixed.said
    assert mixed.said.index("The JPEG file is damaged or cut short.") < mixed.said.index(first)


def test_more_films_than_fit_one_request_are_sent_in_several(live: Live, films: Path) -> None:
    names = ["good.jpg"] * 16 + ["dark.png"]
    ended = PROGRAMS["httpx"](live.url, films, names).finish()
    assert ended.well, ended.said
    lines = ended.said.splitlines()
    assert [line.partition(":")[0] for line in lines] == names
    assert answer_of(live, films / "dark.png") in lines[-1]


def test_a_problem_is_told_in_its_own_words_with_its_code(start: Start, live: Live, films: Path) -> None:
    ended = start(live.url, films, ["damaged.jpg"]).finish()
    assert not ended.well
    assert "The file cannot be read: The JPEG file is damaged or cut short." in ended.said
    assert "(unreadable-image" in ended.said


@pytest.mark.parametrize("code", [HTTPX, STANDARD_LIBRARY, FETCH + IN_NODE], ids=[*PROGRAMS])
def test_a_key_is_sent_where_the_comment_says(code: str, tiny_folder: Path, films: Path) -> None:
    def judged(code: str, url: str) -> Ended:
        interpreter = find_tool("node") if code.startswith("const") else sys.executable
        (films / "judge.mjs").write_text(code.replace(SERVICE, url))
        return Program(films, [interpreter, "judge.mjs", "good.jpg"]).finish()

    with running(Settings(model_dir=tiny_folder, api_keys=(entry_of("ward", "open sesame"),))) as live:
        without, wrong = judged(code, live.url), judged(with_key(code, "wrong"), live.url)
        right = judged(with_key(code, "open sesame"), live.url)
    for refused in (without, wrong):
        assert not refused.well
        assert "Key required" in refused.said
    assert right.well, right.said


@pytest.mark.parametrize("names", [["good.jpg"], ["good.jpg", "dark.png"]], ids=["one film", "two films"])
def test_while_the_service_is_overloaded_the_film_comes_again(
    start: Start, gated_live: tuple[Live, Gate], films: Path, names: list[str]
) -> None:
    live, gate = gated_live
    expected = [answer_of(live, films / name) for name in names]
    with full(live, gate, (films / "good.jpg").read_bytes()):
        started = start(live.url, films, names)
        wait_until(lambda: refused(live, "overloaded") >= 1, "it is refused")
    ended = started.finish()
    assert ended.well, ended.said
    assert all(answer in ended.said for answer in expected)


def test_while_the_service_is_shutting_down_the_film_comes_again(
    start: Start, tiny_folder: Path, films: Path
) -> None:
    with running(Settings(model_dir=tiny_folder)) as live:
        expected = answer_of(live, films / "good.jpg")
        live.service.draining = True
        started = start(live.url, films, ["good.jpg"])
        wait_until(lambda: refused(live, "draining") >= 1, "it is refused")
        live.service.draining = False
        ended = started.finish()
    assert ended.well, ended.said
    assert expected in ended.said


@contextmanager
def full(live: Live, gate: Gate, film: bytes) -> Iterator[None]:
    """The service has no room, until this ends."""
    gate.close()
    senders = [threading.Thread(target=live.predict, args=(film,)) for _ in range(3)]
    try:
        for sender in senders:
            sender.start()
        wait_until(lambda: live.service.admission.taken == 3, "three films are under way")
        yield
    finally:
        gate.open()
        for sender in senders:
            sender.join(PATIENCE_SECONDS)


def refused(live: Live, code: str) -> float:
    told = live.client.get("/metrics").text
    counts = re.findall(rf'^pneumoscope_rejected_total{{reason="{code}"}} (\S+)$', told, re.MULTILINE)
    return float(counts[0]) if counts else 0


@dataclass
class Scripted:
    """A server with its answers ready: each a status and a Retry-After; the last one is given again and again."""

    answers: list[tuple[int, str | None]]
    url: str = ""
    asked_at: list[float] = field(default_factory=list)

    @contextmanager
    def serving(self) -> Iterator["Scripted"]:
        script = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                script.asked_at.append(time.monotonic())
                self.rfile.read(int(self.headers["Content-Length"]))
                place = min(len(script.asked_at), len(script.answers)) - 1
                status, retry_after = script.answers[place]
                content = json.dumps(script.content(status)).encode()
                self.send_response(status)
                kind = "application/json" if status == 200 else "application/problem+json"
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                if retry_after is not None:
                    self.send_header("Retry-After", retry_after)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield self
        finally:
            server.shutdown()
            thread.join(PATIENCE_SECONDS)
            server.server_close()

    @staticmethod
    def content(status: int) -> dict[str, Any]:
        kinds = {429: "overloaded", 503: "not-ready"}
        return examples.PREDICTION if status == 200 else examples.problem_example(ALL_KINDS[kinds[status]])


@pytest.mark.parametrize("name", ["curl", *PROGRAMS])
def test_it_comes_back_no_sooner_than_it_was_told(name: str, films: Path) -> None:
    start = curl if name == "curl" else PROGRAMS[name]
    with Scripted([(429, "2"), (503, "1"), (200, None)]).serving() as server:
        ended = start(server.url, films, ["good.jpg"]).finish()
    assert ended.well, ended.said
    assert "PNEUMONIA 0.962113" in ended.said
    first, second, third = server.asked_at
    assert second - first >= 2
    assert third - second >= 1


@pytest.mark.parametrize("name", PROGRAMS)
def test_it_gives_up_after_some_tries_and_says_why(name: str, films: Path) -> None:
    with Scripted([(429, "0")]).serving() as server:
        ended = PROGRAMS[name](server.url, films, ["good.jpg"]).finish()
    assert not ended.well
    assert len(server.asked_at) == TRIES
    assert "Too many films at once" in ended.said
    assert "(overloaded, request " in ended.said


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_date_in_retry_after_as_proxies_send_it_is_no_error(name: str, films: Path) -> None:
    with Scripted([(503, "Wed, 21 Oct 2037 07:28:00 GMT"), (200, None)]).serving() as server:
        ended = PROGRAMS[name](server.url, films, ["good.jpg"]).finish()
    assert ended.well, ended.said
    assert len(server.asked_at) == 2


def command_lines() -> list[str]:
    """What calls curl, or prepares for it, in docs/api.md, each with its continued lines."""
    page = (ROOT / "docs" / "api.md").read_text()
    blocks = re.findall(r"^```console\n(.+?)^```$", page, re.MULTILINE | re.DOTALL)
    return re.findall(r"^\$ ((?:curl|python -c) .+(?:\n {4}.+)*)$", "".join(blocks), re.MULTILINE)


def test_the_command_lines_of_the_api_page_work(films: Path) -> None:
    find_tool("curl")
    commands = command_lines()
    assert len(commands) >= 5
    dicom = dicom_films.encoded(dicom_films.film(radiographs.draw(seed=1)))
    contents = {
        ".jpg": radiographs.jpeg(radiographs.draw()),
        ".png": radiographs.png(radiographs.draw()),
        ".dcm": dicom,
    }
    for name in re.findall(r"@(\S+\.(?!json)\w+)", " ".join(commands)):
        (films / name).write_bytes(contents[Path(name).suffix])
    with running(Settings(model_dir=ROOT / "models" / "pneumonia" / "1", device="cpu")) as live:
        for command in commands:
            line = command.replace("curl ", "curl --silent --show-error --fail ")
            line = line.replace("localhost:8000", live.url.removeprefix("http://"))
            line = re.sub(r"^python\b", sys.executable, line)
            ended = Program(films, ["bash", "-c", line]).finish()
            assert ended.well, (command, ended.said)
    assert (films / "explained.png").read_bytes().startswith(b"\x89PNG")
