"""Take a picture of the page with a film on it: `python -m tests.app.web.picture URL docs/images/page.png`."""

from pathlib import Path
from typing import Annotated

import typer

from tests import radiographs
from tests.app.web.browser import chromium


def main(
    url: Annotated[str, typer.Argument(help="A running service, such as http://localhost:8000.")],
    picture: Annotated[Path, typer.Argument(help="The PNG file to write.")],
    film: Annotated[Path | None, typer.Option(help="A film to show; by default a synthetic one.")] = None,
    dark: Annotated[bool, typer.Option(help="In the dark theme.")] = False,
    width: Annotated[int, typer.Option(help="Width of the window in pixels.")] = 1280,
    height: Annotated[int, typer.Option(help="Height of the window in pixels.")] = 860,
    empty: Annotated[bool, typer.Option(help="Without a film.")] = False,
) -> None:
    """Open the page, choose a film, wait for its finding, and write a picture of it."""
    content = (
        film.read_bytes() if film else radiographs.jpeg(radiographs.draw(1100, 920, seed=4, opacity=True))
    )
    with chromium() as browser:
        page = browser.new_page(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            device_scale_factor=1.5,
        )
        page.goto(url)
        page.locator("#model").wait_for()
        if not empty:
            page.set_input_files("#file", {"name": "film", "mimeType": "image/jpeg", "buffer": content})
            page.locator("#finding, #problem").filter(visible=True).wait_for()
            page.wait_for_function("document.querySelector('#film').complete")
            page.wait_for_timeout(600)
        page.screenshot(path=picture)


if __name__ == "__main__":
    typer.run(main)
