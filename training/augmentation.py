"""Augmentation as one Keras layer, so that it runs inside the compiled training step.

Films differ in position, rotation and, above all, in exposure and sharpness: style, which in the public data
set tells the label almost as well as the lungs do (docs/training.md). The layer therefore varies style hard.
"""

import math
from typing import Any

import keras
from keras import ops

STRENGTHS = {"none": 0.0, "light": 0.5, "medium": 1.0, "strong": 1.5}


@keras.saving.register_keras_serializable("pneumoscope")
class Augmentation(keras.layers.Layer):  # type: ignore[misc]
    """Random geometry and intensity; the identity outside training.

    Input and output: float32, [batch, size, size, 1], grey levels from 0 to 255. `strength` scales every
    range: at 1, rotation ±10°, shift ±6 %, zoom ±12 %, aspect ±8 %, shear ±5°, gamma 0.67 to 1.5, contrast
    ±30 %, brightness ±12 %, local contrast −50 % to +80 %, blur and noise. `flip` mirrors half of the films,
    which breaks laterality.
    """

    def __init__(
        self, strength: float = 1.0, *, flip: bool = False, seed: int | None = None, **options: Any
    ) -> None:
        super().__init__(dtype="float32", **options)
        self.strength = strength
        self.flip = flip
        self.seed = seed
        self.generator = keras.random.SeedGenerator(seed)

    def call(self, films: Any, training: bool = False) -> Any:
        """Vary `films` where `training`; else return them as they are."""
        if not training or not self.strength:
            return films
        films = self._move(ops.cast(films, "float32"))
        return self._expose(films / 255.0) * 255.0

    def _uniform(self, films: Any, low: float, high: float) -> Any:
        return keras.random.uniform((ops.shape(films)[0],), low, high, seed=self.generator)

    def _move(self, films: Any) -> Any:
        """One affine resampling about the centre; what comes in from outside is black."""
        size = ops.cast(ops.shape(films)[1], "float32")
        s = self.strength

        def draw(low: float, high: float) -> Any:
            return self._uniform(films, low, high)

        angle = draw(-10, 10) * (s * math.pi / 180)
        shear = draw(-5, 5) * (s * math.pi / 180)
        zoom = ops.exp(draw(-0.12, 0.12) * s)
        aspect = ops.exp(draw(-0.08, 0.08) * s)
        across, down = zoom * aspect, zoom / aspect
        if self.flip:
            across = across * ops.sign(draw(-1, 1))
        a, b = across * ops.cos(angle), -down * ops.sin(angle + shear)
        c, d = across * ops.sin(angle), down * ops.cos(angle + shear)
        middle = (size - 1) / 2
        shift_x = draw(-0.06, 0.06) * s * size
        shift_y = draw(-0.06, 0.06) * s * size
        x0 = middle - a * middle - b * middle + shift_x
        y0 = middle - c * middle - d * middle + shift_y
        zero = ops.zeros_like(a)
        transforms = ops.stack([a, b, x0, c, d, y0, zero, zero], axis=1)
        return ops.image.affine_transform(films, transforms, interpolation="bilinear", fill_mode="constant")

    def _expose(self, films: Any) -> Any:
        """Tone, local contrast, sharpness and noise on grey levels from 0 to 1."""
        s = self.strength

        def draw(low: float, high: float) -> Any:
            return ops.reshape(self._uniform(films, low, high), (-1, 1, 1, 1))

        films = ops.clip(films, 0.0, 1.0)
        films = ops.power(films + 1e-6, ops.exp(draw(-0.4, 0.4) * s))
        # Local contrast: what a coarse blur leaves is taken away or doubled, as local equalisation would.
        coarse = _smooth(films, 8)
        films = coarse + (films - coarse) * (1 + draw(-0.5, 0.8) * s)
        coarse_shift = draw(-0.3, 0.2) * s
        films = films + (coarse - ops.mean(coarse, axis=(1, 2), keepdims=True)) * coarse_shift
        mean = ops.mean(films, axis=(1, 2), keepdims=True)
        films = mean + (films - mean) * (1 + draw(-0.3, 0.3) * s) + draw(-0.12, 0.12) * s
        # Sharpness: half of the films are softened, by up to the whole of a 3 × 3 mean.
        soft = ops.average_pool(films, 3, strides=1, padding="same")
        films = films + (soft - films) * ops.maximum(draw(-1.0, 1.0), 0.0) * min(s, 1.0)
        noise = keras.random.normal(ops.shape(films), seed=self.generator)
        films = films + noise * ops.maximum(draw(-0.04, 0.04), 0.0) * s
        return ops.clip(films, 0.0, 1.0)

    def get_config(self) -> dict[str, Any]:
        """What rebuilds the layer."""
        options = {"strength": self.strength, "flip": self.flip, "seed": self.seed}
        config: dict[str, Any] = {**super().get_config(), **options}
        config.pop("dtype", None)
        return config


def _smooth(films: Any, parts: int) -> Any:
    """Mean over squares of an eighth of the side, brought back to full size."""
    size = films.shape[1]
    pooled = ops.average_pool(films, max(size // parts, 1), strides=max(size // parts, 1), padding="same")
    return ops.image.resize(pooled, (size, size), interpolation="bilinear")
