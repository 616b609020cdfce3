"""Train networks of the registry by one recipe on the same films, and judge them side by side.

A network that is done is kept in the folder, and one that was killed goes on: the same command resumes.
"""

import json
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import onnxruntime
from rich.console import Console

from app.engine.classifier import Classifier
from app.engine.cores import usable_cores
from app.engine.manifest import Estimate
from training.architectures import ARCHITECTURES, PNEUMONIA, WeightsError, build
from training.comparison import Comparison, Epoch, Served, Trained
from training.dataset import Dataset, list_digest
from training.fit import Diverged, RunError, claim, fit, partition, predict_logits
from training.judgement import judge_held_out
from training.metrics import Scored, auc_difference
from training.recipe import Recipe, Stage

RECIPE = Recipe(
    input_size=80, stages=(Stage(size=80, epochs=6),), consistency=0.0, fine_tune_epochs=0, learning_rate=1e-3
)
"""What every network is trained by if nothing else is asked for: small films and a small budget."""

_ROUNDS, _RUNS = 10, 6


def compare(
    films: Dataset, names: Sequence[str], recipe: Recipe, folder: Path, console: Console, *, command: str
) -> Comparison:
    """Train, judge and time every network named; finished ones in `folder` are kept.

    `command`: that made it, in words.

    Raises:
        ValueError: a name is unknown, or a network takes no films of the recipe's sides.
        RunError: `folder` holds runs of another recipe, or on other films.
        WeightsError: none of the networks has the weights asked for.
    """
    check(names, recipe)
    networks: list[Trained] = []
    left_out: dict[str, str] = {}
    for number, name in enumerate(names, start=1):
        console.rule(f"{name}, {number} of {len(names)}")
        try:
            networks.append(train(films, recipe.model_copy(update={"architecture": name}), folder, console))
        except WeightsError as error:
            left_out[name] = str(error)
            console.print(f"{name} is left out: {error}")
        keras.utils.clear_session()
    if not networks:
        raise WeightsError("No network could be trained. " + " ".join(left_out.values()))
    console.rule("latency")
    trained = [network.architecture for network in networks if network.judgement]
    served, not_exported = serve_all(trained, folder, console)
    held_out = partition(films, recipe).held_out
    return Comparison(
        command=command,
        machine=_machine(),
        libraries={module.__name__: module.__version__ for module in (keras, onnxruntime)},
        recipe=recipe,
        films=len(films),
        patients=len(np.unique(films.patients)),
        held_out_films=len(held_out),
        labels=tuple(held_out.labels.tolist()),
        networks=tuple(networks),
        differences=_differences(networks, held_out),
        served=tuple(served),
        not_exported=not_exported,
        left_out=left_out,
    )


def check(names: Sequence[str], recipe: Recipe) -> None:
    """Whether these networks can be trained by `recipe`.

    Raises:
        ValueError: a name is unknown or twice, or a network takes no films of the recipe's sides.
    """
    unknown = [name for name in names if name not in ARCHITECTURES]
    if unknown:
        raise ValueError(
            f"There is no architecture {', '.join(unknown)}; there are {', '.join(ARCHITECTURES)}."
        )
    if len(set(names)) < len(names):
        raise ValueError(f"An architecture is named twice: {', '.join(names)}.")
    sizes = {recipe.input_size, *(stage.size for stage in recipe.stages)}
    for name in names:
        ARCHITECTURES[name].check_sizes(sizes)


