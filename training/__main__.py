"""`python -m training`: explore a folder of films, fit networks on it, and judge them."""

import json
import logging
import os
import shlex
import sys
from dataclasses import replace
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.text import Text

from training.recipe import Recipe, Stage

ALL_FILMS = "all films"

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
console = Console(width=None if sys.stdout.isatty() else 120)
DEFAULT = Recipe()
DEFAULT_EXPLORATION = Path("runs/exploration")
DEFAULT_MODELS = Path("models/pneumonia/1")
DEFAULT_PAGE = Path("docs/report.md")
DEFAULT_PICTURES = Path("docs/images/report")
DEFAULT_COMPARISON = Path("runs/comparison")


def _stages(text: str) -> tuple[Stage, ...]:
    return tuple(Stage.parse(stage) for stage in text.split(","))


def _in_words(stages: tuple[Stage, ...]) -> str:
    return ",".join(f"{stage.size}x{stage.epochs}x{stage.batch_size}" for stage in stages)


class Change(StrEnum):
    """What is done to films before they are judged; see `training.restyle`."""

    NONE = "none"
    RESTYLED = "restyled"
    REFRAMED = "reframed"


Data = Annotated[Path, typer.Option(help="Folder with train/NORMAL and train/PNEUMONIA.")]


@app.callback()
def _quiet() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # It warns of every network after the fourth in one process.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)


def _load(data: Path, split: str = "train") -> Any:
    from training.reading import read_films

    return read_films(data, console, split)


@app.command()
def explore(
    data: Annotated[
        Path, typer.Option(help="Data set's folder, folder of classes, or CSV of path and label.")
    ],
    output: Annotated[Path, typer.Option(help="Folder for the page.")] = DEFAULT_EXPLORATION,
    folds: Annotated[int, typer.Option(min=2, help="As for `fit`.")] = DEFAULT.folds,
    seed: Annotated[int, typer.Option(help="As for `fit`.")] = DEFAULT.seed,
) -> None:
    """Show what the films hold before training: counts, sizes, intensities, style, duplicates, folds."""
    from training.exploration_figures import table
    from training.explore import explore as measure

    words = ["python", "-m", "training", "explore", "--data", "DIR"]
    for option, value, default in (("--folds", folds, DEFAULT.folds), ("--seed", seed, DEFAULT.seed)):
        if value != default:
            words += [option, str(value)]
    found = measure(data, output, console, fold_count=folds, seed=seed, command=shlex.join(words))
    console.print(table(found))
    for finding in found.findings:
        console.print(Text.assemble((f"{finding.topic}: ", "bold"), finding.text))
    console.print(f"The page is {output / 'index.html'}; its numbers are in exploration.json and films.csv.")


