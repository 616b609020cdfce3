"""Checks of the heat map: does the network go by what it marks, and does it come from what was learnt?

Three questions to a network of `architectures.build`, on films of pneumonia that it calls so:

- *Deletion and insertion* (Petsiuk et al., RISE, 2018): does the probability fall sooner when places are hidden
  in the heat map's order than in another, and rise sooner when they are shown in it?
- *Randomised weights* (Adebayo et al., Sanity Checks for Saliency Maps, 2018): does the heat map change when
  the weights are drawn anew, from the head down to the whole network?
- *Grad-CAM* (Selvaraju et al., 2017): do the gradients say the same?

What is hidden shows the same place of a normal film. Blur and grey, which photographs are hidden by, do not take
pneumonia away from a chest film: an even haze is what an opacity looks like, and blurred normal films are
called pneumonia.
"""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from pydantic import BaseModel, ConfigDict
from scipy.stats import rankdata

from app.engine.manifest import Estimate
from training.architectures import PNEUMONIA
from training.dataset import Dataset, Pixels
from training.fit import predict_logits
from training.folds import group
from training.metrics import Array, resample
from training.report import BLUE, GREY, ORANGE
from training.wording import with_interval

Heatmaps = npt.NDArray[np.float32]
Score = Callable[[Pixels], Array]
Explain = Callable[[Pixels], Heatmaps]

ORDERS = ("heat map", "another patient's heat map", "centre first", "random")
"""In which a film is hidden or shown."""

_GRADIENT_BATCH = 8


class SaliencyError(ValueError):
    """The heat map cannot be checked here; the message says why."""


class Curve(BaseModel):
    """What hiding or showing films in one order does, on average over the films.

    `probability`: mean P(pneumonia) at even steps from nothing to all, and its 95 % band, `low` to `high`.
    `area`: mean area under the film's own curve, 0–1. `gain`: by how much the heat map's area is the better one
    on the same film; `beaten`: share of films on which it is. Both are None for the heat map itself.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    probability: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    area: Estimate
    gain: Estimate | None
    beaten: Estimate | None


class Step(BaseModel):
    """Heat maps after `drawn_anew` and everything above it got random weights, against the trained network's.

    `correlation`: Spearman's, -1–1, mean over films and draws. `magnitude`: mean of its absolute value.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    drawn_anew: str
    correlation: Estimate
    magnitude: Estimate


