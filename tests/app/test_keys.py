"""The keys that open the service: entries, their file, and how they are replaced while it runs."""

import hashlib
import json
import os
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from app import keys
from app.keys import InvalidKeys, KeyEntry, KeyRing, entry_of, new_key, parse_entry
from app.settings import Settings
from tests.app.command_line import run
from tests.app.live import ROOT, process, running, wait_until

DIGEST = hashlib.sha256(b"open sesame").hexdigest()
TODAY = datetime.now(UTC).date()


@pytest.fixture
def looks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ring that looks at its file whenever it is asked."""
    monkeypatch.setattr(keys, "LOOK_AGAIN_SECONDS", 0)


def write(file: Path, *entries: KeyEntry | str) -> None:
    """Replace the file in one step, as `mv` and Kubernetes do."""
    new = file.with_suffix(".new")
    new.write_text("".join(f"{entry}\n" for entry in entries))
    new.replace(file)


def test_an_entry_is_the_sha256_that_anybody_can_compute() -> None:
    assert str(entry_of("ward-7", "open sesame")) == f"ward-7:{DIGEST}"
    dated = entry_of("ward-7", "open sesame", date(2027, 1, 31))
    assert str(dated) == f"ward-7:{DIGEST}:2027-01-31"
    assert parse_entry(str(dated)) == parse_entry(f" {str(dated).upper().replace('WARD', 'ward')} ") == dated


def test_a_new_key_has_256_random_bits_and_is_nobody_elses() -> None:
    made = {new_key() for _ in range(100)}
    assert len(made) == 100
    assert all(key.startswith(keys.PREFIX) and len(key) == len(keys.PREFIX) + 43 for key in made)


@pytest.mark.parametrize(
    "entry",
    [
        "hunter2",
        "ward:hunter2",
        f"ward:{DIGEST}0",
        f":{DIGEST}",
        f"-ward:{DIGEST}",
        f"{'w' * 65}:{DIGEST}",
        f"wárd:{DIGEST}",
        f"ward\n:{DIGEST}",
        f"ward:{DIGEST}:",
        f"ward:{DIGEST}:2027-02-30",
        f"ward:{DIGEST}:20270131",
        f"ward:{DIGEST}:2027-01-31:",
    ],
)
def test_what_is_no_entry_is_refused_and_not_repeated(entry: str) -> None:
    with pytest.raises(InvalidKeys) as refused:
        parse_entry(entry)
    assert not {"hunter2", DIGEST, "2027"} & set(str(refused.value).replace(":", " ").split())


def test_a_key_opens_by_its_hash_and_tells_its_holders_name() -> None:
    ring = KeyRing([entry_of("ward", "open sesame"), entry_of("clinic", "open barley")])
    assert ring.required
    assert (ring.holder("open sesame"), ring.holder("open barley")) == ("ward", "clinic")
    for wrong in (None, "", "open", "open sesame ", "öpen sesame", DIGEST, f"ward:{DIGEST}", "x" * 100_000):
        assert ring.holder(wrong) is None


def test_every_entry_is_compared_in_constant_time_whichever_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []

    def compare(given: bytes, own: bytes) -> bool:
        compared.append(own)
        return given == own

    monkeypatch.setattr("app.keys.hmac.compare_digest", compare)
    entries = [entry_of(f"ward-{number}", f"key {number}") for number in range(5)]
    ring = KeyRing(entries)
    for key in ("key 0", "key 4", "no key"):
        compared.clear()
        ring.holder(key)
        assert compared == [entry.digest for entry in entries]


def test_two_keys_of_one_name_work_side_by_side_until_the_old_ones_last_day_is_over() -> None:
    old = entry_of("ward", "old", TODAY)
    assert KeyRing([old, entry_of("ward", "new")]).holder("old") == "ward"
    ring = KeyRing([entry_of("ward", "old", TODAY - timedelta(days=2)), entry_of("ward", "new")])
    assert (ring.holder("old"), ring.holder("new")) == (None, "ward")


def test_a_service_whose_keys_have_all_expired_is_not_open_to_everybody() -> None:
    ring = KeyRing([entry_of("ward", "old", TODAY - timedelta(days=2))])
    assert ring.required
    assert ring.holder("old") is None
    assert ring.holder(None) is None


@pytest.mark.usefixtures("looks_at_once")
def test_a_file_of_keys_is_looked_at_again_when_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    write(file, "# who may send films", "", entry_of("ward", "first"))
    ring = KeyRing((), file)
    assert ring.holder("first") == "ward"
    write(file, entry_of("ward", "first"), entry_of("ward", "second"))
    assert (ring.holder("first"), ring.holder("second")) == ("ward", "ward")
    write(file, entry_of("ward", "second"))
    assert (ring.holder("first"), ring.holder("second")) == (None, "ward")


@pytest.mark.usefixtures("looks_at_once")
@pytest.mark.parametrize("content", [b"", b"# nobody\n", b"hunter2\n", b"\xff\xfe", bytes(2_000_000), None])
def test_a_broken_file_keeps_the_keys_that_were_in_force_and_says_so_once(
    tmp_path: Path, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "keys"
    write(file, entry_of("ward", "first"))
    ring = KeyRing((), file)
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    for _ in range(3):
        assert ring.holder("first") == "ward"
        assert ring.required
    (said,) = caplog.messages
    assert said.startswith("the keys before stay in force: ")
    assert "hunter2" not in said
    write(file, entry_of("ward", "second"))
    assert (ring.holder("first"), ring.holder("second")) == (None, "ward")


@pytest.mark.usefixtures("looks_at_once")
@pytest.mark.parametrize("other", ["pipe", "device", "folder"])
def test_what_is_no_regular_file_is_refused_without_waiting_for_it(
    tmp_path: Path, other: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "keys"
    write(file, entry_of("ward", "first"))
    ring = KeyRing((), file)
    file.unlink()
    if other == "pipe":
        os.mkfifo(file)
    elif other == "device":
        file.symlink_to("/dev/zero")
    else:
        file.mkdir()
    assert ring.holder("first") == "ward"
    (said,) = caplog.messages
    assert said.startswith("the keys before stay in force: the file of keys ")
    with pytest.raises(InvalidKeys):
        KeyRing((), file)


@pytest.mark.usefixtures("looks_at_once")
def test_the_pages_command_takes_all_keys_of_the_file_out_of_force_at_once(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "security.md").read_text()
    (line,) = (line for line in page.splitlines() if line.startswith("python -m app key nobody"))
    file = tmp_path / "api_keys.txt"
    write(file, entry_of("ward", "first"), entry_of("ward", "second"))
    ring = KeyRing((), file)
    command = line.replace("python", sys.executable, 1).replace("api_keys.txt", str(file))
    subprocess.run(["sh", "-c", command], cwd=ROOT, check=True)
    assert [ring.holder(key) for key in ("first", "second", None)] == [None] * 3
    assert ring.required


def test_a_running_service_takes_a_new_key_and_drops_the_old_without_a_restart(
    tmp_path: Path, tiny_folder: Path, film: bytes
) -> None:
    file = tmp_path / "keys"
    write(file, entry_of("ward", "first"))
    with running(Settings(model_dir=tiny_folder, api_keys_file=file)) as live:

        def status(key: str) -> int:
            return live.predict(film, headers={"X-API-Key": key}).status_code

        assert (status("first"), status("second")) == (200, 401)
        write(file, entry_of("ward", "first"), entry_of("ward", "second"))
        wait_until(lambda: status("second") == 200, "the new key opens")
        assert status("first") == 200
        write(file, entry_of("ward", "second"))
        wait_until(lambda: status("first") == 401, "the old key does not open any more")
        assert status("second") == 200


def test_the_log_knows_a_caller_by_name_and_never_the_key(
    tmp_path: Path, tiny_folder: Path, film: bytes
) -> None:
    key = new_key()
    entry = entry_of("ward-7", key)
    with process(tiny_folder, tmp_path / "log", API_KEYS=str(entry)) as service:
        for given in (key, "wrong-key"):
            service.client.post("/predict", files={"file": film}, headers={"X-API-Key": given})
        wait_until(
            lambda: sum(line.get("route") == "/predict" for line in service.lines()) == 2, "both are logged"
        )
        callers = [line.get("caller") for line in service.lines() if line.get("route") == "/predict"]
        exposition = service.client.get("/metrics").text
        text = service.log.read_text()
    assert callers == ["ward-7", None]
    for secret in (key, "wrong-key", entry.digest.hex()):
        assert secret not in text + exposition


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"API_KEYS": "hunter2"}, "PNEUMOSCOPE_API_KEYS: an entry is NAME:SHA256, never the key itself; "),
        ({"API_KEYS_FILE": "/nowhere"}, "PNEUMOSCOPE_API_KEYS_FILE: the file of keys cannot be read: "),
    ],
)
def test_a_start_with_a_plain_key_or_without_the_file_is_refused_and_says_what_to_do(
    tiny_folder: Path, settings: dict[str, str], said: str
) -> None:
    ended = run(MODEL_DIR=str(tiny_folder), LOG_LEVEL="error", **settings)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert "hunter2" not in ended.stderr
    assert ("`python -m app key NAME`" in ended.stderr) == ("API_KEYS" in settings)


def test_the_command_prints_a_key_once_and_the_entry_that_it_opens_with(
    tiny_folder: Path, film: bytes
) -> None:
    ended = run("key", "ward-7", "--expires", (TODAY + timedelta(days=30)).isoformat())
    assert (ended.returncode, ended.stderr) == (0, "")
    said = dict(line.split() for line in ended.stdout.splitlines())
    assert said.keys() == {"key", "entry"}
    with running(Settings.model_validate({"model_dir": tiny_folder, "api_keys": said["entry"]})) as live:
        assert live.predict(film, headers={"X-API-Key": said["key"]}).status_code == 200
        assert live.predict(film).status_code == 401


@pytest.mark.parametrize("arguments", [("the ward",), ("ward", "--expires", "tomorrow"), ()])
def test_the_command_refuses_what_makes_no_entry(arguments: tuple[str, ...]) -> None:
    ended = run("key", *arguments)
    assert (ended.returncode, ended.stdout) == (2, "")


def test_a_log_line_of_the_reload_is_json(tmp_path: Path, tiny_folder: Path, film: bytes) -> None:
    file = tmp_path / "keys"
    write(file, entry_of("ward", "first"))
    with process(tiny_folder, tmp_path / "log", API_KEYS_FILE=str(file)) as service:
        write(file, entry_of("ward", "first"), entry_of("ward", "second"))

        def reloaded() -> bool:
            service.client.post("/predict", files={"file": film}, headers={"X-API-Key": "first"})
            return any("2 keys of the file are in force" in json.dumps(line) for line in service.lines())

        wait_until(reloaded, "the log tells of the new keys")