@app.command()
def fit(
    data: Data,
    run: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the run; an unfinished run there goes on. By default runs/ARCHITECTURE."
        ),
    ] = None,
    architecture: Annotated[
        str, typer.Option(help="Network of the registry; docs/training.md lists them.")
    ] = DEFAULT.architecture,
    weights: Annotated[str, typer.Option(help="none, imagenet, or a weights file.")] = DEFAULT.weights,
    input_size: Annotated[int, typer.Option(help="Side of the films that the network is for.")] = 224,
    stages: Annotated[
        str, typer.Option(help="Progressive sizes: SIZExEPOCHS or SIZExEPOCHSxBATCH, comma-separated.")
    ] = _in_words(DEFAULT.stages),
    folds: Annotated[int, typer.Option(help="Number of folds.")] = DEFAULT.folds,
    held_out_fold: Annotated[
        int, typer.Option(help="Fold that is never trained on.")
    ] = DEFAULT.held_out_fold,
    seed: Annotated[int, typer.Option(help="Same seed, same folds and order.")] = DEFAULT.seed,
    trial: Annotated[int, typer.Option(help="Another start, order and augmentation on the same folds.")] = (
        DEFAULT.trial
    ),
    optimizer: Annotated[str, typer.Option(help="adam or rmsprop.")] = DEFAULT.optimizer,
    learning_rate: Annotated[float, typer.Option(help="Peak of phase 1.")] = DEFAULT.learning_rate,
    schedule: Annotated[
        str, typer.Option(help="Of phase 1: cosine, or plateau (the rate stays, the callbacks watch).")
    ] = DEFAULT.schedule,
    loss: Annotated[str, typer.Option(help="binary_crossentropy or focal.")] = DEFAULT.loss,
    focal_gamma: Annotated[
        float, typer.Option(help="How much the focal loss leaves easy films aside.")
    ] = DEFAULT.focal_gamma,
    callbacks: Annotated[
        str, typer.Option(help="Of early_stopping, reduce_lr_on_plateau, model_checkpoint; or none.")
    ] = ",".join(DEFAULT.callbacks),
    balance: Annotated[str, typer.Option(help="none, weights, oversample or style.")] = DEFAULT.balance,
    augmentation: Annotated[str, typer.Option(help="none, light, medium or strong.")] = DEFAULT.augmentation,
    aspect: Annotated[
        float, typer.Option(help="How far augmentation parts width and height: up to exp of it, each way.")
    ] = DEFAULT.aspect,
    crop: Annotated[
        float, typer.Option(help="Up to which share augmentation cuts off width and height, each by itself.")
    ] = DEFAULT.crop,
    flip: Annotated[bool, typer.Option(help="Mirror half of the films.")] = DEFAULT.flip,
    label_smoothing: Annotated[
        float, typer.Option(help="Share moved from the label.")
    ] = DEFAULT.label_smoothing,
    kind_weight: Annotated[
        float, typer.Option(help="Weight of bacterial against viral in the loss.")
    ] = DEFAULT.kind_weight,
    consistency: Annotated[
        float,
        typer.Option(help="Weight of holding two views of a film together at the last size; 0: one view."),
    ] = DEFAULT.consistency,
    mixup: Annotated[float, typer.Option(help="How much films are mixed; 0: not.")] = DEFAULT.mixup,
    soft_labels: Annotated[
        str, typer.Option(help="File of `teach`: learn from its probabilities too.")
    ] = DEFAULT.soft_labels,
    soft_share: Annotated[
        float, typer.Option(help="Share of the soft labels in the target.")
    ] = DEFAULT.soft_share,
    averaging: Annotated[float, typer.Option(help="Momentum of the weight average.")] = DEFAULT.averaging,
    fine_tune_layers: Annotated[int, typer.Option(help="Top layers of phase 2.")] = DEFAULT.fine_tune_layers,
    fine_tune_epochs: Annotated[int, typer.Option(help="At most this many; 0 leaves it out.")] = (
        DEFAULT.fine_tune_epochs
    ),
    fine_tune_learning_rate: Annotated[float, typer.Option(help="Start of phase 2.")] = (
        DEFAULT.fine_tune_learning_rate
    ),
    recall_weight: Annotated[
        float, typer.Option(help="Extra weight of pneumonia in phase 2.")
    ] = DEFAULT.recall_weight,
    patience: Annotated[
        int, typer.Option(help="Epochs without gain before phase 2 stops.")
    ] = DEFAULT.patience,
    precision: Annotated[
        str, typer.Option(help="float32, mixed_bfloat16 (recent CPUs and GPUs) or mixed_float16 (GPUs).")
    ] = DEFAULT.precision,
) -> None:
    """Train a network, calibrate it on the fold it never saw, and draw its figures."""
    choices = {name: value for name, value in locals().items() if name in Recipe.model_fields}
    choices["callbacks"] = () if callbacks == "none" else tuple(callbacks.split(","))
    recipe = Recipe(**choices | {"stages": _stages(stages)})
    run = run or _default_run(recipe)
    films = _load(data)

    from training.evaluate import conclude
    from training.fit import fit as train
    from training.report import draw_history, table

    network = train(films, recipe, run, console)
    conclusion = conclude(network, films, recipe, run, command=_command(recipe, run), libraries=_libraries())
    history = json.loads((run / "history.json").read_text())
    draw_history(run / "figures" / "learning_curves.png", history)
    console.print(table(conclusion.evaluation, "Held-out fold", conclusion.threshold.value))
    console.print(f"The run is in {run}: model.keras, calibration.json, metrics.json, figures/.")