class HeatmapCheck(BaseModel):
    """What the checks found; intervals are 95 %, patients (and draws, where there are some) resampled.

    `deletion` (lower areas are better) and `insertion` (higher ones are): a curve for each order. `cascade`: from
    the head down. `between_patients`: as a step's `correlation`, but with the trained network's heat map of
    another patient's film: what position alone explains. `grad_cam`: Pearson's correlation, a film, of
    Grad-CAM by gradients with the heat map's positive part. `grad_cam_finer`: Spearman's correlation of the heat
    map with Grad-CAM of the next finer feature map, which the head's weights alone do not give.
    `grad_cam_difference`: largest difference of Grad-CAM by gradients from Grad-CAM by the head's weights, as a
    share of the largest value.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    films: int
    patients: int
    threshold: float
    draws: int
    deletion: dict[str, Curve]
    insertion: dict[str, Curve]
    cascade: tuple[Step, ...]
    between_patients: Estimate
    grad_cam: Estimate
    grad_cam_finer: Estimate
    grad_cam_difference: float


def check(
    network: keras.Model,
    films: Dataset,
    score: Score,
    threshold: float,
    *,
    explain: Explain | None = None,
    count: int = 64,
    steps: int = 20,
    draws: int = 8,
    seed: int = 0,
    advance: Callable[[], None] = lambda: None,
) -> HeatmapCheck:
    """Ask all three questions.

    Args:
        network: of `architectures.build`, trained, for films of one size.
        films: of both classes, none of which it has learnt from; the normal ones hide the others.
        score: probabilities, float64 [films], of pixels, uint8 [films, side, side]; the network's own, or
            those of a file made from it.
        threshold: films with at least this probability are called pneumonia.
        explain: heat maps of pixels, where they are not the network's own.
        count: check no more films than this; they are drawn.
        steps: of a deletion or insertion.
        draws: of random orders, and of random weights.
        seed: of every draw.
        advance: called after each film's deletion and insertion.

    Raises:
        SaliencyError: too few films are called what they are, or Keras's backend has no gradients here.
    """
    _check_backend()
    side = network.input_shape[1]
    if side is None:
        raise SaliencyError("The network must be built for films of one size.")
    random = np.random.default_rng(seed)
    pixels = films.resized(side)
    called = score(pixels) >= threshold
    ill = np.flatnonzero((films.labels == 1) & called)
    ill = np.sort(random.choice(ill, min(count, len(ill)), replace=False))
    normal = np.flatnonzero((films.labels == 0) & ~called)
    groups = group(films.films)[ill]
    if len(np.unique(groups)) < 2 or not len(normal):
        raise SaliencyError("Too few films: two patients called pneumonia and one called normal are needed.")
    chosen = pixels[ill]
    own = heatmaps(network, chosen)
    maps = explain(chosen) if explain else own
    others = maps[_of_another_patient(groups, random)]
    deletion, insertion = perturb(
        score,
        chosen,
        maps,
        others,
        nearest(chosen, pixels[normal]),
        steps=steps,
        draws=draws,
        seed=seed,
        advance=advance,
    )
    correlations = cascade(network, chosen, maps, draws=draws, seed=seed)
    finer = coarsen(grad_cam(network, chosen, finer_layer(network)), maps.shape[1:])
    gradients = grad_cam(network, chosen)
    bias = network.get_layer("logits").get_weights()[1][PNEUMONIA]
    derived = np.maximum(own - bias, 0) / own[0].size
    return HeatmapCheck(
        films=len(ill),
        patients=len(np.unique(groups)),
        threshold=threshold,
        draws=draws,
        deletion=_curves(deletion, groups, sign=-1),
        insertion=_curves(insertion, groups, sign=1),
        cascade=tuple(_step(name, found, groups) for name, found in correlations.items()),
        between_patients=_mean(correlation(_ranks(maps), _ranks(others)), groups),
        grad_cam=_mean(correlation(np.maximum(maps, 0), gradients), groups),
        grad_cam_finer=_mean(correlation(_ranks(maps), _ranks(finer)), groups),
        grad_cam_difference=float(np.abs(gradients - derived).max() / max(derived.max(), 1e-12)),
    )


def heatmaps(network: keras.Model, pixels: Pixels) -> Heatmaps:
    """Class activation maps (Zhou et al., 2016) of films, uint8 [films, side, side].

    Returns:
        Evidence for pneumonia in logits, float32 [films, h, w]; a film's mean is its pneumonia logit.
    """
    return _read(_trunk(network), network, pixels)


def perturb(
    score: Score,
    pixels: Pixels,
    maps: Heatmaps,
    others: Heatmaps,
    hidden: Pixels,
    *,
    steps: int = 20,
    draws: int = 8,
    seed: int = 0,
    advance: Callable[[], None] = lambda: None,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Deletion and insertion of films by any network's `score` in the order of any heat maps.

    The orders it is compared with: that of `others`; the centre first; and random ones, of blocks as large as
    the heat map's cells and as smooth between them.

    Args:
        score: probabilities, float64 [films], of pixels.
        pixels: the films, uint8 [films, side, side].
        maps: their heat maps, float32 [films, h, w].
        others: a heat map for each film that is not its own, as `maps`.
        hidden: what shows where a film is hidden, as `pixels`.
        steps: from the whole film to all of it hidden.
        draws: of random orders.
        seed: of the random orders.
        advance: called after each film.

    Returns:
        Deletion and insertion: probabilities by order, float64 [films, steps + 1]; means over the random draws.
    """
    random = np.random.default_rng(seed)
    side = pixels.shape[1]
    offsets = np.linspace(-1, 1, side, dtype=np.float32) ** 2
    centre = -(offsets[:, None] + offsets)
    falls, rises = [], []
    for film, heatmap, other, under in zip(pixels, maps, others, hidden, strict=True):
        ordered = np.stack([enlarge(heatmap, side), enlarge(other, side), centre])
        noise = np.stack([enlarge(random.random(heatmap.shape, np.float32), side) for _ in range(draws)])
        # To show the most important places first is to hide the least important first, told backwards. Noise
        # upside down is as good a noise: its curves serve both ways.
        found = _hide(score, film, under, np.concatenate([ordered, -ordered, noise]), steps)
        by_chance = found[6:].mean(axis=0)
        falls.append(np.stack([*found[:3], by_chance]))
        rises.append(np.stack([*found[3:6], by_chance])[:, ::-1])
        advance()
    return (
        dict(zip(ORDERS, np.stack(falls, axis=1), strict=True)),
        dict(zip(ORDERS, np.stack(rises, axis=1), strict=True)),
    )


