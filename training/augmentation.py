"""Augmentation as one Keras layer, so that it runs inside the compiled training step.

Films differ in position, rotation and, above all, in exposure and sharpness: style, which in the public data
set tells the label almost as well as the lungs do (docs/training.md). The layer therefore varies style hard.
They also differ in what they went through on the way: resampling, noise, JPEG. That tells nothing at all, so
the layer can give several views of a film that differ in nothing else, for the loss to hold together.
"""

import math
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

STRENGTHS = {"none": 0.0, "light": 0.5, "medium": 1.0, "strong": 1.5}

LUMINANCE = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ],
    np.float32,
)
"""Luminance quantisation of ITU-T T.81, table K.1, which libjpeg scales by its quality."""


@keras.saving.register_keras_serializable("pneumoscope")
class Augmentation(keras.layers.Layer):  # type: ignore[misc]
    """Random geometry and intensity; the identity outside training.

    Input: float32, [batch, size, size, 1], grey levels from 0 to 255. Output: the same, [views * batch, …], the
    batch's first views, then its second ones; views of a film share its geometry and tone and differ in blur,
    noise and JPEG alone. `strength` scales every range: at 1, rotation ±5°, shift ±3 %, zoom ±6 %, shear ±2.5°,
    gamma 0.5 to 2, contrast ±50 %, brightness ±21 %, local contrast −80 % to +140 %, blur, noise, and JPEG down to
    quality 30; width up and height down by a factor of up to exp(`aspect`), or the other way round. Of width and
    of height, each by itself, up to a share of `crop` is cut off, and the rest fills the square. `flip` mirrors
    half of the films, which breaks laterality.
    """

    def __init__(
        self,
        strength: float = 1.0,
        *,
        aspect: float = 0.08,
        crop: float = 0.1,
        flip: bool = False,
        views: int = 1,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(dtype="float32", **options)
        self.strength = strength
        self.aspect = aspect
        self.crop = crop
        self.flip = flip
        self.views = views
        self.seed = seed
        self.generator = keras.random.SeedGenerator(seed)

    def call(self, films: Any, training: bool = False) -> Any:
        """Vary `films` where `training`; else return them as they are."""
        if not training:
            return films
        if self.strength:
            films = self._expose(self._move(ops.cast(films, "float32")) / 255.0) * 255.0
        views = [self._degrade(films) if self.strength else films for _ in range(self.views)]
        return ops.concatenate(views, axis=0)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Shape of the output, [views * batch, size, size, 1]."""
        films = input_shape[0]
        return (None if films is None else films * self.views, *input_shape[1:])

    def _uniform(self, films: Any, low: float, high: float) -> Any:
        return keras.random.uniform((ops.shape(films)[0],), low, high, seed=self.generator)

    def _move(self, films: Any) -> Any:
        """One affine resampling about the centre; what comes in from outside is black."""
        size = ops.cast(ops.shape(films)[1], "float32")
        s = self.strength

        def draw(low: float, high: float) -> Any:
            return self._uniform(films, low, high)

        angle = draw(-5, 5) * (s * math.pi / 180)
        shear = draw(-2.5, 2.5) * (s * math.pi / 180)
        zoom = ops.exp(draw(-0.06, 0.06) * s)
        aspect = ops.exp(draw(-self.aspect, self.aspect) * s)
        lost_x, lost_y = (draw(0, self.crop) * min(s, 1.0) for _ in "xy")
        across, down = zoom * aspect * (1 - lost_x), zoom / aspect * (1 - lost_y)
        if self.flip:
            across = across * ops.sign(draw(-1, 1))
        a, b = across * ops.cos(angle), -down * ops.sin(angle + shear)
        c, d = across * ops.sin(angle), down * ops.cos(angle + shear)
        middle = (size - 1) / 2
        shift_x = (draw(-0.03, 0.03) * s + draw(-0.5, 0.5) * lost_x) * size
        shift_y = (draw(-0.03, 0.03) * s + draw(-0.5, 0.5) * lost_y) * size
        x0 = middle - a * middle - b * middle + shift_x
        y0 = middle - c * middle - d * middle + shift_y
        zero = ops.zeros_like(a)
        transforms = ops.stack([a, b, x0, c, d, y0, zero, zero], axis=1)
        return ops.image.affine_transform(films, transforms, interpolation="bilinear", fill_mode="constant")

    def _expose(self, films: Any) -> Any:
        """Tone and local contrast on grey levels from 0 to 1."""
        s = self.strength

        def draw(low: float, high: float) -> Any:
            return ops.reshape(self._uniform(films, low, high), (-1, 1, 1, 1))

        films = ops.clip(films, 0.0, 1.0)
        films = ops.power(films + 1e-6, ops.exp(draw(-0.7, 0.7) * s))
        # Local contrast: what a coarse blur leaves is taken away or doubled, as local equalisation would.
        coarse = _smooth(films, 8)
        films = coarse + (films - coarse) * (1 + draw(-0.8 * min(1, 1 / s), 1.4) * s)
        coarse_shift = draw(-0.525, 0.35) * s
        films = films + (coarse - ops.mean(coarse, axis=(1, 2), keepdims=True)) * coarse_shift
        mean = ops.mean(films, axis=(1, 2), keepdims=True)
        films = mean + (films - mean) * (1 + draw(-0.525, 0.525) * s) + draw(-0.21, 0.21) * s
        return ops.clip(films, 0.0, 1.0)

    def _degrade(self, films: Any) -> Any:
        """Blur, noise and JPEG on grey levels from 0 to 255; each befalls half of the films."""
        s = self.strength

        def draw(low: float, high: float) -> Any:
            return ops.reshape(self._uniform(films, low, high), (-1, 1, 1, 1))

        # Up to the whole of a 3 × 3 mean.
        soft = ops.average_pool(films, 3, strides=1, padding="same")
        films = films + (soft - films) * ops.maximum(draw(-1.0, 1.0), 0.0) * min(s, 1.0)
        noise = keras.random.normal(ops.shape(films), seed=self.generator)
        films = films + noise * ops.maximum(draw(-10.0, 10.0), 0.0) * s
        films = ops.clip(films, 0.0, 255.0)
        quality = draw(max(90 - 60 * s, 1), 95)
        return ops.where(draw(-1.0, 1.0) > 0, through_jpeg(films, quality), films)

    def get_config(self) -> dict[str, Any]:
        """What rebuilds the layer."""
        names = ("strength", "aspect", "crop", "flip", "views", "seed")
        options = {name: getattr(self, name) for name in names}
        config: dict[str, Any] = {**super().get_config(), **options}
        config.pop("dtype", None)
        return config


def _smooth(films: Any, parts: int) -> Any:
    """Mean over squares of an eighth of the side, brought back to full size."""
    size = films.shape[1]
    pooled = ops.average_pool(films, max(size // parts, 1), strides=max(size // parts, 1), padding="same")
    return ops.image.resize(pooled, (size, size), interpolation="bilinear")


def through_jpeg(films: Any, quality: Any) -> Any:
    """What greyscale JPEG at `quality` leaves of `films`, as libjpeg would, but for its rounding to integers.

    Args:
        films: [batch, size, size, 1], grey levels from 0 to 255.
        quality: from 1 to 100, [batch, 1, 1, 1].
    """
    size = films.shape[1]
    more = -size % 8
    padded = ops.pad(films, [[0, 0], [0, more], [0, more], [0, 0]], mode="symmetric") if more else films
    side = size + more
    blocks = ops.reshape(padded, (-1, side // 8, 8, side // 8, 8)) - 128.0
    cosines = ops.convert_to_tensor(_cosines())
    frequencies = ops.einsum("ua,nyaxb,vb->nyuxv", cosines, blocks, cosines)
    scale = ops.where(quality < 50, 5000.0 / quality, 200.0 - 2.0 * quality)
    steps = ops.clip(
        ops.floor((LUMINANCE[None, None, :, None, :] * scale[..., None] + 50.0) / 100.0), 1.0, 255.0
    )
    kept = ops.round(frequencies / steps) * steps
    pixels = ops.einsum("ua,nyuxv,vb->nyaxb", cosines, kept, cosines) + 128.0
    return ops.clip(ops.reshape(pixels, (-1, side, side, 1))[:, :size, :size], 0.0, 255.0)


def _cosines() -> npt.NDArray[np.float32]:
    """Orthonormal 8-point DCT-II, [frequency, place]."""
    frequency, place = np.mgrid[:8, :8]
    waves = np.cos((2 * place + 1) * frequency * np.pi / 16) * np.where(frequency == 0, np.sqrt(0.5), 1.0)
    halved: npt.NDArray[np.float32] = (waves / 2).astype(np.float32)
    return halved
