"""An exploration as one page of HTML that needs no other host: pictures first, few words."""

from collections.abc import Collection

from training.exploration import Duplicates, Exploration, overview
from training.web_page import Element, element, folded, page, section, table, words

_LISTED = 40
_LEVELS = {"problem": "Mend or explain first", "caution": "Bear in mind", "fine": "Fine"}


def write(found: Exploration, pictures: Collection[str]) -> str:
    """The page.

    Args:
        found: every number.
        pictures: file names of the pictures that lie beside it.
    """
    sections = [
        section("What this means for training", _findings(found)),
        section("Films, patients, kinds", _counted(found), *_figures(pictures, "counts.png", "films.png")),
        section("Sizes", *_figures(pictures, "sizes.png"), _sizes(found)),
        section(
            "Intensities",
            *_figures(pictures, "intensities.png", "histograms.png", "mean_films.png"),
            _measures(found),
        ),
        section("Style of acquisition", *_figures(pictures, "style.png", "clusters.png"), _clusters(found)),
        section("Duplicates", *_duplicates(found, pictures)),
        section("Folds", *_figures(pictures, "folds.png"), *_folds(found)),
        section("Files that are not read", *_not_read(found)),
    ]
    title = f"{found.films.films:,} chest films explored"
    return page(title, _header(found), sections)


def _header(found: Exploration) -> Element:
    films = found.films
    return element(
        "header",
        element("h1", "The films, before training"),
        element(
            "p",
            f"{films.films:,} films of {films.patients:,} patient numbers: {films.normal:,} normal, "
            f"{films.pneumonia:,} pneumonia. Everything but the counts by split is of the films of {found.name} "
            "that can be read, as the service decodes them: grey, squashed to 224 × 224. Every number is in ",
            element("a", "exploration.json", href="exploration.json"),
            ", and each film's in ",
            element("a", "films.csv", href="films.csv"),
            ".",
        ),
        element(
            "p",
            "Made by ",
            element("code", found.command),
            "; SHA-256 over the list of films ",
            element("code", found.films_sha256),
            ".",
            class_="quiet",
        ),
    )


def _findings(found: Exploration) -> Element:
    return element(
        "ul",
        *(
            element(
                "li",
                element("span", f"{_LEVELS[finding.level]}: {finding.topic}", class_="level"),
                element("p", finding.text),
                class_=finding.level,
            )
            for finding in found.findings
        ),
        class_="findings",
    )


_CAPTIONS = {
    "counts.png": "Films of each split by kind, and how many patient numbers have how many films.",
    "films.png": "Films of each kind, chosen by chance, one a patient number.",
    "sizes.png": "Sizes of the files; the histograms' ends hold what lies beyond.",
    "intensities.png": "Measures of the decoded squares. Contrast is the distance between the 5th and the 95th "
    "percentile of the grey levels, sharpness the variance of the Laplacian, black the share of pixels under grey "
    "level 16.",
    "histograms.png": "Mean share of pixels at each grey level; black and white may run out of the picture.",
    "mean_films.png": "Mean films and their differences; red is brighter in the first-named.",
    "style.png": "8 × 8 thumbnails: their two principal components, and the probability of pneumonia that a "
    "linear classifier gives films of patients that it never saw. AUC with its 95 % interval, patients resampled.",
    "clusters.png": "Clusters of like thumbnails (k-means): the mean film of each and its share of pneumonia; "
    "dotted, the share over all films.",
    "distances.png": "How far each different file is from its nearest neighbour by the DCT hash.",
    "closest_pairs.png": "The closest pairs of different files, under the limit or not: judge by eye.",
    "folds.png": "Films by kind, and patient numbers, in the folds that fit makes.",
}


def _figures(pictures: Collection[str], *names: str) -> list[Element]:
    return [
        element(
            "figure",
            element("img", src=name, alt=_CAPTIONS[name], loading="lazy"),
            element("figcaption", _CAPTIONS[name]),
        )
        for name in names
        if name in pictures
    ]


