"""The whole export: verify first, write last."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import onnx

from app.engine.manifest import (
    Calibration,
    Data,
    Manifest,
    Threshold,
    Training,
)
from model_export.convert import to_half, to_onnx, with_manifest
from model_export.deployable import Preprocess, deployable, take_apart
from model_export.model_card import write_card
from model_export.quantize import CALIBRATION_FILMS, to_int8
from model_export.reference import classifier_of, decoded, held_out_source, measure
from model_export.verify import (
    Int8Parity,
    Outputs,
    Parity,
    check,
    compare_int8,
    keras_logits,
    probe_films,
)
from model_export.verify import run as run_graph
from training.calibrate import (
    FeatureSpace,
    Scaling,
    describe_calibration,
    describe_novelty,
    describe_threshold,
    describe_uncertainty,
    fit_scaling,
)
from training.dataset import Dataset
from training.evaluate import Conclusion
from training.metrics import Scored, evaluate
from training.recipe import Recipe
from training.restyle import CHANGES

INTENDED_USE = (
    "Research and teaching. It supports a reader of frontal chest radiographs of children of one to five years; "
    "a reader decides."
)
LICENCE = "Apache-2.0"
OWN_USE = "Research and teaching. Which films it was trained for is not known here; a reader decides."
OWN_LICENCE = "that of whoever trained the network"
PUBLIC_DATA = (
    "Chest X-Ray Images (Pneumonia), training split",
    "Kermany, Zhang, Goldbaum, Labeled Optical Coherence Tomography (OCT) and Chest X-Ray Images for "
    "Classification, Mendeley Data",
    "CC BY 4.0",
)
HELD_OUT = "held_out_fold"
BY_HAND = "set by hand at the export"


@dataclass(frozen=True, slots=True)
class Films:
    """Films for the export: `held_out` were never trained on; `known` set the ranges of int8."""

    held_out: Dataset
    known: Dataset

    def changed(self) -> dict[str, Dataset]:
        """The held-out films restyled and reframed (`training.restyle`), by the name of the split."""
        return {
            f"{HELD_OUT}_{name}": replace(self.held_out, pixels=change(self.held_out))
            for name, change in CHANGES.items()
        }


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written, and what was measured on the way."""

    files: dict[str, Manifest]
    sizes: dict[str, int]
    parity: Parity
    int8: Int8Parity | None


