"""Take a picture of the page: `python -m tests.app.web.picture URL docs/images/page.png`."""

import io
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image, ImageFilter
from playwright.sync_api import expect

from tests import radiographs
from tests.app.web.browser import choose, chromium, wait_for_film

NAMES = ("upright.jpg", "portable.jpg", "follow-up.jpg", "supine.jpg", "control.jpg")


def synthetic_films(count: int) -> list[bytes]:
    """Drawn films, every other one with an opacity, without the grain that would make the picture a large file."""
    drawn = [radiographs.draw(1100, 920, seed=4 + place, opacity=place % 2 == 0) for place in range(count)]
    return [
        radiographs.jpeg(np.asarray(Image.fromarray(film).filter(ImageFilter.GaussianBlur(2))))
        for film in drawn
    ]


def main(
    url: Annotated[str, typer.Argument(help="A running service, such as http://localhost:8000.")],
    picture: Annotated[Path, typer.Argument(help="The PNG file to write.")],
    films: Annotated[
        int, typer.Option(min=0, max=len(NAMES), help="How many synthetic films to choose.")
    ] = 1,
    dark: Annotated[bool, typer.Option(help="In the dark theme.")] = False,
    width: Annotated[int, typer.Option(help="Width of the window in pixels.")] = 1280,
    height: Annotated[int, typer.Option(help="Height of the window in pixels.")] = 800,
    scale: Annotated[float, typer.Option(help="Pixels of the picture for one of the window.")] = 1,
) -> None:
    """Open the page, choose synthetic films, wait for their findings, and write a small picture of it."""
    with chromium() as browser:
        page = browser.new_page(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
            device_scale_factor=scale,
        )
        page.goto(url)
        page.locator("#model").wait_for()
        if films:
            choose(page, *synthetic_films(films), names=NAMES[:films])
            expect(page.locator("#film-list .share:not(:empty)")).to_have_count(films)
            wait_for_film(page)
        screen = page.screenshot()
    with Image.open(io.BytesIO(screen)) as seen:
        opaque = seen.convert("RGB")
    palette = opaque.quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=3)
    opaque.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(picture, optimize=True)


if __name__ == "__main__":
    typer.run(main)
