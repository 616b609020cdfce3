"""An exploration as one page of HTML that needs no other host: pictures first, few words.

The page is a tree of elements, so that every name is escaped and every element closed.
"""

from collections.abc import Collection, Iterable, Sequence
from xml.etree import ElementTree

from training.exploration import Duplicates, Exploration, overview

Element = ElementTree.Element
Content = Element | str

_LISTED = 40
_LEVELS = {"problem": "Mend or explain first", "caution": "Bear in mind", "fine": "Fine"}
_SHEET = """
:root { color-scheme: light dark; --ground: #f4f6f6; --card: #fff; --ink: #14252b; --quiet: #55666d;
  --line: #d9e0e2; --accent: #0f6a73; --problem: #a4312a; --caution: #8a5a00; --fine: #2b6b3f; }
@media (prefers-color-scheme: dark) { :root { --ground: #0e1619; --card: #162125; --ink: #e6eeef; --quiet: #9db0b6;
  --line: #2a383d; --accent: #6fc3c9; --problem: #f09a92; --caution: #e8bd62; --fine: #86cf9c; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 1.5rem 1rem 4rem; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2.5rem 0 .5rem; }
p { margin: .4rem 0; max-width: 46rem; } .quiet { color: var(--quiet); }
nav { margin: 1rem 0; display: flex; flex-wrap: wrap; gap: .2rem 1rem; } a { color: var(--accent); }
code { font-family: ui-monospace, "SF Mono", Menlo, Consolas, monospace; font-size: .85em;
  overflow-wrap: anywhere; }
figure { margin: .8rem 0; } figcaption { color: var(--quiet); font-size: .9rem; max-width: 46rem; }
img { display: block; max-width: 100%; height: auto; background: #fff; border: 1px solid var(--line);
  border-radius: 6px; padding: 6px; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: .9rem; margin: .6rem 0; }
caption { text-align: left; color: var(--quiet); padding: .2rem 0; }
th, td { text-align: right; padding: .25rem .7rem; border-bottom: 1px solid var(--line);
  font-variant-numeric: tabular-nums; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } th { font-weight: 600; }
td.words { white-space: normal; text-align: left; overflow-wrap: anywhere; }
.findings { list-style: none; margin: 0; padding: 0; }
.findings li { background: var(--card); border: 1px solid var(--line); border-left: 4px solid var(--quiet);
  border-radius: 6px; padding: .6rem .9rem; margin: .5rem 0; }
.findings li.problem { border-left-color: var(--problem); }
.findings li.caution { border-left-color: var(--caution); }
.findings li.fine { border-left-color: var(--fine); } .level { font-size: .85rem; font-weight: 600; }
.problem .level { color: var(--problem); } .caution .level { color: var(--caution); }
.fine .level { color: var(--fine); }
"""


def write(found: Exploration, pictures: Collection[str]) -> str:
    """The page.

    Args:
        found: every number.
        pictures: file names of the pictures that lie beside it.
    """
    sections = [
        _section("What this means for training", _findings(found)),
        _section("Films, patients, kinds", _counted(found), *_figures(pictures, "counts.png", "films.png")),
        _section("Sizes", *_figures(pictures, "sizes.png"), _sizes(found)),
        _section(
            "Intensities",
            *_figures(pictures, "intensities.png", "histograms.png", "mean_films.png"),
            _measures(found),
        ),
        _section("Style of acquisition", *_figures(pictures, "style.png", "clusters.png"), _clusters(found)),
        _section("Duplicates", *_duplicates(found, pictures)),
        _section("Folds", *_figures(pictures, "folds.png"), *_folds(found)),
        _section("Files that are not read", *_not_read(found)),
    ]
    links = [_element("a", section[0].text or "", href=f"#{section.get('id')}") for section in sections]
    page = _element(
        "html",
        _element(
            "head",
            _element("meta", charset="utf-8"),
            _element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            _element("title", f"{found.films.films:,} chest films explored"),
            _element("style", _SHEET),
        ),
        _element(
            "body",
            _header(found),
            _element("nav", *links, aria_label="Sections"),
            _element("main", *sections),
        ),
        lang="en",
    )
    return "<!doctype html>\n" + ElementTree.tostring(page, encoding="unicode", method="html") + "\n"


