"""A heat map as a picture: alone on a transparent ground, or laid over the film at the film's own size; and that
film alone.

Only evidence *for* pneumonia is painted: the weaker it is, the more transparent. The colours are those of
"inferno" (N. Smith and S. van der Walt, CC0), whose lightness rises evenly: brighter always means more.
"""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from app.imaging.radiograph import MAX_PIXELS
from app.imaging.upload import read_upright

Heatmap = npt.NDArray[np.float32]

MAX_PAINTED_PIXELS = 16_000_000
"""Films with more pixels than this are painted on a smaller copy."""

MAX_SHOWN_PIXELS = 4_000_000
"""Films with more pixels than this are shown alone as a smaller copy: a screen has no more."""

FULL_SCALE = 4.0
"""Evidence (in logits) that is painted in the brightest colour; a film's own maximum, where that is more."""

_OVERLAY_SIDE = 448
_SMOOTH_SIDE = 256
_STRONGEST = 0.7
_INFERNO = (
    (0, 0, 4), (22, 11, 57), (66, 10, 104), (106, 23, 110), (147, 38, 103), (188, 55, 84),
    (221, 81, 58), (243, 120, 25), (252, 165, 10), (246, 215, 70), (252, 255, 164),
)  # fmt: skip


def layer(heatmap: Heatmap, width: int, height: int) -> bytes:
    """The heat map alone as a transparent PNG in the film's proportions, its longer side 448 pixels.

    Args:
        heatmap: float32, [h, w], evidence for pneumonia in logits.
        width: the upright film's own width in pixels.
        height: its own height.
    """
    scale = _OVERLAY_SIDE / max(width, height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    evidence = _evidence(heatmap, size)
    picture = _coloured(evidence)
    picture.putalpha(_opacity(evidence))
    return _png(picture)


def over_film(data: bytes, heatmap: Heatmap, *, max_pixels: int = MAX_PIXELS) -> bytes:
    """The film in `data`, upright and at its own size, with the heat map over it, as an RGB PNG.

    Args and errors are those of `painted`; films over `MAX_PAINTED_PIXELS` are painted on a smaller copy.
    """
    return _png(painted(data, heatmap, max_pixels=max_pixels))


def painted(
    data: bytes, heatmap: Heatmap, *, max_pixels: int = MAX_PIXELS, shrink_to: int = MAX_PAINTED_PIXELS
) -> Image.Image:
    """The film in `data`, upright, with the heat map over it, as an 'RGB' picture.

    Args:
        data: the upload that `heatmap` is the answer to, JPEG, PNG or DICOM.
        heatmap: float32, [h, w], evidence for pneumonia in logits.
        max_pixels: refuse larger films.
        shrink_to: films with more pixels are painted on a copy with about as many.

    Raises:
        ImagingError: as `app.imaging.read` does.
    """
    film = read_upright(data, max_pixels=max_pixels, shrink_to=shrink_to)
    evidence = _evidence(heatmap, film.size)
    return Image.composite(_coloured(evidence), film.convert("RGB"), _opacity(evidence))


def film_alone(data: bytes, *, max_pixels: int = MAX_PIXELS) -> bytes:
    """The film in `data`, upright and at its own size, as an 8-bit greyscale PNG.

    Args:
        data: an upload, JPEG, PNG or DICOM.
        max_pixels: refuse larger films; those over `MAX_SHOWN_PIXELS` come back smaller.

    Raises:
        ImagingError: as `app.imaging.read` does.
    """
    return _png(read_upright(data, max_pixels=max_pixels, shrink_to=MAX_SHOWN_PIXELS))


def _evidence(heatmap: Heatmap, size: tuple[int, int]) -> Image.Image:
    """Evidence from 0 to 255 as an 'L' picture of `size`, smoothly between the regions' centres."""
    scaled = np.clip(heatmap, 0, None) * (255 / max(FULL_SCALE, float(heatmap.max())))
    smooth = Image.fromarray(scaled).resize((_SMOOTH_SIDE, _SMOOTH_SIDE), Image.Resampling.BILINEAR)
    levels = Image.fromarray(np.rint(np.asarray(smooth)).astype(np.uint8))
    return levels.resize(size, Image.Resampling.BILINEAR)


def _coloured(evidence: Image.Image) -> Image.Image:
    stops = np.linspace(0, 255, len(_INFERNO))
    table = [np.interp(np.arange(256), stops, channel) for channel in zip(*_INFERNO, strict=True)]
    channels = [evidence.point(np.rint(levels).astype(np.uint8).tolist()) for levels in table]
    return Image.merge("RGB", channels)


def _opacity(evidence: Image.Image) -> Image.Image:
    return evidence.point([round(_STRONGEST * 255 * (level / 255) ** 0.5) for level in range(256)])


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
