"""`python -m model_export MODEL.keras`: a fine-tuned Keras model → the ONNX files that the service reads."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

if TYPE_CHECKING:
    from model_export.export import Films
    from training.recipe import Recipe

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console()


@app.command(help=__doc__)
def export(
    model: Annotated[
        Path,
        typer.Argument(help="model.keras of a run, or your own .keras or .h5 ending in Dense(1, sigmoid)."),
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            help="Films to judge on. For a run: the data set it was trained on, of which the held-out fold is "
            "taken. For your own network: a folder of classes, or a CSV, of films that it never saw."
        ),
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder to write into.")] = Path("models/pneumonia/1"),
    preprocess: Annotated[
        Literal["caffe", "scale01", "scale11", "torch"] | None,
        typer.Option(help="What your own network was trained with: caffe, scale01, scale11 or torch."),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Instead of the one tuned for recall.")
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the model.")] = "pneumonia",
    version: Annotated[str, typer.Option(help="Version of the model.")] = "1",
) -> None:
    """Convert, verify, and only then write."""
    from model_export.export import export as run

    exported = run(
        model,
        output,
        films=None if data is None else lambda recipe: _films(data, recipe),
        preprocess=preprocess,
        threshold=threshold,
        name=name,
        version=version,
        report=lambda step: console.print(f"· {step}"),
    )
    for file, manifest in exported.files.items():
        console.print(
            f"{output / file}  {exported.sizes[file] / 1e6:.1f} MB  threshold {manifest.threshold.value:.4f}"
        )
    console.print(f"{output / 'MODEL_CARD.md'} tells how it was made and how well it does.")


def _films(data: Path, recipe: "Recipe | None") -> "Films":
    from model_export.export import Films
    from training.fit import partition
    from training.reading import read_films

    films = read_films(data, console)
    if recipe is None:
        return Films(held_out=films, known=films)
    parts = partition(films, recipe)
    return Films(held_out=parts.held_out, known=parts.learn)


def main() -> None:
    """Run the command; a known fault is one sentence and exit code 2."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        app()
    except (ValueError, RuntimeError) as error:
        Console(stderr=True).print(f"[bold red]Error:[/] {error}", highlight=False)
        raise SystemExit(2) from error


if __name__ == "__main__":
    main()