def nearest(films: Pixels, among: Pixels) -> Pixels:
    """For each of `films` the most alike of `among` (least squared difference); uint8 [films, side, side]."""
    candidates = among.reshape(len(among), -1).astype(np.float32)
    places = [np.square(candidates - film.ravel()).sum(axis=1).argmin() for film in films]
    return among[places]


def coarsen(maps: Heatmaps, size: tuple[int, int]) -> Heatmaps:
    """Maps [films, ...] as means over the cells of coarser ones: float32 [films, h, w], `size` being (h, w)."""
    height, width = size
    return np.stack(
        [np.asarray(Image.fromarray(one).resize((width, height), Image.Resampling.BOX)) for one in maps]
    )


def enlarge(heatmap: npt.NDArray[np.float32], side: int) -> npt.NDArray[np.float32]:
    """A heat map, float32 [h, w], at the film's size, float32 [side, side], linear between the cells' centres."""
    return np.asarray(Image.fromarray(heatmap).resize((side, side), Image.Resampling.BILINEAR))


def cascade(
    network: keras.Model, pixels: Pixels, maps: Heatmaps, *, draws: int = 8, seed: int = 0
) -> dict[str, Array]:
    """Rank correlation of `maps` with those of the network once its weights are drawn anew, stage by stage.

    The weights are drawn by the layers' own initialisers, in a copy: `network` stays as it is.

    Returns:
        Spearman's correlation, float64 [draws, films], by the stage reached, from the head down.
    """
    keras.utils.set_random_seed(seed)
    copy = keras.models.clone_model(network)
    trunk = _trunk(copy)
    trained = _ranks(maps)
    found: dict[str, list[Array]] = {name: [] for name in stages(network)}
    for _ in range(draws):
        copy.set_weights(network.get_weights())
        untrained = keras.models.clone_model(network)
        for name, layers in stages(network).items():
            for layer in layers:
                copy.get_layer(layer).set_weights(untrained.get_layer(layer).get_weights())
            found[name].append(correlation(trained, _ranks(_read(trunk, copy, pixels))))
    return {name: np.stack(correlations) for name, correlations in found.items()}


def stages(network: keras.Model) -> dict[str, list[str]]:
    """Names of the layers with weights from the head down, those of one resolution together ("14 × 14")."""
    found: dict[str, list[str]] = {}
    for layer in reversed(network.layers):
        if layer.weights:
            size = layer.output.shape[1:-1]
            found.setdefault(" × ".join(map(str, size)) or layer.name, []).append(layer.name)
    return found


def grad_cam(network: keras.Model, pixels: Pixels, layer: str | None = None) -> Heatmaps:
    """Grad-CAM of a feature map for pneumonia, by gradients: float32 [films, h, w], nowhere below 0.

    Keras has no call for gradients that every backend knows, so that this needs TensorFlow. Of the last feature
    map, behind which are global average pooling and one dense layer, Grad-CAM is the positive part of the class
    activation map without its bias, over the number of cells (Selvaraju et al., section 3.1).

    Args:
        network: of `architectures.build`.
        pixels: uint8 [films, side, side].
        layer: whose output is the feature map; by default the last one's.

    Raises:
        SaliencyError: Keras's backend is another.
    """
    _check_backend()
    import tensorflow  # noqa: PLC0415 - wanted here alone; Keras may run on another backend

    tensor = network.get_layer(layer).output if layer else network.get_layer("pool").input
    both = keras.Model(network.input, [tensor, network.output])
    found = []
    for start in range(0, len(pixels), _GRADIENT_BATCH):
        batch = tensorflow.constant(pixels[start : start + _GRADIENT_BATCH, ..., None].astype(np.float32))
        with tensorflow.GradientTape() as tape:
            tape.watch(batch)
            features, logits = both(batch, training=False)
            pneumonia = logits[:, PNEUMONIA]
        slopes = tape.gradient(pneumonia, features)
        weights = keras.ops.mean(slopes, axis=(1, 2), keepdims=True)
        evidence = keras.ops.relu(keras.ops.sum(weights * features, axis=-1))
        found.append(keras.ops.convert_to_numpy(evidence))
    return np.concatenate(found).astype(np.float32)


