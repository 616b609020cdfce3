"""Runs of a classifier on its device: padded to a few sizes, timed, and told apart where they fail.

A batch is padded to one of a few sizes, all of which are run before readiness (a first run of a new shape is
slow). How long each size takes is kept. Where a run fails its halves run again, so that one bad film fails alone;
where memory is short the sizes shrink.

A film on which the device fails alone is followed by a black one. If that fails too, the device is lost, and no
fault of the film.
"""

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.engine.classifier import Classifier, Outputs, not_a_probability
from app.engine.errors import DeviceFailed, OutOfDeviceMemory

Pixels = npt.NDArray[np.uint8]

_SMOOTHING = 0.2

log = logging.getLogger(__name__)


def batch_sizes(max_batch: int) -> tuple[int, ...]:
    """The sizes that batches are padded to: powers of two below `max_batch`, and `max_batch` itself."""
    powers = [2**power for power in range(max_batch.bit_length()) if 2**power < max_batch]
    return (*powers, max_batch)


@dataclass(frozen=True, slots=True)
class BatchRun:
    """What one batch was like, for the metrics: its films, without the padding."""

    films: int
    seconds: float


class Runs:
    """The runs of a `Classifier`, which nothing else runs meanwhile.

    `outcomes` may be called from as many threads at a time as the classifier has lanes, `warm` from one of them,
    and all else from any thread. There is no lock, so that who asks never waits for the device: the sizes and
    their seconds are replaced whole and never changed in place, and a run keeps to the size that it began with.
    Of two lanes that replace them at once, one's is lost, which the next run makes good.
    """

    def __init__(self, classifier: Classifier, *, max_batch: int, on_loss: Callable[[], None]) -> None:
        """Nothing has run yet.

        Args:
            classifier: the model.
            max_batch: most films in one run of the session.
            on_loss: called from a lane's thread, inside `outcomes`, when the device fails on a black film too.
        """
        self._classifier = classifier
        self._on_loss = on_loss
        self.sizes = batch_sizes(max_batch)
        """The sizes that batches are padded to, in rising order; fewer once memory was short."""
        self.alone_seconds = 0.0
        """Smoothed seconds of one film that has all cores for itself; 0 before."""
        self.film_seconds = 0.0
        """Seconds that a film takes where many wait, as it was found when warming; 0 before."""
        self._size_seconds: dict[int, float] = {}
        self._under_way: set[object] = set()

    @property
    def under_way(self) -> frozenset[object]:
        """A token of each run that the device has not answered yet."""
        return frozenset(self._under_way)

    def seconds_of(self, films: int) -> float:
        """Seconds of one lane for so many films, in batches of whatever size has been the quickest for them.

        Were it the largest size alone, one slow run of it could make every wait look too long, so that no such
        batch would come together again to correct it.
        """
        return min(
            (
                math.ceil(films / size) * seconds
                for size, seconds in self._size_seconds.items()
                if size < 2 * films
            ),
            default=0.0,
        )

    def warm(self, stopping: Callable[[], bool]) -> bool:
        """Run and time every size; False if `stopping` said so before all were run.

        Raises:
            DeviceFailed: a size failed, and not for want of memory that a smaller one would do with.
        """
        for films in self.sizes:
            if stopping():
                return False
            try:
                self._warm_size(films)
            except OutOfDeviceMemory:
                if not self._shrink(films):
                    raise
                break
            except DeviceFailed:
                raise
            except Exception as error:  # the thread must outlive it: it is what tries again
                log.exception("a batch of %d black films failed", films)
                raise DeviceFailed(f"The batch failed with {type(error).__name__}.") from error
        quickest = min(seconds / size for size, seconds in self._size_seconds.items())
        self.film_seconds = quickest / self._classifier.lanes
        return True

    def outcomes(self, films: Sequence[Pixels], *, alone: bool = False) -> list[Outputs | DeviceFailed]:
        """What becomes of each film. Where a run fails its halves run again, so that one bad film fails alone.

        Args:
            films: at least one, each uint8, [S, S], 0 black.
            alone: whether the one film has all cores for itself.
        """
        size = next((size for size in self.sizes if size >= len(films)), None)
        if size is None:  # memory was short since they were gathered
            return self._in_halves(films)
        try:
            return self._sound(films, size, alone=alone)
        except OutOfDeviceMemory as error:
            self._shrink(size)
            failure: DeviceFailed = error
        except DeviceFailed as error:
            failure = error
        except Exception as error:  # the thread must outlive whatever one batch provokes
            log.exception("a batch of %d failed", len(films))
            failure = DeviceFailed(f"The batch failed with {type(error).__name__}.")
        log.error("a batch of %d failed: %s", len(films), failure)
        if len(films) > 1:
            return self._in_halves(films)
        if not self._takes_a_black_film():
            self._on_loss()
        return [failure]

    def _sound(self, films: Sequence[Pixels], size: int, *, alone: bool) -> list[Outputs | DeviceFailed]:
        outputs = self._classify(films, size, alone=alone)
        sound = outputs.sound()
        return [outputs.of_film(row) if sound[row] else not_a_probability() for row in range(len(films))]

    def _in_halves(self, films: Sequence[Pixels]) -> list[Outputs | DeviceFailed]:
        half = len(films) // 2
        return self.outcomes(films[:half]) + self.outcomes(films[half:])

    def _warm_size(self, films: int) -> None:
        black = self._black(films)
        self._run(black, alone=False)  # the first run of a shape is slow
        self._classify(list(black), films, alone=False)  # and this one is timed
        if films == 1 and self._classifier.lanes > 1:
            self._run(black, alone=True)
            self._classify(list(black), films, alone=True)

    def _takes_a_black_film(self) -> bool:
        """Whether the device still runs at all, now that it has failed on one film."""
        try:
            self._run(self._black(1), alone=False)
        except DeviceFailed:
            return False
        except Exception:  # the thread must outlive this too; a warm model will show that all is well again
            log.exception("a black film failed")
            return False
        return True

    def _black(self, films: int) -> Pixels:
        side = self._classifier.input_size
        return np.zeros((films, side, side), np.uint8)

    def _classify(self, films: Sequence[Pixels], size: int, *, alone: bool) -> Outputs:
        """One run of the session, padded with black films to `size`, its time noted."""
        pixels = np.empty((size, *films[0].shape), np.uint8)
        np.stack(films, out=pixels[: len(films)])
        pixels[len(films) :] = 0
        started = time.perf_counter()
        outputs = self._run(pixels, alone=alone)
        seconds = time.perf_counter() - started
        if alone:
            self.alone_seconds = _smoothed(self.alone_seconds or seconds, seconds)
        else:
            smoothed = _smoothed(self._size_seconds.get(size, seconds), seconds)
            self._size_seconds = {**self._size_seconds, size: smoothed}  # anew: other threads go through it
        return outputs

    def _run(self, pixels: Pixels, *, alone: bool) -> Outputs:
        run = object()
        self._under_way.add(run)
        try:
            if alone or self._classifier.lanes == 1:
                return self._classifier.run(pixels)
            return self._classifier.run_beside(pixels)
        finally:
            self._under_way.discard(run)

    def _shrink(self, size: int) -> bool:
        """Use only batches smaller than `size` from now on; False where there are none."""
        smaller = tuple(known for known in self.sizes if known < size)
        if smaller:
            log.warning("out of device memory with %d films; batches have at most %d now", size, smaller[-1])
            self.sizes = smaller
            self._size_seconds = {
                known: taken for known, taken in self._size_seconds.items() if known in smaller
            }
        return bool(smaller)


def _smoothed(known: float, seconds: float) -> float:
    return known + _SMOOTHING * (seconds - known)
