"""`python -m training`: fit and evaluate networks on a folder of films."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
console = Console()


@app.command()
def fit(
    data: Annotated[Path, typer.Option(help="Folder with train/NORMAL and train/PNEUMONIA.")],
    run: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("runs/resnet50"),
    stages: Annotated[str, typer.Option(help="SIZExEPOCHS[xBATCH],…")] = "64x14,112x10,160x4,224x2",
    precision: str = "float32",
) -> None:
    """Train a network."""
    from training import dataset
    from training.fit import fit as train
    from training.recipe import Recipe, Stage

    films = dataset.load(dataset.find_films(data))
    recipe = Recipe(stages=tuple(Stage.parse(text) for text in stages.split(",")), precision=precision)
    train(films, recipe, run, console)


@app.command()
def evaluate() -> None:
    """Judge."""


if __name__ == "__main__":
    app()
