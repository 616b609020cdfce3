"""What containers get of the file .env and of the shell's environment: settings, no secrets of each other."""

import re

import pytest

from app.settings import PREFIX, Settings, load
from tests.shipping.repository import COMPOSE, COMPOSE_GPU, ROOT
from tests.shipping.test_compose import STACKS, stack

SECRETS = {
    "ORTHANC_PASSWORD",
    "PNEUMOSCOPE_API_KEYS",
    "PNEUMOSCOPE_ORTHANC_PASSWORD",
    "PNEUMOSCOPE_ORTHANC_SERVICE_KEY",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
}
"""What a file .env may hold that is a key or a password, or stands for one."""


def test_every_setting_that_is_a_secret_is_known_as_one() -> None:
    secret = {name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)}
    assert secret
    assert {PREFIX + name.upper() for name in secret} <= SECRETS


@pytest.mark.parametrize(
    ("name", "needed"),
    [
        (
            "pneumoscope",
            {"PNEUMOSCOPE_API_KEYS", "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"},
        ),
        ("bridge", {"PNEUMOSCOPE_ORTHANC_PASSWORD", "PNEUMOSCOPE_ORTHANC_SERVICE_KEY"}),
        ("orthanc", {"ORTHANC_PASSWORD"}),
    ],
)
@pytest.mark.parametrize("hardware", STACKS)
def test_a_container_gets_no_key_or_password_that_it_does_not_need(
    hardware: str, name: str, needed: set[str]
) -> None:
    container = stack(hardware)[name]
    # What stands under `environment` goes before what stands in a file.
    whole_file = dict.fromkeys(SECRETS, "from the file") if "env_file" in container else {}
    given = whole_file | container["environment"]
    assert {variable for variable in SECRETS if given.get(variable)} == needed


@pytest.mark.parametrize("hardware", STACKS)
def test_what_a_container_does_not_get_is_as_if_it_were_not_there(
    hardware: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("pneumoscope", "bridge"):
        for variable, value in stack(hardware)[name]["environment"].items():
            if not value:
                monkeypatch.setenv(variable, value)
    chosen = load()
    assert (chosen.api_keys, chosen.orthanc_password, chosen.orthanc_service_key) == ((), None, None)


def test_the_page_lists_every_variable_that_the_files_take_from_the_shell_and_no_other() -> None:
    page = (ROOT / "docs" / "deploy.md").read_text()
    _, _, table = page.partition("| variable | default | meaning |\n| --- | --- | --- |\n")
    rows = [line.split("|") for line in table.partition("\n\n")[0].splitlines()]
    listed = {row[1].strip(" `"): row[2].strip(" `").partition(":")[0] for row in rows}
    taken = dict(re.findall(r"(?<!\$)\$\{([A-Z_]+):-([^:}]*)", COMPOSE.read_text() + COMPOSE_GPU.read_text()))
    assert listed == taken | {"ORTHANC_PASSWORD": "none"}