@app.command()
def compare(
    data: Data,
    architectures: Annotated[
        str, typer.Option(help="Networks of the registry, comma-separated; all if not given.")
    ] = "",
    weights: Annotated[
        str, typer.Option(help="none, or imagenet where it can be downloaded.")
    ] = DEFAULT.weights,
    stages: Annotated[
        str,
        typer.Option(help="As for `fit`; judged at the last one's size. One size where a network flattens."),
    ] = "80x6",
    held_out_fold: Annotated[int, typer.Option(help="As for `fit`.")] = DEFAULT.held_out_fold,
    seed: Annotated[int, typer.Option(help="As for `fit`.")] = DEFAULT.seed,
    optimizer: Annotated[str, typer.Option(help="As for `fit`.")] = DEFAULT.optimizer,
    learning_rate: Annotated[float, typer.Option(help="As for `fit`.")] = DEFAULT.learning_rate,
    loss: Annotated[str, typer.Option(help="As for `fit`.")] = DEFAULT.loss,
    balance: Annotated[str, typer.Option(help="As for `fit`.")] = DEFAULT.balance,
    augmentation: Annotated[str, typer.Option(help="As for `fit`.")] = DEFAULT.augmentation,
    fine_tune_epochs: Annotated[int, typer.Option(help="As for `fit`, of its top layers.")] = 0,
    fine_tune_layers: Annotated[int, typer.Option(help="As for `fit`.")] = DEFAULT.fine_tune_layers,
    precision: Annotated[str, typer.Option(help="As for `fit`.")] = DEFAULT.precision,
    folder: Annotated[
        Path, typer.Option(help="Folder of the runs, the page and its pictures; finished networks are kept.")
    ] = DEFAULT_COMPARISON,
    page: Annotated[Path | None, typer.Option(help="Where to write the page in Markdown as well.")] = None,
    pictures: Annotated[
        Path | None,
        typer.Option(help="Folder for that page's pictures; images/comparison beside it if not given."),
    ] = None,
) -> None:
    """Train networks of the registry by one recipe, and judge them side by side; goes on after a kill."""
    from training.architectures import ARCHITECTURES
    from training.compare import RECIPE, check
    from training.compare import compare as run
    from training.comparison_figures import table
    from training.comparison_page import publish, write

    given = {name: value for name, value in locals().items() if name in Recipe.model_fields}
    shown = _stages(stages)
    recipe = Recipe.model_validate(
        RECIPE.model_dump() | given | {"stages": shown, "input_size": shown[-1].size}
    )
    names = [name.strip() for name in architectures.split(",")] if architectures else list(ARCHITECTURES)
    check(names, recipe)
    for place in (folder, *((page.parent,) if page else ()), *((pictures,) if pictures else ())):
        place.mkdir(parents=True, exist_ok=True)
    words = ["python", "-m", "training", "compare", "--data", "DIR"]
    if architectures:
        words += ["--architectures", architectures]
    for name, value in recipe:
        if name != "input_size" and value != getattr(RECIPE, name):
            words += ["--" + name.replace("_", "-"), _in_words(shown) if name == "stages" else str(value)]
    found = run(_load(data), names, recipe, folder, console, command=shlex.join(words))
    write(found, folder)
    if page is not None:
        publish(found, page, pictures or page.parent / "images" / "comparison")
    console.print(table(found))
    console.print(f"The page is {folder / 'index.html'}; its numbers are in comparison.json.")