def train(films: Dataset, recipe: Recipe, folder: Path, console: Console) -> Trained:
    """One network by `recipe`, trained in `folder` and judged on the fold it never saw."""
    run = folder / recipe.architecture
    result = run / "result.json"
    films_sha256 = list_digest(films.films)
    if result.is_file():
        claim(run, recipe)
        done = Trained.model_validate_json(result.read_text())
        if done.films_sha256 != films_sha256:
            raise RunError(f"{run} holds a run on other films; name another folder, or remove it.")
        console.print(f"{recipe.architecture} is done.")
        return done
    try:
        trained = fit(films, recipe, run, console)
        judgement = judge_held_out(
            partition(films, recipe).held_out,
            lambda shown: predict_logits(trained, shown.resized(recipe.input_size))[:, PNEUMONIA],
        )
    except Diverged as error:
        console.print(f"[bold]{error}[/]")
        judgement = None
    network = build(recipe.architecture, input_size=recipe.input_size)
    told = run / "history.json"
    history = json.loads(told.read_text()) if told.is_file() else []
    found = Trained(
        architecture=recipe.architecture,
        films_sha256=films_sha256,
        parameters=network.count_params(),
        gflops=gflops(network),
        seconds=sum(entry["seconds"] for entry in history),
        processor_seconds=sum(entry["processor_seconds"] for entry in history),
        history=tuple(Epoch(**{name: entry[name] for name in Epoch.model_fields}) for entry in history),
        judgement=judgement,
    )
    result.write_text(found.model_dump_json(indent=1) + "\n")
    return found


def _differences(networks: Sequence[Trained], held_out: Dataset) -> dict[str, Estimate]:
    judged = {each.architecture: each.judgement for each in networks if each.judgement}
    if not judged:
        return {}
    scored = {name: Scored.of(held_out, np.array(each.scores)) for name, each in judged.items()}
    best = max(judged, key=lambda name: judged[name].evaluation.auc.value)
    return {name: auc_difference(scored[best], each) for name, each in scored.items() if name != best}


def gflops(network: keras.Model) -> float:
    """10⁹ floating-point operations a film, two a multiply-accumulate, of convolutions and dense layers."""
    multiplied = 0
    for layer in network.layers:
        kernel = getattr(layer, "kernel", None)
        if kernel is None:
            continue
        places = layer.output.shape[1:-1] if len(layer.output.shape) > 2 else (1,)
        multiplied += int(np.prod(places)) * int(np.prod(kernel.shape))
    return 2 * multiplied / 1e9


def serve_all(names: Sequence[str], folder: Path, console: Console) -> tuple[list[Served], dict[str, str]]:
    """What every trained network costs to serve, by the service's own engine; kept in `folder`.

    Each is exported by `python -m model_export`. They are timed in turns, so that a busy moment of the machine
    falls on all alike.

    Returns:
        What was exported and timed, and why others were not, by name.
    """
    kept = folder / "served.json"
    if kept.is_file():
        found = [Served.model_validate(each) for each in json.loads(kept.read_text())]
        if {each.architecture for each in found} == set(names):
            return found, {}
    classifiers: dict[str, Classifier] = {}
    not_exported: dict[str, str] = {}
    for name in names:
        run = folder / name
        if not (run / "served" / "MODEL_CARD.md").is_file():  # what the export writes last
            console.print(f"exporting {name}")
            words = [str(run / "model.keras"), "--output", str(run / "served")]
            told = subprocess.run(  # noqa: S603
                [sys.executable, "-m", "model_export", *words], capture_output=True, text=True, check=False
            )
            if told.returncode:
                not_exported[name] = " ".join(told.stderr.rpartition("Error:")[2].split())
                console.print(f"{name} cannot be exported: {not_exported[name]}")
                continue
        classifiers[name] = Classifier.open_file(run / "served" / "model.onnx")
    taken: dict[str, list[float]] = {name: [] for name in classifiers}
    for _ in range(_ROUNDS):
        for name, classifier in classifiers.items():
            side = classifier.input_size
            film = np.random.default_rng(0).integers(0, 256, (1, side, side)).astype(np.uint8)
            classifier.run(film)
            for _ in range(_RUNS):
                began = time.perf_counter()
                classifier.run(film)
                taken[name].append(time.perf_counter() - began)
    served = [
        Served(
            architecture=name,
            milliseconds=1000 * float(np.median(times)),
            file_bytes=(folder / name / "served" / "model.onnx").stat().st_size,
        )
        for name, times in taken.items()
    ]
    kept.write_text(json.dumps([each.model_dump() for each in served], indent=1) + "\n")
    return served, not_exported


def _machine() -> str:
    """Processor and cores, in words."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{usable_cores()} cores of {model}"
