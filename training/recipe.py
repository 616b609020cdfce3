"""What a run does, in full: written into its folder, compared on resume."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Positive = Annotated[int, Field(gt=0)]
Callback = Literal["early_stopping", "reduce_lr_on_plateau", "model_checkpoint"]
CALLBACKS: tuple[Callback, ...] = ("early_stopping", "reduce_lr_on_plateau", "model_checkpoint")
"""Keras's callbacks that may watch the monitored films' loss."""


class Stage(BaseModel):
    """Some epochs at one image size."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: Annotated[int, Field(ge=32, le=1024)]
    epochs: Positive
    batch_size: Positive = 32

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `SIZExEPOCHS` or `SIZExEPOCHSxBATCH`, for example `112x12` or `224x2x16`.

        Raises:
            ValueError: the text is not of that form, or a number is out of range.
        """
        numbers = text.lower().split("x")
        if len(numbers) not in (2, 3) or not all(number.isdigit() for number in numbers):
            raise ValueError(f"{text!r} is not SIZExEPOCHS or SIZExEPOCHSxBATCH, such as 112x12 or 224x2x16")
        try:
            return cls(**dict(zip(("size", "epochs", "batch_size"), map(int, numbers), strict=False)))
        except ValidationError as error:
            first = error.errors()[0]
            raise ValueError(
                f"--stages {text}: {first['loc'][0]} {first['input']}: {first['msg']}"
            ) from error


class Recipe(BaseModel):
    """Every choice of a run.

    Phase 1 (*learn*) trains the whole network through `stages`, with warm-up and, on the schedule `cosine`, a
    cosine to zero over the work of its steps, so that large films get their share of the learning rate; on
    `plateau` the rate stays and the `callbacks` watch. Phase 2 (*fine-tune*) freezes all but the top
    `fine_tune_layers` layers and goes on at the last stage's size, with positive films weighted by
    `recall_weight`, until the `callbacks` that watch the monitored films say stop.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: str = "resnet50"
    weights: str = "none"
    input_size: Annotated[int, Field(ge=32, le=1024)] = 224
    seed: int = 0
    trial: Annotated[int, Field(ge=0)] = 0

    folds: Annotated[int, Field(ge=2)] = 5
    held_out_fold: Annotated[int, Field(ge=0)] = 0
    monitor_share: Annotated[float, Field(gt=0, lt=0.5)] = 0.06

    stages: tuple[Stage, ...] = (
        Stage(size=64, epochs=12),
        Stage(size=112, epochs=10),
        Stage(size=160, epochs=4),
        Stage(size=224, epochs=2),
    )
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    warm_up: Annotated[float, Field(ge=0, lt=1)] = 0.05
    schedule: Literal["cosine", "plateau"] = "cosine"
    optimizer: Literal["adam", "rmsprop"] = "adam"
    loss: Literal["binary_crossentropy", "focal"] = "binary_crossentropy"
    focal_gamma: Annotated[float, Field(ge=0)] = 2.0
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    clip_norm: Annotated[float, Field(gt=0)] = 1.0

    fine_tune_layers: Annotated[int, Field(ge=0)] = 10
    fine_tune_epochs: Annotated[int, Field(ge=0)] = 2
    fine_tune_learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    recall_weight: Annotated[float, Field(gt=0)] = 1.5
    patience: Positive = 3
    callbacks: tuple[Callback, ...] = CALLBACKS

    balance: Literal["none", "weights", "oversample", "style"] = "weights"
    augmentation: Literal["none", "light", "medium", "strong"] = "medium"
    aspect: Annotated[float, Field(ge=0, le=0.5)] = 0.08
    crop: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    flip: bool = False
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    kind_weight: Annotated[float, Field(ge=0)] = 0.3
    consistency: Annotated[float, Field(ge=0)] = 1.0
    mixup: Annotated[float, Field(ge=0)] = 0.0
    soft_labels: str = "none"
    soft_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    averaging: Annotated[float, Field(ge=0, lt=1)] = 0.998
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"

    @model_validator(mode="after")
    def _held_out_fold_exists(self) -> Self:
        if self.held_out_fold >= self.folds:
            raise ValueError(f"of {self.folds} folds, from 0 on, there is no fold {self.held_out_fold}")
        return self

    def save(self, run: Path) -> None:
        """Write `config.json` into the run's folder."""
        (run / "config.json").write_text(self.model_dump_json(indent=2) + "\n")

    @classmethod
    def of_run(cls, run: Path) -> Self:
        """The recipe of a run's folder.

        Raises:
            OSError: there is none. ValueError: it is not valid.
        """
        return cls.model_validate_json((run / "config.json").read_text())
