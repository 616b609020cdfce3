"""From a campaign's rows to the page and its figures."""

import os
from collections.abc import Callable
from pathlib import Path

from benchmarks import compare, figures, limits, page, scaling, soak, stages
from benchmarks.campaign import Campaign
from benchmarks.verdicts import Results, verdicts


def publish(campaign: Campaign, path: Path, pictures: Path) -> list[str]:
    """Fill those blocks of the page whose rows there are, and draw their figures.

    Args:
        campaign: whose rows.
        path: the page; it has the marks of every block.
        pictures: folder of the figures.

    Returns:
        The names of the blocks that were filled.

    Raises:
        NoBlock: there is no page, or it lacks a mark.
    """
    folder = Path(os.path.relpath(pictures, path.parent)).as_posix()
    visits = campaign.rows(compare.Visit, compare.PART)
    bounds = campaign.rows(limits.Limits, limits.PART)
    profiles = campaign.rows(stages.Profile, stages.PART)
    points = [point for part in campaign.rows(scaling.Points, scaling.PART) for point in part.points]
    soaks = campaign.rows(soak.Soak, soak.PART)
    results = Results(visits, bounds, profiles, soaks, campaign.conditions.device)
    blocks: dict[str, Callable[[], str]] = {}
    if any((visits, bounds, profiles, soaks)):
        blocks["targets"] = lambda: page.targets(verdicts(results))
    if visits:
        blocks["compare"] = lambda: page.compare(visits, folder)
        if any(visit.loads for visit in visits):
            figures.draw_compare(visits, pictures / "compare.png")
    if bounds:
        blocks["bare"] = lambda: page.bare(bounds)
    if profiles:
        blocks["stages"] = lambda: page.stages(profiles, folder)
        figures.draw_stages(profiles, pictures / "stages.png")
    if points:
        blocks["scaling"] = lambda: page.scaling(points, folder)
        figures.draw_scaling(points, pictures / "scaling.png")
    if soaks:
        blocks["soak"] = lambda: page.soak(soaks[-1], folder)
        figures.draw_soak(soaks[-1], pictures / "soak.png")
    rounds = {
        "compare": len({visit.round for visit in visits}),
        "bare": len(bounds),
        "stages": len({profile.round for profile in profiles}),
    }
    if not path.is_file():
        raise page.NoBlock(f"There is no page {path}.")
    text = path.read_text()
    for name, write in blocks.items():
        content = write()
        if name != "targets":
            content = f"{page.provenance(campaign, name, rounds.get(name, 1))}\n\n{content}"
        text = page.fill(text, name, content)
    path.write_text(text)
    return list(blocks)
