"""A film that waits in an event loop, and its answer, which a thread hands to that loop."""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from app.engine.classifier import Outputs
from app.engine.errors import EngineError
from app.engine.runs import Pixels


@dataclass(frozen=True, slots=True)
class Answer:
    """One film's outputs, each [1, ...], its seconds in the queue, and its batch's on the device and films."""

    outputs: Outputs
    queue_seconds: float
    inference_seconds: float
    films: int


@dataclass(slots=True, eq=False)
class Waiting:
    """A film, uint8, [S, S], 0 black, and who waits for its answer, since when.

    `answer` belongs to the thread of `loop`: any other thread goes through `deliver`.
    """

    pixels: Pixels
    answer: asyncio.Future[Answer]
    loop: asyncio.AbstractEventLoop
    since: float


def deliver(outcomes: Sequence[tuple[Waiting, Answer | EngineError]]) -> None:
    """Hand outcomes to the event loops that wait for them, by one call a loop; from any thread.

    A film that has its answer already, or whose loop is closed, keeps what it has.
    """
    loops: dict[asyncio.AbstractEventLoop, list[tuple[Waiting, Answer | EngineError]]] = {}
    for waiting, outcome in outcomes:
        loops.setdefault(waiting.loop, []).append((waiting, outcome))
    for loop, own in loops.items():
        with contextlib.suppress(RuntimeError):  # it is closed, or is being closed at this moment
            loop.call_soon_threadsafe(_resolve, own)


def _resolve(outcomes: Sequence[tuple[Waiting, Answer | EngineError]]) -> None:
    for waiting, outcome in outcomes:
        if waiting.answer.done():
            continue
        if isinstance(outcome, Answer):
            waiting.answer.set_result(outcome)
        else:
            waiting.answer.set_exception(outcome)
