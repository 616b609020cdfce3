"""The command line: `python -m app` serves, `predict` judges films without a server, `check` says how fast."""

import logging

import typer

from app import settings
from app.commands.check import check
from app.commands.dicom import dicom, orthanc
from app.commands.key import key
from app.commands.opening import SETTINGS_REFUSED, load_classifier, load_settings, refuse, traces_sent
from app.commands.predict import predict
from app.keys import InvalidKeys
from app.serving import serve as run_server
from app.telemetry import logs
from app.telemetry.stream import log_stream

log = logging.getLogger(__name__)
cli = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__)
for command in (check, predict, dicom, orthanc, key):
    cli.command()(command)


@cli.callback(invoke_without_command=True)
def serve(context: typer.Context) -> None:
    """Serve until told to stop. Settings come from environment variables; see docs/settings.md."""
    if context.invoked_subcommand is not None:
        return
    chosen = load_settings()
    logs.configure(chosen.log_level, style=chosen.log_format, stream=log_stream())
    for name in settings.unknown_variables():
        log.warning("%s is no setting; is it misspelt?", name)
    traces_sent()
    classifier = load_classifier(chosen)
    log.info(
        "%s %s on %s (%s), %s",
        classifier.manifest.name,
        classifier.manifest.version,
        classifier.provider.name,
        classifier.provider.reason,
        classifier.precision,
    )
    try:
        run_server(chosen, classifier)
    except InvalidKeys as error:
        refuse(ValueError(f"{settings.PREFIX}API_KEYS_FILE: {error}"), SETTINGS_REFUSED)


def main() -> None:
    """Run the command line."""
    cli()
