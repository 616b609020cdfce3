"""What the numbers of an exploration mean for training, in sentences that say no more than they do."""

from collections.abc import Iterator
from typing import Literal

from training.exploration import Exploration, Finding
from training.wording import with_interval

Level = Literal["problem", "caution", "fine"]

EVEN = 0.6
"""Up to this share, the larger class is about as large as the other."""
STRONG, WEAK = 0.8, 0.6
"""Areas under the curve that are called strong, and little."""


def of(found: Exploration) -> tuple[Finding, ...]:
    """Findings, what has to be mended first and what is fine last."""
    order = ("problem", "caution", "fine")
    return tuple(sorted(_all(found), key=lambda finding: order.index(finding.level)))


def _all(found: Exploration) -> Iterator[Finding]:
    yield from _files(found)
    yield _balance(found)
    yield from _patients(found)
    yield _style(found)
    yield _clusters(found)
    yield _single_measure(found)
    yield _border(found)
    yield _sizes(found)
    yield _identical(found)
    yield _near(found)
    yield from _splits(found)
    yield _folds(found)


def _files(found: Exploration) -> Iterator[Finding]:
    if found.unreadable:
        text = (
            f"{_films(len(found.unreadable))} cannot be read, listed below: `fit` refuses the folder until "
            "each is mended or taken out."
        )
        yield _finding("Unreadable films", "problem", text)
    else:
        yield _finding("Unreadable films", "fine", f"All {found.films.films:,} films can be read.")
    if found.passed_over:
        text = f"Files that are no JPEG or PNG by their name and are not read: {len(found.passed_over):,}."
        yield _finding("Other files", "caution", text)


def _balance(found: Exploration) -> Finding:
    films = found.films
    larger = max(films.share, 1 - films.share)
    counts = f"{films.pneumonia:,} of {_films(films.films)} show pneumonia ({films.share:.0%})."
    if larger <= EVEN:
        return _finding("Class balance", "fine", f"{counts} The classes are about even.")
    return _finding(
        "Class balance",
        "caution",
        f"{counts} Always answering with the larger class would be right for {larger:.0%}, so accuracy alone says "
        "little; `fit --balance weights`, the default, lets both classes weigh the same. Probabilities hold "
        "for this share of pneumonia, and are too high where fewer have it.",
    )


def _patients(found: Exploration) -> Iterator[Finding]:
    patients = found.patients
    total = patients.patients["all"]
    if patients.with_several:
        yield _finding(
            "Films a patient",
            "caution",
            f"Patient numbers with several films: {patients.with_several:,} of {total:,}, with up to "
            f"{patients.most}. Films of one patient are not independent: folds must not part them, and an "
            "interval that counts them singly is too narrow. `fit` and `evaluate` see to both.",
        )
    else:
        yield _finding("Films a patient", "fine", f"Each of the {total:,} patient numbers has one film.")
    both = len(patients.in_both_classes)
    if both:
        yield _finding(
            "Patients in both classes",
            "caution",
            f"Patient numbers with both normal and pneumonia films: {both:,}. The file names cannot say whether "
            "that is one person or a number given twice; folds keep such films together either way.",
        )
    if found.films.unknown:
        text = (
            f"Pneumonia films whose name does not tell the kind: {found.films.unknown:,}. Nothing is learned from "
            "them of bacterial or viral."
        )
        yield _finding("Kinds", "caution", text)


def _style(found: Exploration) -> Finding:
    topic, auc, border = "Style and label", found.style.auc, found.style.border_auc
    if auc is None or border is None:
        text = "There are too few patients to judge whether style tells the label."
        return _finding(topic, "caution", text)
    seen = (
        "On patients that it never saw, a linear classifier of 8 × 8 thumbnails reaches AUC "
        f"{with_interval(auc, 3)}; one of their outer ring alone, where there is little lung, "
        f"{with_interval(border, 3)}."
    )
    if auc.low <= 0.5:
        return _finding(topic, "fine", f"{seen} That shows no sign that style tells the label.")
    if auc.low <= WEAK:
        return _finding(topic, "caution", f"{seen} Coarse tone and framing tell a little of the label.")
    meaning = (
        "Coarse tone, framing and position go with the label, so a network can score by them without any finer "
        "structure."
    )
    if border.low > WEAK:
        meaning += " The ring alone tells much of that."
    meaning += (
        " How much is disease (an opaque lung is brighter at this scale too) and how much acquisition, these "
        "numbers cannot say: judge by the hard slices of `evaluate`, and augment tone and geometry."
    )
    return _finding(topic, "problem" if auc.low > STRONG else "caution", f"{seen} {meaning}")


def _clusters(found: Exploration) -> Finding:
    shares = [cluster.count.share for cluster in found.style.clusters]
    text = (
        f"In {len(shares)} clusters of films of like thumbnails, the share of pneumonia runs from "
        f"{shares[0]:.0%} to {shares[-1]:.0%}; over all films it is {found.films.share:.0%}."
    )
    apart = max(abs(share - found.films.share) for share in (shares[0], shares[-1])) > 0.2
    return _finding("Clusters of style", "caution" if apart else "fine", text)


