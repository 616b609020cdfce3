"""The rows of `bare`: what decoding, precision and the engine are worth, round by round."""

from collections.abc import Sequence
from functools import partial

from app.engine.model_file import FLOAT_FILE, INT8_FILE
from benchmarks import bare
from benchmarks.campaign import Campaign
from benchmarks.measure import Part
from benchmarks.server import Setup

PART = "bare"
DECODINGS_A_SECOND = 1


class Limits(Part):
    """One round. `precision`: milliseconds a film alone, by model file; empty where there is only one.

    `one_film`: the engine with batches of one film; `batches`: with the service's usual largest batch.
    """

    round: int
    loops: dict[str, bare.Rate]
    decoding: bare.Decoding
    precision: dict[str, float]
    one_film: bare.Engine
    batches: bare.Engine


def limits(campaign: Campaign, setup: Setup, films: Sequence[bytes], rounds: int) -> list[Limits]:
    """What bounds the service on this machine, each part in a process of its own."""
    seconds = campaign.conditions.seconds
    return [
        campaign.row(Limits, PART, str(turn), partial(_limits, setup, films, turn, seconds))
        for turn in range(rounds)
    ]


def _limits(setup: Setup, films: Sequence[bytes], turn: int, seconds: float) -> Limits:
    models = [setup.model.parent / name for name in (FLOAT_FILE, INT8_FILE)]
    models = [model for model in models if model.is_file()]
    precision: dict[str, float] = {}
    if len(models) > 1:
        taken = bare.in_own_process(bare.sessions, models, 1, seconds, device=setup.device)
        precision = dict(zip([model.name for model in models], taken, strict=True))
    one_film, batches = (
        bare.in_own_process(bare.engine, setup.model, batch, seconds / 2, device=setup.device)
        for batch in (1, 32 if setup.device == "cuda" else 2)
    )
    return Limits(
        round=turn,
        loops=bare.loops(setup.model, films, seconds, setup.device),
        decoding=bare.in_own_process(
            bare.decoding, films, setup.input_size, max(3, round(DECODINGS_A_SECOND * seconds))
        ),
        precision=precision,
        one_film=one_film,
        batches=batches,
    )