@app.command()
def evaluate(
    model: Annotated[Path, typer.Option(help="A .keras or .onnx file.")],
    data: Annotated[
        Path, typer.Option(help="Data set's folder, folder of classes, or CSV of path and label.")
    ],
    split: Annotated[
        str | None,
        typer.Option(
            help="train-folds (the fold the model never saw), test, or a folder's name. By default train-folds "
            "of a data set's folder, and every film of a folder of classes or a CSV.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder for JSON and figures.")] = Path("runs/evaluation"),
    threshold: Annotated[float | None, typer.Option(min=0, max=1, help="Instead of the model's own.")] = None,
    change: Annotated[
        Change, typer.Option(help="Judge the films in the style, or the shape, of the other class.")
    ] = Change.NONE,
    folds: Annotated[int | None, typer.Option(help="Where the model does not say it.")] = None,
    held_out_fold: Annotated[int | None, typer.Option(help="Where the model does not say it.")] = None,
    seed: Annotated[int, typer.Option(help="Of the folds; where the model does not say it.")] = 0,
) -> None:
    """Accuracy, sensitivity, specificity, precision, F1, AUC and average precision, with 95 % intervals."""
    from training.evaluate import ModelError, judge, open_model
    from training.fit import partition
    from training.report import table

    judged = open_model(model, threshold)
    if split is None:
        split = "train-folds" if (data / "train").is_dir() else ALL_FILMS
    films = _load(data, "train" if split == "train-folds" else split)
    if split == "train-folds":
        recipe = judged.recipe
        if held_out_fold is not None:
            recipe = Recipe(folds=folds or DEFAULT.folds, held_out_fold=held_out_fold, seed=seed)
        if recipe is None:
            raise ModelError(
                f"{model} does not say which fold it never saw: give --held-out-fold (and --folds, --seed)."
            )
        films = partition(films, recipe).held_out
    if change is not Change.NONE:
        from training.restyle import CHANGES

        films = replace(films, pixels=CHANGES[change](films))
    evaluation = judge(judged, films, output)
    console.print(table(evaluation, f"{judged.name} on {split}", judged.threshold))
    console.print(f"JSON, scores and figures are in {output}.")


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    data: Data,
    models: Annotated[Path, typer.Option(help="Folder of the files exported from it.")] = DEFAULT_MODELS,
    page: Annotated[Path, typer.Option(help="Page to write.")] = DEFAULT_PAGE,
    pictures: Annotated[
        Path, typer.Option(help="Folder for its pictures and report.json.")
    ] = DEFAULT_PICTURES,
    probes: Annotated[int, typer.Option(min=1, help="Pictures of each kind for the novelty.")] = 100,
    heatmap_films: Annotated[int, typer.Option(min=2, help="Films for the heat map's check.")] = 32,
    heatmap_check: Annotated[
        bool, typer.Option("--heatmap-check/--no-heatmap-check", help="Whether the heat map is checked.")
    ] = True,
) -> None:
    """Write everything known of a run and its exported files, on the fold they never saw, as one page."""
    from training.summary import Effort, Sources, write_report

    effort = Effort(probes=probes, heatmap_films=heatmap_films if heatmap_check else 0)
    words = ["python", "-m", "training", "report", _portable(run, "RUN"), "--data", "DIR"]
    words += ["--models", _portable(models, "MODELS")]
    for option, path, default in (("--page", page, DEFAULT_PAGE), ("--pictures", pictures, DEFAULT_PICTURES)):
        if path != default:
            words += [option, _portable(path, option[2:].upper())]
    if probes != Effort().probes:
        words += ["--probes", str(probes)]
    if not heatmap_check:
        words.append("--no-heatmap-check")
    elif heatmap_films != Effort().heatmap_films:
        words += ["--heatmap-films", str(heatmap_films)]
    write_report(
        Sources(models, run, _load(data)),
        page,
        pictures,
        shlex.join(words),
        lambda step: console.print(f"· {step}"),
        effort=effort,
    )
    console.print(f"{page} and its pictures in {pictures} are written.")


