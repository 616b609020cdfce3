import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from app import settings
from app.keys import entry_of
from app.settings import PREFIX, InvalidSettings, Settings

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


def test_every_setting_has_its_heading_and_nothing_else_does() -> None:
    documented = set(re.findall(rf"^### `({PREFIX}[A-Z0-9_]+)`$", PAGE.read_text(), re.MULTILINE))
    assert documented == {PREFIX + name.upper() for name in Settings.model_fields}


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_has_a_description_and_its_default_in_the_docs(name: str) -> None:
    field = Settings.model_fields[name]
    assert field.description
    assert field.description[0].isupper()
    assert field.description.endswith(".")
    section = PAGE.read_text().split(f"### `{PREFIX}{name.upper()}`\n")[1].split("\n###")[0]
    default = field.default
    if isinstance(default, tuple):
        default = ",".join(default)
    shown = "none" if default in (None, "") else f"`{default}`"
    assert f"Default: {shown}." in section


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "eighty"),
        ("PORT", "70000"),
        ("PORT", "tcp://10.0.0.1:8000"),
        ("DEVICE", "gpu"),
        ("PRECISION", "fp8"),
        ("THRESHOLD", "1"),
        ("THRESHOLD", "0"),
        ("THRESHOLD", "nan"),
        ("MAX_BATCH", "0"),
        ("MAX_BATCH", "many"),
        ("BATCH_WAIT_MS", "-1"),
        ("MAX_QUEUE", "0"),
        ("MAX_UPLOAD_MB", "-5"),
        ("MAX_PIXELS", "999999999"),
        ("MODEL_SHA256", "abc"),
        ("ROOT_PATH", "no-slash"),
        ("LOG_LEVEL", "loud"),
        ("API_KEYS", "open sesame"),
        ("API_KEYS", f"ward:{'0' * 63}"),
        ("API_KEYS", f"ward:{'0' * 64}:tomorrow"),
        ("API_KEYS", f"the ward:{'0' * 64}"),
        ("CORS_ORIGINS", "*"),
        ("CORS_ORIGINS", "null"),
        ("CORS_ORIGINS", "https://viewer.test/page"),
        ("RATE_LIMIT", "600"),
        ("RATE_LIMIT", "0/minute"),
        ("RATE_LIMIT", "10/fortnight"),
    ],
)
def test_an_invalid_value_is_refused_in_one_line_that_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(PREFIX + name, value)
    with pytest.raises(InvalidSettings) as refused:
        settings.load()
    assert str(refused.value).startswith(f"{PREFIX}{name}: ")
    assert "\n" not in str(refused.value)


def test_two_mistakes_are_both_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}PORT", "x")
    monkeypatch.setenv(f"{PREFIX}DEVICE", "x")
    with pytest.raises(InvalidSettings, match=rf"{PREFIX}PORT.*; {PREFIX}DEVICE"):
        settings.load()


def test_a_secret_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}API_KEYS", str(entry_of("ward", "open sesame")))
    monkeypatch.setenv(f"{PREFIX}ORTHANC_PASSWORD", "hunter2")
    shown = repr(settings.load())
    assert "hunter2" not in shown
    assert entry_of("ward", "open sesame").digest.hex() not in shown


def test_values_are_read_as_people_write_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "DEVICE": "CPU",
        "LOG_LEVEL": "WARNING",
        "TRUSTED_HOSTS": " a.test, *.b.test ,",
        "MAX_BATCH": "16",
        "THRESHOLD": "",
    }.items():
        monkeypatch.setenv(PREFIX + name, value)
    loaded = settings.load()
    assert (loaded.device, loaded.log_level, loaded.max_batch, loaded.threshold) == (
        "cpu",
        "warning",
        16,
        None,
    )
    assert loaded.trusted_hosts == ("a.test", "*.b.test")


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 1  # type: ignore[misc]


def test_a_misspelt_variable_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}TRESHOLD", "0.5")
    assert settings.unknown_variables() == [f"{PREFIX}TRESHOLD"]