def export(
    model: Path,
    output: Path,
    *,
    films: Callable[[Recipe | None], Films] | None,
    preprocess: Preprocess | None,
    threshold: float | None,
    name: str,
    version: str,
    report: Callable[[str], None],
) -> Exported:
    """Write `model.onnx` and, where its parity holds, `model.int8.onnx`, and `MODEL_CARD.md` into `output`.

    Args:
        model: `model.keras` of a run's folder, or a user's own `.keras` or `.h5` ending in Dense(1, sigmoid).
        output: folder to write into; nothing is written unless every check holds.
        films: gives the films to judge on, from the run's recipe; None exports without figures and int8.
        preprocess: what a user's own network was trained with.
        threshold: instead of the one that is tuned for recall.
        name: of the model. version: of the model.
        report: told of each step.

    Raises:
        NotDeployable: the network does not fit the contract.
        ParityError: a converted graph does not say what the network says.
    """
    report("reading the network")
    anatomy = take_apart(model, preprocess)
    recipe = Recipe.of_run(model.parent) if (model.parent / "config.json").is_file() else None
    conclusion, space = _of_run(model.parent)
    given = films(recipe) if films else None
    held_out = given.held_out.resized(anatomy.input_size) if given else None

    scaling = conclusion.scaling if conclusion else Scaling(temperature=1.0, bias=0.0)
    calibration = conclusion.calibration if conclusion else Calibration(temperature=1.0)
    if conclusion is None and given is not None and held_out is not None:
        report("calibrating on the given films")
        logits = keras_logits(anatomy, held_out)
        scaling = fit_scaling(logits, given.held_out.labels)
        calibration = describe_calibration(logits, Scored.of(given.held_out, scaling(logits)), scaling)

    report("converting to ONNX")
    kind_scaling = conclusion.kind_scaling if conclusion else None
    single = to_onnx(deployable(anatomy, scaling, kind_scaling, space))
    half = to_half(single)
    report("verifying")
    parity = check(anatomy, scaling, single, half, probe_films(anatomy.input_size), space=space)

    draft = Manifest(
        name=name,
        version=version,
        created=datetime.now(UTC).replace(microsecond=0),
        architecture=recipe.architecture if recipe else anatomy.name,
        precision="float32",
        input_size=anatomy.input_size,
        threshold=Threshold(value=0.5, rule="0.5, as no films were given to tune it on"),
        calibration=calibration,
        exposure=conclusion.exposure if conclusion else None,
        training=_training(conclusion, recipe, preprocess),
        licence=LICENCE if conclusion else OWN_LICENCE,
        intended_use=INTENDED_USE if conclusion else OWN_USE,
    )
    graphs = {"model.onnx": half}
    int8_parity = None
    if given is None or held_out is None:
        manifests = {"model.onnx": _unjudged(draft, conclusion, threshold)}
    else:
        report("judging half precision on the held-out films")
        outputs, changed = run_graph(half, held_out), given.changed()
        scored = Scored.of(given.held_out, outputs["probability"])
        manifest = _judged(draft, "float16", scored, outputs, threshold, space=space)
        manifests = {"model.onnx": _with_changed(manifest, half, changed)}
        report("quantising to int8")
        build = partial(deployable, anatomy, kind_scaling=kind_scaling, space=space)
        int8, int8_calibration = _to_calibrated_int8(build, scaling, given, anatomy.input_size)
        report("judging int8 on the held-out films")
        outputs = run_graph(int8, held_out)
        in_int8 = Scored.of(given.held_out, outputs["probability"])
        calibrated = draft.model_copy(update={"calibration": int8_calibration})
        manifest = _with_changed(
            _judged(calibrated, "int8", in_int8, outputs, threshold, space=space), int8, changed
        )
        int8_parity = compare_int8(
            scored, in_int8, manifests["model.onnx"].threshold.value, manifest.threshold.value
        )
        if int8_parity.holds:
            graphs["model.int8.onnx"] = int8
            manifests["model.int8.onnx"] = manifest
        else:
            report("int8 is too far from half precision: it is not written")

    manifests = _with_references(manifests, graphs, given, report)

    sizes = _write(output, graphs, manifests)
    write_card(output / "MODEL_CARD.md", manifests, sizes, parity, int8_parity)
    return Exported(manifests, sizes, parity, int8_parity)


def _to_calibrated_int8(
    build: Callable[[Scaling], keras.Model], scaling: Scaling, films: Films, size: int
) -> tuple[onnx.ModelProto, Calibration]:
    """The graph in int8 under a calibration of its own, on the held-out films.

    Quantised once with `scaling` to see its logits, and once more with what they ask for.
    """
    known, held_out = films.known.resized(size), films.held_out.resized(size)
    known = known[np.random.default_rng(0).permutation(len(known))[:CALIBRATION_FILMS]]
    first = run_graph(to_int8(to_onnx(build(scaling)), known), held_out)
    logits = scaling.logits(first["probability"])
    own = fit_scaling(logits, films.held_out.labels)
    described = describe_calibration(logits, Scored.of(films.held_out, own(logits)), own)
    return to_int8(to_onnx(build(own)), known), described


def _training(
    conclusion: Conclusion | None, recipe: Recipe | None, preprocess: Preprocess | None
) -> Training:
    libraries = {name: version_of(name) for name in ("keras", "tf2onnx", "onnx", "onnxruntime")}
    if conclusion is None or recipe is None:
        return Training(command=f"a user's own network, preprocessed by {preprocess}", libraries=libraries)
    name, source, licence = PUBLIC_DATA
    return Training(
        command=conclusion.command,
        data=Data(
            name=name,
            source=source,
            licence=licence,
            films=conclusion.films,
            films_sha256=conclusion.films_sha256,
        ),
        folds=recipe.folds,
        held_out_fold=recipe.held_out_fold,
        seed=recipe.seed,
        libraries=conclusion.libraries | libraries,
    )