@app.command()
def ablate(
    data: Data,
    variants: Annotated[str, typer.Option(help="Names, comma-separated; all if not given.")] = "",
    held_out: Annotated[str, typer.Option(help="Folds to hold out, one a run.")] = "0,1",
    trials: Annotated[int, typer.Option(help="Runs of each with another start.")] = 1,
    architecture: Annotated[str, typer.Option(help="Network that ranks the choices.")] = "small_resnet",
    stages: Annotated[
        str | None, typer.Option(help="As for `fit`, for variants that name none; judged at the last's size.")
    ] = None,
    precision: Annotated[str, typer.Option(help="As for `fit`.")] = DEFAULT.precision,
    folder: Annotated[Path, typer.Option(help="Folder of the runs; finished ones are kept.")] = Path(
        "runs/ablations"
    ),
) -> None:
    """Train with one choice changed at a time and compare, on the hard films too; goes on after a kill."""
    from training.ablate import BASE, VARIANTS, run_variant, save_table
    from training.architectures import WeightsError

    names = variants.split(",") if variants else list(VARIANTS)
    unknown = set(names) - set(VARIANTS)
    if unknown:
        raise ValueError(
            f"There is no variant {', '.join(sorted(unknown))}; there are {', '.join(VARIANTS)}."
        )
    films = _load(data)
    shown = _stages(stages) if stages else BASE.stages
    asked = {"architecture": architecture, "precision": precision, "stages": shown}
    base = BASE.model_validate(BASE.model_dump() | asked | {"input_size": shown[-1].size})
    for trial in range(trials):
        for fold in map(int, held_out.split(",")):
            for name in names:
                recipe = base.model_copy(update={"held_out_fold": fold, "trial": trial})
                try:
                    row = run_variant(films, name, recipe, folder, console)
                except WeightsError as error:
                    console.print(f"{name} is left out: {error}")
                    continue
                figures = row.evaluation
                console.print(
                    f"{name}, fold {fold}, trial {trial}: AUC {figures.auc.value:.4f}, {row.seconds:.0f} s"
                )
                save_table(folder, folder / "table.md")
    console.print(f"The table is in {folder / 'table.md'}.")


def _portable(path: Path, word: str) -> str:
    """`path` as a command may name it on any machine: `word` for one that begins at the root."""
    return word if path.is_absolute() else path.as_posix()


def _command(recipe: Recipe, run: Path) -> str:
    """The command that makes this run, but for where the films are; after that of the run it starts from."""
    earlier = Path(recipe.weights).parent / "calibration.json"
    if recipe.weights not in ("none", "imagenet") and earlier.is_file():
        return f"{json.loads(earlier.read_text())['command']} && {_one_command(recipe, run)}"
    return _one_command(recipe, run)


def _default_run(recipe: Recipe) -> Path:
    return Path("runs") / recipe.architecture


def _one_command(recipe: Recipe, run: Path) -> str:
    words = ["python", "-m", "training", "fit", "--data", "DIR"]
    if run != _default_run(recipe):
        words += ["--run", str(run)]
    for name, value in recipe:
        if value == getattr(DEFAULT, name):
            continue
        words.append("--" + name.replace("_", "-"))
        if name == "stages":
            words.append(_in_words(recipe.stages))
        elif name == "callbacks":
            words.append(",".join(recipe.callbacks) or "none")
        elif value is not True:
            words.append(str(value))
    return shlex.join(words)


def _libraries() -> dict[str, str]:
    import keras

    names = ["keras", "numpy", "pillow", "scikit-learn"]
    backend = {"tensorflow": ("tensorflow-cpu", "tensorflow"), "torch": ("torch",), "jax": ("jax",)}
    found = {"python": sys.version.split()[0]} | {name: version(name) for name in names}
    for name in backend.get(keras.backend.backend(), ()):
        try:
            found[name] = version(name)
            break
        except ModuleNotFoundError:
            continue
    return found


def main() -> None:
    """Run the command; a known fault is one sentence and exit code 2."""
    from training.dataset import DatasetError

    try:
        app()
    except ValidationError as error:
        told = "; ".join(_complaint(each) for each in error.errors(include_url=False))
        _fail(told, error)
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error), error)
    except (DatasetError, ValueError, RuntimeError) as error:
        _fail(str(error), error)


def _complaint(error: Any) -> str:
    """What is wrong with an option, by its name and the value that was given."""
    if not error["loc"]:
        return str(error["msg"]).removeprefix("Value error, ")
    option = "--" + str(error["loc"][0]).replace("_", "-")
    return f"{option} {error['input']}: {error['msg'].removeprefix('Value error, ')}"


def _fail(told: str, error: Exception) -> NoReturn:
    Console(stderr=True).print(Text.assemble(("Error: ", "bold red"), told))
    raise SystemExit(2) from error


if __name__ == "__main__":
    main()