def _single_measure(found: Exploration) -> Finding:
    name = max(found.measures, key=lambda name: _strength(found, name))
    measure = found.measures[name]
    auc = _strength(found, name)
    text = (
        f"Of single numbers, {name} ({measure.unit}) tells the classes best: AUC {auc:.3f} by itself, where "
        f"0.5 is chance. It is {'higher' if measure.auc > 0.5 else 'lower'} in pneumonia."
    )
    if measure.group == "file":
        text += " A network sees no file, but what makes the number may be seen in the film."
    return _finding("Single measures", "caution" if auc > WEAK else "fine", text)


def _border(found: Exploration) -> Finding:
    mean = found.mean_films
    brighter = "brighter" if mean.difference > 0 else "darker"
    text = (
        f"The mean pneumonia film is {abs(mean.difference):.1f} grey levels {brighter} than the mean normal "
        f"film. The two differ by {mean.border:.1f} levels in the outer eighth on each side, where there is "
        f"less lung, and by {mean.inside:.1f} within."
    )
    return _finding("Mean films", "caution" if mean.border > mean.inside else "fine", text)


def _sizes(found: Exploration) -> Finding:
    sizes = found.sizes
    notes = []
    if sizes.distinct == 1:
        notes.append(
            f"All films are {next(iter(sizes.sizes))} pixels. Their size tells nothing of the label; if they "
            "were made from larger films, the first proportions cannot be seen any more."
        )
    else:
        ratio = found.measures["aspect ratio"].spread["all"]
        notes.append(
            f"There are {sizes.distinct:,} sizes, with aspect ratios of {ratio.low:.2f} to {ratio.high:.2f} "
            "(5th to 95th percentile), all squashed to one square, where they show as the shape of the chest. The "
            f"ratio tells the classes with an AUC of {_strength(found, 'aspect ratio'):.3f} by itself."
        )
    if sizes.enlarged:
        notes.append(f"Films with a side under 224 pixels, which are enlarged: {sizes.enlarged:,}.")
    telling = _strength(found, "aspect ratio") > WEAK
    return _finding("Sizes", "caution" if sizes.enlarged or telling else "fine", " ".join(notes))


def _identical(found: Exploration) -> Finding:
    topic, same = "Identical files", found.identical
    if not same.groups:
        return _finding(topic, "fine", "No two files are identical.")
    text = f"Groups of identical files: {len(same.groups):,}, with {_films(same.films)}."
    if same.across_classes:
        text += f" Groups with both labels, of which one is wrong: {same.across_classes:,}."
    if same.across_patients:
        count = same.across_patients
        text += f" Groups with several patient numbers: {count:,}; a split by patient alone would leak."
    text += " The folds keep identical files together."
    return _finding(topic, "problem" if same.across_classes else "caution", text)


def _near(found: Exploration) -> Finding:
    topic, near = "Near duplicates", found.near
    if not near.groups:
        closest = f"; the closest differ in {near.closest[0].distance}" if near.closest else ""
        return _finding(
            topic,
            "fine",
            f"No two different files have hashes within {near.limit} of {near.bits} bits{closest}. Copies that "
            "were cropped, turned or mirrored would not be found.",
        )
    text = (
        f"Groups of different files that look the same: {len(near.groups):,}, with {_films(near.films)}; look "
        "at them below."
    )
    if near.across_classes:
        text += f" Groups with both labels: {near.across_classes:,}."
    if near.across_patients:
        text += f" Groups with several patient numbers: {near.across_patients:,}."
    if near.across_folds:
        text += (
            f" Groups in several folds: {near.across_folds:,}; figures of a held-out fold may flatter a "
            "network that learned the copies."
        )
    worrying = near.across_classes or near.across_folds
    return _finding(topic, "problem" if worrying else "caution", text)


def _splits(found: Exploration) -> Iterator[Finding]:
    for name, shared in found.shared.items():
        count = found.splits[name]
        text = (
            f"Films that are identical to one of {found.name}: {shared.identical_films:,} of {count.films:,}. "
            f"Patient numbers that stand in {found.name} too: {shared.patients:,} of {count.patients:,} (which "
            "may be other people)."
        )
        yield _finding(
            f"Split {name}",
            "problem" if shared.identical_films else "caution" if shared.patients else "fine",
            text,
        )
    for name, reason in found.not_counted.items():
        yield _finding(f"Split {name}", "caution", f"It is not counted. {reason}")


def _folds(found: Exploration) -> Finding:
    if found.folds is None:
        return _finding("Folds", "problem", f"`fit` can make no folds of these films. {found.no_folds}")
    shares = [fold.share for fold in found.folds.folds]
    straddling = found.folds.straddling_patients, found.folds.straddling_files
    text = (
        f"Of {len(shares)} folds, {straddling[0] or 'no'} patient number and {straddling[1] or 'no'} identical "
        f"file stands in two. The share of pneumonia runs from {min(shares):.1%} to {max(shares):.1%}."
    )
    return _finding("Folds", "problem" if any(straddling) else "fine", text)


def _strength(found: Exploration, measure: str) -> float:
    """AUC of a measure in the direction in which it tells the classes: 0.5 to 1."""
    return 0.5 + abs(found.measures[measure].auc - 0.5)


def _finding(topic: str, level: Level, text: str) -> Finding:
    return Finding(topic=topic, level=level, text=text)


def _films(count: int) -> str:
    return f"{count:,} film{'' if count == 1 else 's'}"