def _counted(found: Exploration) -> Element:
    head = ["split", "films", "patient numbers", "normal", "bacterial", "viral", "unknown", "pneumonia"]
    rows = [
        [
            name,
            *(f"{value:,}" for value in (count.films, count.patients, count.normal)),
            *(f"{value:,}" for value in (count.bacterial, count.viral, count.unknown)),
            f"{count.share:.1%}",
        ]
        for name, count in found.splits.items()
    ]
    return table("Films that were found, readable or not", head, rows)


def _sizes(found: Exploration) -> Element:
    rows = [[size, f"{count:,}"] for size, count in list(found.sizes.sizes.items())[:8]]
    more = f"; {found.sizes.distinct - len(rows):,} further sizes" if found.sizes.distinct > len(rows) else ""
    return table(f"The most frequent sizes{more}", ["width × height", "films"], rows)


def _measures(found: Exploration) -> Element:
    head, rows = overview(found)
    areas = {f"{name}, {measure.unit}": f"{measure.auc:.3f}" for name, measure in found.measures.items()}
    return table(
        "Median (5th–95th percentile) over films, and the area under the curve of the number alone as a score for "
        "pneumonia: 0.5 tells nothing, under 0.5 it is lower in pneumonia",
        [*head, "AUC"],
        [[*row, areas.get(row[0], "")] for row in rows],
    )


def _clusters(found: Exploration) -> Element:
    rows = [
        [
            str(number),
            f"{cluster.count.films:,}",
            f"{cluster.count.patients:,}",
            *(f"{getattr(cluster.count, kind):,}" for kind in found.kinds),
            f"{cluster.count.share:.1%}",
            f"{cluster.brightness:.0f}",
        ]
        for number, cluster in enumerate(found.style.clusters, start=1)
    ]
    head = ["cluster", "films", "patient numbers", *found.kinds, "pneumonia", "brightness"]
    return table("Clusters of thumbnails", head, rows)


def _duplicates(found: Exploration, pictures: Collection[str]) -> list[Element]:
    def row(name: str, duplicates: Duplicates) -> list[str]:
        across_folds = "–" if duplicates.across_folds is None else f"{duplicates.across_folds:,}"
        across = (f"{duplicates.across_classes:,}", f"{duplicates.across_patients:,}", across_folds)
        return [name, f"{len(duplicates.groups):,}", f"{duplicates.films:,}", *across]

    near = found.near
    head = ["", "groups", "films", "across classes", "across patient numbers", "across folds"]
    rows = [
        row("identical files", found.identical),
        row(f"different files, {near.limit} bits or fewer apart", near),
    ]
    parts = [
        table("Films that show the same picture", head, rows),
        *_figures(pictures, "distances.png", "closest_pairs.png"),
    ]
    for title, duplicates in (("Identical files", found.identical), ("Near duplicates", near)):
        listed = [[", ".join(group)] for group in duplicates.groups[:_LISTED]]
        if listed:
            left = len(duplicates.groups) - len(listed)
            more = f"; {left:,} more in exploration.json" if left else ""
            parts.append(folded(f"{title}: {len(duplicates.groups):,} groups{more}", words("films", listed)))
    return parts


def _folds(found: Exploration) -> list[Element]:
    if found.folds is None:
        return [element("p", found.no_folds)]
    head = ["fold", "films", "patient numbers", *found.kinds, "pneumonia"]
    rows = [
        [
            str(number),
            f"{fold.films:,}",
            f"{fold.patients:,}",
            *(f"{getattr(fold, kind):,}" for kind in found.kinds),
            f"{fold.share:.1%}",
        ]
        for number, fold in enumerate(found.folds.folds)
    ]
    straddling = (
        f"{found.folds.straddling_patients:,} patient numbers and {found.folds.straddling_files:,} files"
    )
    return [table(f"Seed {found.folds.seed}; {straddling} stand in two folds", head, rows)]


def _not_read(found: Exploration) -> list[Element]:
    parts = []
    if found.unreadable:
        rows = [[each.film, each.reason] for each in found.unreadable]
        parts.append(words("film", rows, "reason"))
    if found.passed_over:
        listed = [[name] for name in found.passed_over[:_LISTED]]
        title = f"Files that are no JPEG or PNG by their name: {len(found.passed_over):,}"
        parts.append(folded(title, words("file", listed)))
    return parts or [element("p", "There are none.")]
