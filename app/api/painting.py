"""Films and heat maps as pictures, painted in the decoding pool, off the event loop."""

import base64

from app.api.errors import NoHeatmap
from app.api.reading import Reading
from app.api.service import Service
from app.imaging import overlay


async def overlay_uri(service: Service, reading: Reading) -> str | None:
    """The heat map of a reading as the data: URI of a transparent PNG, None where the model has none."""
    heatmap = reading.finding.heatmap
    if heatmap is None:
        return None
    png = await service.decoders.run(lambda: overlay.layer(heatmap, reading.width, reading.height))
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


async def painted_film(service: Service, film: bytes, reading: Reading) -> bytes:
    """The film at its own size with the heat map over it, as a PNG.

    Raises:
        NoHeatmap: the model has none.
    """
    heatmap = reading.finding.heatmap
    if heatmap is None:
        raise NoHeatmap("This model has no heat map, so there is nothing to lay over the film.")
    return await service.decoders.run(
        lambda: overlay.over_film(film, heatmap, max_pixels=service.settings.max_pixels)
    )


async def film_alone(service: Service, film: bytes) -> bytes:
    """The film at its own size as a greyscale PNG.

    Raises:
        ImagingError: it is not a readable radiograph.
    """
    return await service.decoders.run(
        lambda: overlay.film_alone(film, max_pixels=service.settings.max_pixels)
    )
