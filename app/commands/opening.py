"""What commands need before they can begin, and how they end where they cannot have it."""

from typing import NoReturn

import typer

from app import settings
from app.engine.classifier import Classifier
from app.engine.errors import EngineError
from app.main import open_classifier
from app.settings import InvalidSettings, Settings
from app.telemetry.tracing import destination
from app.telemetry.variables import TracingRefused

MODEL_REFUSED = 1
SETTINGS_REFUSED = 2


def load_settings() -> Settings:
    """The settings of the environment; the command ends where they are wrong."""
    try:
        return settings.load()
    except InvalidSettings as error:
        refuse(error, SETTINGS_REFUSED)


def traces_sent() -> str:
    """Where traces would be sent, in words; ends the command where OpenTelemetry's variables are wrong."""
    try:
        return destination()
    except TracingRefused as error:
        refuse(error, SETTINGS_REFUSED)


def load_classifier(chosen: Settings) -> Classifier:
    """The model that the settings name; the command ends where it is refused."""
    try:
        return open_classifier(chosen)
    except EngineError as error:
        refuse(error, MODEL_REFUSED)


def refuse(error: Exception, code: int) -> NoReturn:
    """End the command with the error's words and this exit code."""
    typer.echo(f"pneumoscope does not start: {error}", err=True)
    raise typer.Exit(code)