def _header(found: Exploration) -> Element:
    films = found.films
    return _element(
        "header",
        _element("h1", "The films, before training"),
        _element(
            "p",
            f"{films.films:,} films of {films.patients:,} patient numbers: {films.normal:,} normal, "
            f"{films.pneumonia:,} pneumonia. Everything but the counts by split is of the films of {found.name} "
            "that can be read, as the service decodes them: grey, squashed to 224 × 224. Every number is in ",
            _element("a", "exploration.json", href="exploration.json"),
            ", and each film's in ",
            _element("a", "films.csv", href="films.csv"),
            ".",
        ),
        _element(
            "p",
            "Made by ",
            _element("code", found.command),
            "; SHA-256 over the list of films ",
            _element("code", found.films_sha256),
            ".",
            class_="quiet",
        ),
    )


def _findings(found: Exploration) -> Element:
    return _element(
        "ul",
        *(
            _element(
                "li",
                _element("span", f"{_LEVELS[finding.level]}: {finding.topic}", class_="level"),
                _element("p", finding.text),
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
        _element(
            "figure",
            _element("img", src=name, alt=_CAPTIONS[name], loading="lazy"),
            _element("figcaption", _CAPTIONS[name]),
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
    return _table("Films that were found, readable or not", head, rows)


def _sizes(found: Exploration) -> Element:
    rows = [[size, f"{count:,}"] for size, count in list(found.sizes.sizes.items())[:8]]
    more = f"; {found.sizes.distinct - len(rows):,} further sizes" if found.sizes.distinct > len(rows) else ""
    return _table(f"The most frequent sizes{more}", ["width × height", "films"], rows)


def _measures(found: Exploration) -> Element:
    head, rows = overview(found)
    areas = {f"{name}, {measure.unit}": f"{measure.auc:.3f}" for name, measure in found.measures.items()}
    return _table(
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
    return _table("Clusters of thumbnails", head, rows)


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
        _table("Films that show the same picture", head, rows),
        *_figures(pictures, "distances.png", "closest_pairs.png"),
    ]
    for title, duplicates in (("Identical files", found.identical), ("Near duplicates", near)):
        listed = [[", ".join(group)] for group in duplicates.groups[:_LISTED]]
        if listed:
            left = len(duplicates.groups) - len(listed)
            more = f"; {left:,} more in exploration.json" if left else ""
            parts.append(
                _folded(f"{title}: {len(duplicates.groups):,} groups{more}", _words("films", listed))
            )
    return parts


def _folds(found: Exploration) -> list[Element]:
    if found.folds is None:
        return [_element("p", found.no_folds)]
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
    return [_table(f"Seed {found.folds.seed}; {straddling} stand in two folds", head, rows)]


def _not_read(found: Exploration) -> list[Element]:
    parts = []
    if found.unreadable:
        rows = [[each.film, each.reason] for each in found.unreadable]
        parts.append(_words("film", rows, "reason"))
    if found.passed_over:
        listed = [[name] for name in found.passed_over[:_LISTED]]
        title = f"Files that are no JPEG or PNG by their name: {len(found.passed_over):,}"
        parts.append(_folded(title, _words("file", listed)))
    return parts or [_element("p", "There are none.")]


def _section(title: str, *content: Content) -> Element:
    anchor = "".join(letter if letter.isalpha() else "-" for letter in title.lower())
    return _element("section", _element("h2", title), *content, id=anchor)


def _folded(title: str, *content: Content) -> Element:
    return _element("details", _element("summary", title), *content)


def _words(head: str, rows: Iterable[Sequence[str]], *more: str) -> Element:
    body = (_element("tr", *(_element("td", cell, class_="words") for cell in row)) for row in rows)
    titles = (_element("th", cell, scope="col") for cell in (head, *more))
    table = _element("table", _element("thead", _element("tr", *titles)), _element("tbody", *body))
    return _element("div", table, class_="scroll")


def _table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> Element:
    titles = (_element("th", cell, scope="col") for cell in head)
    body = (
        _element("tr", _element("th", row[0], scope="row"), *(_element("td", cell) for cell in row[1:]))
        for row in rows
    )
    table = _element(
        "table",
        _element("caption", caption),
        _element("thead", _element("tr", *titles)),
        _element("tbody", *body),
    )
    return _element("div", table, class_="scroll")


def _element(name: str, /, *content: Content, **attributes: str) -> Element:
    """An element; `class_` and `aria_label` stand for `class` and `aria-label`."""
    element = Element(name, {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()})
    for part in content:
        if not isinstance(part, str):
            element.append(part)
        elif len(element):
            element[-1].tail = (element[-1].tail or "") + part
        else:
            element.text = (element.text or "") + part
    return element