def finer_layer(network: keras.Model) -> str:
    """Name of the last layer whose feature map is of a finer resolution than the last feature map."""
    names = [layer.name for layer in network.layers]
    last = network.get_layer("pool").input.shape[1]
    before = network.layers[: names.index("pool")]
    return str([layer.name for layer in before if layer.output.shape[1] > last][-1])


def correlation(some: npt.NDArray[np.floating], others: npt.NDArray[np.floating]) -> Array:
    """Pearson's correlation, a film, of maps [films, h, w]: float64 [films]; 0 where one of them is even."""
    a, b = (maps.reshape(len(maps), -1).astype(np.float64) for maps in (some, others))
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    scale = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    together: Array = np.divide((a * b).sum(axis=1), scale, out=np.zeros(len(a)), where=scale > 0)
    return together


def draw_check(path: Path, found: HeatmapCheck) -> Path:
    """Deletion and insertion by order, and the cascade, each with its 95 % band."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    deletion, insertion, randomised = figure.subplots(1, 3)
    _draw_curves(deletion, found.deletion)
    deletion.set(xlabel="share of the film hidden", ylabel="probability of pneumonia", title="deletion")
    _draw_curves(insertion, found.insertion)
    insertion.set(xlabel="share of the film shown", title="insertion")
    figure.legend(*deletion.get_legend_handles_labels(), loc="outside lower left", ncols=len(ORDERS))
    _draw_cascade(randomised, found)
    figure.savefig(path)
    return path


def markdown(found: HeatmapCheck) -> str:
    """The figures as tables for a page."""
    rows = [
        f"Films of pneumonia called so: {found.films}, of {found.patients} patients. 95 % intervals.",
        "",
        "| order | area, deletion (low is good) | films on which the heat map is better "
        "| area, insertion (high is good) | films on which the heat map is better |",
        "| --- | --- | --- | --- | --- |",
    ]
    for order, falling in found.deletion.items():
        rising = found.insertion[order]
        cells = (
            order,
            with_interval(falling.area, 2),
            _share(falling),
            with_interval(rising.area, 2),
            _share(rising),
        )
        rows.append(f"| {' | '.join(cells)} |")
    rows += [
        "",
        "| weights drawn anew | rank correlation with the trained network's heat map | its magnitude |",
        "| --- | --- | --- |",
    ]
    for place, step in enumerate(found.cascade):
        name = step.drawn_anew if place == 0 else f"down to {step.drawn_anew}"
        rows.append(f"| {name} | {with_interval(step.correlation, 2)} | {with_interval(step.magnitude, 2)} |")
    rows += [
        f"| none, but another patient's film | {with_interval(found.between_patients, 2)} | |",
        "",
        f"Correlation with Grad-CAM by gradients: {with_interval(found.grad_cam, 2)}; it differs from that by the "
        f"head's weights by at most {found.grad_cam_difference:.0e} of its largest value. Rank correlation with "
        f"Grad-CAM of the next finer feature map: {with_interval(found.grad_cam_finer, 2)}.",
    ]
    return "\n".join(rows) + "\n"


def _check_backend() -> None:
    if keras.backend.backend() != "tensorflow":
        raise SaliencyError(
            f"Grad-CAM takes its gradients from TensorFlow, and Keras runs on {keras.backend.backend()}: set "
            "KERAS_BACKEND=tensorflow."
        )


def _trunk(network: keras.Model) -> keras.Model:
    return keras.Model(network.input, network.get_layer("pool").input)


def _read(trunk: keras.Model, network: keras.Model, pixels: Pixels) -> Heatmaps:
    """The head of `network` at each place of its last feature map."""
    kernel, bias = network.get_layer("logits").get_weights()
    features = predict_logits(trunk, pixels)
    evidence: Heatmaps = features @ kernel[:, PNEUMONIA] + bias[PNEUMONIA]
    return evidence


def _hide(
    score: Score, film: Pixels, under: Pixels, importance: npt.NDArray[np.float32], steps: int
) -> Array:
    """Probabilities as ever more of `film` shows `under` instead: float64 [orders, steps + 1].

    `importance`: float32 [orders, side, side]; the highest is hidden first.
    """
    orders = len(importance)
    first = np.argsort(-importance.reshape(orders, -1), axis=1, kind="stable")
    rank = np.argsort(first, axis=1)
    cuts = np.arange(1, steps) * film.size / steps
    views = np.where(rank[:, None] < cuts[:, None], under.ravel(), film.ravel()).reshape(-1, *film.shape)
    scores = score(np.concatenate([film[None], views, under[None]]))
    whole, partly, nothing = np.split(scores, [1, len(scores) - 1])
    start, end = (np.tile(score_of, (orders, 1)) for score_of in (whole, nothing))
    return np.hstack([start, partly.reshape(orders, -1), end])


def _of_another_patient(groups: npt.NDArray[np.int64], random: np.random.Generator) -> npt.NDArray[np.int64]:
    return np.array([random.choice(np.flatnonzero(groups != own)) for own in groups])


def _ranks(maps: Heatmaps) -> Array:
    ranks: Array = rankdata(maps.reshape(len(maps), -1), axis=1)
    return ranks


def _curves(found: dict[str, Array], groups: npt.NDArray[np.int64], *, sign: int) -> dict[str, Curve]:
    """`sign`: 1 where a larger area is the better one, -1 where a smaller one is."""
    areas = {order: np.trapezoid(curves, dx=1 / (curves.shape[1] - 1)) for order, curves in found.items()}
    own = areas[ORDERS[0]]
    drawn = {}
    for order, curves in found.items():
        low, high = np.percentile(_resampled(curves, groups), (2.5, 97.5), axis=0)
        gain = sign * (own - areas[order])
        drawn[order] = Curve(
            probability=tuple(curves.mean(axis=0)),
            low=tuple(low),
            high=tuple(high),
            area=_mean(areas[order], groups),
            gain=None if order == ORDERS[0] else _mean(gain, groups),
            beaten=None if order == ORDERS[0] else _mean((gain > 0).astype(np.float64), groups),
        )
    return drawn


def _step(name: str, correlations: Array, groups: npt.NDArray[np.int64]) -> Step:
    return Step(
        drawn_anew=name,
        correlation=_mean(correlations, groups),
        magnitude=_mean(np.abs(correlations), groups),
    )


def _mean(values: Array, groups: npt.NDArray[np.int64]) -> Estimate:
    """Mean of `values` [films] or [draws, films]; the interval resamples the patients, and the draws."""
    means = _resampled(values.T, groups)
    if values.ndim == 2:
        weights = resample(np.arange(len(values)), seed=1)
        means = (means * weights).sum(axis=1) / len(values)
    low, high = np.percentile(means, (2.5, 97.5))
    return Estimate(value=float(values.mean()), low=float(low), high=float(high))


def _resampled(values: Array, groups: npt.NDArray[np.int64]) -> Array:
    """Means of `values` [films, ...] over the films of each resample of the patients: [resamples, ...]."""
    weights = resample(groups).astype(np.float64)
    return np.tensordot(weights / weights.sum(axis=1, keepdims=True), values, axes=1)


def _draw_curves(axes: Axes, curves: dict[str, Curve]) -> None:
    for (order, curve), colour in zip(curves.items(), (BLUE, ORANGE, "black", GREY), strict=True):
        shares = np.linspace(0, 1, len(curve.probability))
        axes.plot(shares, curve.probability, color=colour, label=order)
        axes.fill_between(shares, curve.low, curve.high, color=colour, alpha=0.15, linewidth=0)
    axes.set(xlim=(0, 1), ylim=(0, 1.01))


def _draw_cascade(axes: Axes, found: HeatmapCheck) -> None:
    reached = [step.correlation for step in found.cascade]
    places = np.arange(1, len(reached) + 1)
    values = [estimate.value for estimate in reached]
    low, high = [estimate.low for estimate in reached], [estimate.high for estimate in reached]
    axes.plot([0, *places], [1, *values], "o-", color=BLUE, label="rank correlation")
    axes.fill_between(places, low, high, color=BLUE, alpha=0.2, linewidth=0)
    other = found.between_patients
    axes.axhline(other.value, color=GREY, linestyle="--", linewidth=0.8, label="another patient's film")
    axes.axhspan(other.low, other.high, color=GREY, alpha=0.15, linewidth=0)
    names = ["none", *(step.drawn_anew for step in found.cascade)]
    axes.set(title="randomised weights", xlabel="drawn anew, from the head down to", ylim=(-1, 1.05))
    axes.set_xticks([0, *places], names, rotation=45, fontsize=8)
    axes.legend(loc="lower left")


def _share(curve: Curve) -> str:
    return "" if curve.beaten is None else with_interval(curve.beaten, 2)
