"""Pictures that should not be read as ordinary frontal chest films, and how many of them a model file flags.

Some are made from held-out films (turned, mirrored, cropped, drawn over), the others are drawn, or cut from
pictures that scikit-learn and matplotlib carry.
"""

import gzip
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from matplotlib.cbook import get_sample_data
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from sklearn.datasets import load_sample_images

from app.engine.classifier import Classifier
from training.dataset import Dataset, Pixels
from training.evaluate import classifier_outputs, review_by_reason
from training.metrics import Array, Mask
from training.report import BLUE, GREY, ORANGE

ORDINARY = "ordinary films"
"""Name of held-out films as they are: what is flagged there is a false alarm."""

Random = np.random.Generator


class ProbeError(ValueError):
    """A model file that does not tell novelty, or has no limit for it."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One kind of picture: `make` maps a film, uint8 [side, side], to the picture, uint8 [side, side].

    Drawn kinds take only the side from the film. `how` says in words how it is made.
    """

    how: str
    make: Callable[[Pixels, Random], Pixels]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How pictures of one kind fared.

    `ratios`: novelty over its limit, float64 [pictures]. `review`: for which the service asks a person to look,
    by reason, bool [pictures].
    """

    kind: str
    ratios: Array
    review: Mapping[str, Mask]


def probes(films: Dataset, count: int, seed: int = 0) -> dict[str, Pixels]:
    """Pictures of every kind of `PROBES`: uint8 [count, side, side] by name, side being that of the films.

    Args:
        films: held-out films, from which the first kinds are made; some are taken twice if `count` exceeds them.
        count: of pictures of a kind.
        seed: the same films and seed give the same pictures.
    """
    chosen = np.resize(np.random.default_rng(seed).permutation(len(films)), count)
    pictures = {}
    for place, (name, probe) in enumerate(PROBES.items()):
        random = np.random.default_rng([seed, place])
        pictures[name] = np.stack([probe.make(film, random) for film in films.pixels[chosen]])
    return pictures


def score_probes(classifier: Classifier, pictures: Mapping[str, Pixels]) -> tuple[Outcome, ...]:
    """Show pictures to a model file through the service's own engine, kind by kind.

    Args:
        classifier: of a file that tells novelty and has a limit for it.
        pictures: uint8 [pictures, side, side] by kind, of any side, as `probes` makes them.

    Raises:
        ProbeError: the file does not tell novelty, or has no limit for it.
    """
    manifest = classifier.manifest
    outcomes = []
    for kind, shown in pictures.items():
        squares = Dataset((), shown).resized(classifier.input_size)
        outputs = classifier_outputs(classifier, squares)
        if outputs.novelty is None or manifest.novelty is None:
            raise ProbeError(f"The model {manifest.name} tells no novelty, or has no limit for it.")
        outcomes.append(
            Outcome(
                kind=kind,
                ratios=outputs.novelty.astype(np.float64) / manifest.novelty.limit,
                review=review_by_reason(outputs, squares, manifest),
            )
        )
    return tuple(outcomes)


def draw_probes(path: Path, outcomes: Sequence[Outcome], limit: float) -> Path:
    """Novelty of each kind against the limit: the middle 90 % as a line, the median as a dot."""
    figure = Figure(figsize=(8, 0.27 * len(outcomes) + 1.1), layout="constrained")
    axes = figure.subplots()
    for row, outcome in enumerate(outcomes):
        low, middle, high = np.quantile(outcome.ratios, (0.05, 0.5, 0.95))
        novel = outcome.review["novel"].mean()
        colour = BLUE if outcome.kind == ORDINARY else ORANGE if novel >= 0.5 else GREY
        axes.plot([low, high], [row, row], color=colour, linewidth=2.5, solid_capstyle="round")
        axes.plot(middle, row, "o", color=colour, markersize=5)
        axes.text(1.01, row, f"{novel:.0%}", transform=axes.get_yaxis_transform(), va="center")
    axes.axvline(1, color="black", linewidth=0.8, linestyle="--")
    axes.set(xscale="log", xlabel=f"novelty over its limit of {limit:.3g}: median and middle 90 %")
    axes.set_yticks(range(len(outcomes)), [outcome.kind for outcome in outcomes])
    axes.invert_yaxis()
    axes.text(1.01, -1, "flagged", transform=axes.get_yaxis_transform(), va="center")
    figure.savefig(path)
    return path


def _inverted(film: Pixels, _: Random) -> Pixels:
    return 255 - film


def _quarter_turn(film: Pixels, random: Random) -> Pixels:
    return np.rot90(film, random.choice((1, 3)))


def _half_turn(film: Pixels, _: Random) -> Pixels:
    return film[::-1, ::-1]


def _upside_down(film: Pixels, _: Random) -> Pixels:
    return film[::-1]


def _mirrored(film: Pixels, _: Random) -> Pixels:
    return film[:, ::-1]


def _tilted(film: Pixels, random: Random) -> Pixels:
    angle = random.choice((-45, 45))
    return np.asarray(Image.fromarray(film).rotate(angle, Image.Resampling.BILINEAR))


def _one_lung(film: Pixels, random: Random) -> Pixels:
    side = len(film)
    left = random.choice((0, side // 2))
    return _cut(film, left, side // 10, side // 2, side - side // 5)


def _half_film(film: Pixels, random: Random) -> Pixels:
    side = len(film)
    return _cut(film, 0, random.choice((0, side // 2)), side, side // 2)


def _zoomed_out(film: Pixels, _: Random) -> Pixels:
    side = len(film)
    canvas = np.zeros_like(film)
    inside = slice(side // 4, side // 4 + side // 2)
    canvas[inside, inside] = _stretched(film, side // 2, side // 2)
    return canvas


def _four_in_one(film: Pixels, _: Random) -> Pixels:
    side = len(film)
    return _stretched(np.tile(_stretched(film, side // 2, side // 2), (2, 2)), side, side)


def _lateral(film: Pixels, _: Random) -> Pixels:
    side = len(film)
    left, right = film[:, : side // 2], film[:, side - side // 2 :][:, ::-1]
    together = ((left.astype(np.uint16) + right) // 2).astype(np.uint8)
    width = round(0.7 * side)
    canvas = np.zeros_like(film)
    start = (side - width) // 2
    canvas[:, start : start + width] = _stretched(together, width, side)
    return canvas


def _blurred(film: Pixels, _: Random) -> Pixels:
    return np.asarray(Image.fromarray(film).filter(ImageFilter.GaussianBlur(len(film) / 28)))


def _noisy(film: Pixels, random: Random) -> Pixels:
    return np.clip(film + random.normal(0, 60, film.shape), 0, 255).astype(np.uint8)


def _black_and_white(film: Pixels, _: Random) -> Pixels:
    return np.where(film > np.median(film), 255, 0).astype(np.uint8)


def _drawn_over(film: Pixels, random: Random) -> Pixels:
    side = len(film)
    image = Image.fromarray(film.copy())
    pen = ImageDraw.Draw(image)
    for _ in range(6):
        pen.line(_points(random, side, 2), fill=int(random.choice((0, 255))), width=side // 45)
    for _ in range(4):
        x, y = random.uniform(0, 0.8 * side, 2)
        pen.rectangle((x, y, x + side / 6, y + side / 8), fill=int(random.choice((0, 255))))
    for _ in range(8):
        x, y = random.uniform(0, 0.85 * side, 2)
        pen.text((x, y), _word(random).upper(), fill=255, font=_font(side // 11))
    return np.asarray(image)


def _photograph(film: Pixels, random: Random) -> Pixels:
    photographs = _photographs()
    photograph = photographs[random.integers(len(photographs))]
    height, width = photograph.shape
    cut = int(random.uniform(0.3, 1) * min(height, width))
    left, top = random.integers(width - cut + 1), random.integers(height - cut + 1)
    return _stretched(photograph[top : top + cut, left : left + cut], *film.shape)


def _head(film: Pixels, random: Random) -> Pixels:
    slice_of_head = _magnetic_resonance_image()
    cut = int(random.uniform(0.75, 1) * len(slice_of_head))
    left, top = random.integers(len(slice_of_head) - cut + 1, size=2)
    return _stretched(slice_of_head[top : top + cut, left : left + cut], *film.shape)


def _line_drawing(film: Pixels, random: Random) -> Pixels:
    side = len(film)
    paper, ink = (255, 0) if random.random() < 0.5 else (0, 255)
    image = Image.new("L", (side, side), paper)
    pen = ImageDraw.Draw(image)
    for _ in range(random.integers(5, 15)):
        points = _points(random, side, 2)
        box = [(min(a), max(a)) for a in zip(*points, strict=True)]
        corners = (box[0][0], box[1][0], box[0][1], box[1][1])
        shape = random.integers(3)
        if shape == 0:
            pen.line(_points(random, side, 4), fill=ink, width=2)
        elif shape == 1:
            pen.ellipse(corners, outline=ink, width=2)
        else:
            pen.rectangle(corners, outline=ink, width=2)
    return np.asarray(image)


def _drawn_chest(film: Pixels, random: Random) -> Pixels:
    side = len(film)
    image = Image.new("L", (side, side), 0)
    pen = ImageDraw.Draw(image)

    def oval(x: float, y: float, wide: float, high: float, grey: int) -> None:
        wobble = random.uniform(0.92, 1.08)
        box = (x - wide * wobble, y - high, x + wide * wobble, y + high)
        pen.ellipse(tuple(side * part for part in box), fill=grey)

    oval(0.5, 0.6, 0.48, 0.58, 150)
    for sign in (-1, 1):
        oval(0.5 + sign * 0.22, 0.48, 0.15, 0.32, 50)
    oval(0.56, 0.62, 0.13, 0.16, 190)
    pen.rectangle((0.47 * side, 0, 0.53 * side, side), fill=200)
    for rib in np.linspace(0.22, 0.75, 8):
        for sign in (-1, 1):
            middle = 0.5 + sign * 0.22
            box = ((middle - 0.2) * side, (rib - 0.06) * side, (middle + 0.2) * side, (rib + 0.1) * side)
            pen.arc(box, 200, 340, fill=120, width=side // 75)
    return np.asarray(image)


def _text_page(film: Pixels, random: Random) -> Pixels:
    side = len(film)
    paper, ink = (random.integers(225, 256), 20) if random.random() < 0.75 else (random.integers(30), 235)
    image = Image.new("L", (side, side), int(paper))
    pen = ImageDraw.Draw(image)
    size = int(random.integers(side // 22, side // 10))
    for top in range(size, side - size, round(1.4 * size)):
        words = " ".join(_word(random) for _ in range(random.integers(3, 14)))
        pen.text((size, top), words, fill=ink, font=_font(size))
    return np.asarray(image)


def _blank(film: Pixels, random: Random) -> Pixels:
    return np.full_like(film, random.choice((0, 255, int(random.integers(256)))))


def _white_noise(film: Pixels, random: Random) -> Pixels:
    return random.integers(0, 256, film.shape, np.uint8)


def _smooth_noise(film: Pixels, random: Random) -> Pixels:
    cells = int(random.integers(4, 40))
    return _stretched(random.integers(0, 256, (cells, cells), np.uint8), *film.shape)


def _gradient(film: Pixels, random: Random) -> Pixels:
    side = len(film)
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    if random.random() < 0.5:
        angle = random.uniform(0, 2 * np.pi)
        field = x * np.cos(angle) + y * np.sin(angle)
    else:
        field = random.choice((-1, 1)) * np.hypot(
            x - random.uniform(-0.5, 0.5), y - random.uniform(-0.5, 0.5)
        )
    scaled: Pixels = (255 * (field - field.min()) / np.ptp(field)).astype(np.uint8)
    return scaled


PROBES = {
    "inverted": Probe("film with its grey levels reversed", _inverted),
    "turned by 90°": Probe("film, to either side", _quarter_turn),
    "turned by 180°": Probe("film", _half_turn),
    "upside down": Probe("film mirrored top to bottom", _upside_down),
    "mirrored": Probe("film mirrored left to right", _mirrored),
    "tilted by 45°": Probe("film, to either side, on black", _tilted),
    "one lung": Probe("left or right half of a film, upper and lower tenth cut off, stretched", _one_lung),
    "half a film": Probe("upper or lower half of a film, stretched", _half_film),
    "zoomed out": Probe("film at half its side in the middle of a black square", _zoomed_out),
    "four in one": Probe("film at half its side, four times", _four_in_one),
    "lateral-like": Probe(
        "both halves of a film laid over each other, spine at one edge, over 70 % of the width on black; "
        "no real lateral film was at hand",
        _lateral,
    ),
    "blurred": Probe("film under a Gaussian blur of a 28th of its side", _blurred),
    "noisy": Probe("film under Gaussian noise of 60 grey levels", _noisy),
    "black and white": Probe("film, black up to its median grey level and white above", _black_and_white),
    "drawn over": Probe("film under six thick lines, four filled boxes and eight words", _drawn_over),
    "photographs": Probe("squares cut from three photographs, in grey", _photograph),
    "magnetic resonance": Probe("squares cut from one slice of a head", _head),
    "line drawings": Probe(
        "5 to 14 random lines, ellipses and boxes, black on white or white on black", _line_drawing
    ),
    "drawn chests": Probe("cartoon of a chest in flat greys: body, lungs, heart, spine, ribs", _drawn_chest),
    "text pages": Probe("lines of random words, dark on light or light on dark", _text_page),
    "blank": Probe("one grey level: black, white or any", _blank),
    "white noise": Probe("every pixel any grey level", _white_noise),
    "smooth noise": Probe("4 to 39 random cells a side, interpolated", _smooth_noise),
    "gradients": Probe("black to white, linear or round", _gradient),
}
"""Every kind of picture by name."""


def _stretched(picture: Pixels, width: int, height: int) -> Pixels:
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR))


def _cut(film: Pixels, left: int, top: int, width: int, height: int) -> Pixels:
    return _stretched(film[top : top + height, left : left + width], len(film), len(film))


def _points(random: Random, side: int, count: int) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in random.uniform(0, side, (count, 2))]


def _word(random: Random) -> str:
    letters = random.choice(list("abcdefghilmnoprstuvy"), random.integers(2, 9))
    return "".join(letters)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


@cache
def _photographs() -> tuple[Pixels, ...]:
    """A palace and a flower (scikit-learn), a portrait (matplotlib): uint8 [height, width] each."""
    pictures = [Image.fromarray(picture) for picture in load_sample_images().images]
    pictures.append(Image.open(get_sample_data("grace_hopper.jpg", asfileobj=False)))
    return tuple(np.asarray(picture.convert("L")) for picture in pictures)


@cache
def _magnetic_resonance_image() -> Pixels:
    """The slice that matplotlib carries, uint8 [256, 256], its brightest thousandth white."""
    packed = Path(get_sample_data("s1045.ima.gz", asfileobj=False)).read_bytes()
    levels = np.frombuffer(gzip.decompress(packed), np.uint16).reshape(256, 256).astype(np.float64)
    return np.clip(255 * levels / np.quantile(levels, 0.999), 0, 255).astype(np.uint8)