def _unjudged(draft: Manifest, conclusion: Conclusion | None, threshold: float | None) -> Manifest:
    """Without films: what the run found in Keras, or nothing."""
    changes: dict[str, Any] = {"precision": "float16"}
    if conclusion is not None:
        changes |= {
            "threshold": conclusion.threshold,
            "uncertainty": conclusion.uncertainty,
            "novelty": conclusion.novelty,
            "evaluation": {HELD_OUT: conclusion.evaluation},
        }
    if threshold is not None:
        changes["threshold"] = Threshold(value=threshold, rule=BY_HAND)
        changes["evaluation"] = {}
    return draft.model_copy(update=changes)


def _judged(
    draft: Manifest,
    precision: Literal["float16", "int8"],
    scored: Scored,
    outputs: Outputs,
    threshold: float | None,
    *,
    space: FeatureSpace | None,
) -> Manifest:
    """Threshold, band, novelty's limit and figures, all of this very graph on the held-out films."""
    chosen = describe_threshold(scored)
    if threshold is not None:
        at = evaluate(scored, threshold)
        chosen = Threshold(
            value=threshold, rule=BY_HAND, sensitivity=at.sensitivity, specificity=at.specificity
        )
    novelty = describe_novelty(outputs["novelty"], space) if space else None
    return draft.model_copy(
        update={
            "precision": precision,
            "threshold": chosen,
            "uncertainty": describe_uncertainty(scored),
            "novelty": novelty,
            "evaluation": {HELD_OUT: evaluate(scored, chosen.value)},
        }
    )


def _with_changed(manifest: Manifest, graph: onnx.ModelProto, changed: Mapping[str, Dataset]) -> Manifest:
    """With the figures on `changed` films too, by the name of the split, at the manifest's threshold."""
    figures = {
        split: evaluate(
            Scored.of(films, run_graph(graph, films.resized(manifest.input_size))["probability"]),
            manifest.threshold.value,
        )
        for split, films in changed.items()
    }
    return manifest.model_copy(update={"evaluation": manifest.evaluation | figures})


def _write(
    output: Path, graphs: dict[str, onnx.ModelProto], manifests: dict[str, Manifest]
) -> dict[str, int]:
    """Write the files into `output`, and no int8 of an earlier export; their sizes in bytes."""
    output.mkdir(parents=True, exist_ok=True)
    (output / "model.int8.onnx").unlink(missing_ok=True)
    for file, graph in graphs.items():
        onnx.save(with_manifest(graph, manifests[file]), output / file)
    return {file: (output / file).stat().st_size for file in graphs}


def _with_references(
    manifests: dict[str, Manifest],
    graphs: dict[str, onnx.ModelProto],
    films: Films | None,
    report: Callable[[str], None],
) -> dict[str, Manifest]:
    """With what each very graph says of the held-out films, read again and judged as the service does."""
    if films is None:
        return manifests
    report("measuring the reference for drift")
    referenced = {}
    for file, manifest in manifests.items():
        classifier = classifier_of(with_manifest(graphs[file], manifest).SerializeToString())
        held_out = decoded((film.path for film in films.held_out.films), classifier.input_size)
        reference = measure(classifier, held_out, held_out_source(manifest.training))
        referenced[file] = manifest.model_copy(update={"reference": reference})
    return referenced


def _of_run(run: Path) -> tuple[Conclusion | None, FeatureSpace | None]:
    """What a finished run's folder says beside its network; nothing for a user's own file."""
    if not (run / "calibration.json").is_file():
        return None, None
    conclusion = Conclusion.model_validate_json((run / "calibration.json").read_text())
    return conclusion, FeatureSpace.load(run / "novelty.npz")
