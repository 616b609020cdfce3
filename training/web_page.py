"""Pages of HTML that need no other host, as trees of elements: every name is escaped, every element closed."""

from collections.abc import Iterable, Sequence
from xml.etree import ElementTree

Element = ElementTree.Element
Content = Element | str

_SHEET = """
:root { color-scheme: light dark; --ground: #f4f6f6; --card: #fff; --ink: #14252b; --quiet: #55666d;
  --line: #d9e0e2; --accent: #0f6a73; --problem: #a4312a; --caution: #8a5a00; --fine: #2b6b3f; }
@media (prefers-color-scheme: dark) { :root { --ground: #0e1619; --card: #162125; --ink: #e6eeef; --quiet: #9db0b6;
  --line: #2a383d; --accent: #6fc3c9; --problem: #f09a92; --caution: #e8bd62; --fine: #86cf9c; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1.5rem 1rem 4rem; background: var(--ground); color: var(--ink);
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
thead th { white-space: normal; vertical-align: bottom; } td:not(.words), th { padding: .25rem .5rem; }
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


def page(title: str, header: Element, sections: Sequence[Element]) -> str:
    """A whole page with links to its sections, which have an `id` and begin with their title."""
    links = [element("a", section[0].text or "", href=f"#{section.get('id')}") for section in sections]
    whole = element(
        "html",
        element(
            "head",
            element("meta", charset="utf-8"),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("title", title),
            element("style", _SHEET),
        ),
        element(
            "body",
            header,
            element("nav", *links, aria_label="Sections"),
            element("main", *sections),
        ),
        lang="en",
    )
    return "<!doctype html>\n" + ElementTree.tostring(whole, encoding="unicode", method="html") + "\n"


def section(title: str, *content: Content) -> Element:
    """A part of a page, with an `id` made of its title."""
    anchor = "".join(letter if letter.isalpha() else "-" for letter in title.lower())
    return element("section", element("h2", title), *content, id=anchor)


def folded(title: str, *content: Content) -> Element:
    """Content that is shown when its title is chosen."""
    return element("details", element("summary", title), *content)


def words(head: str, rows: Iterable[Sequence[str]], *more: str) -> Element:
    """A table of text that may wrap; `head`, `more`: its columns' titles."""
    return _scrolled(
        element("thead", element("tr", *(element("th", cell, scope="col") for cell in (head, *more)))),
        element(
            "tbody", *(element("tr", *(element("td", cell, class_="words") for cell in row)) for row in rows)
        ),
    )


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> Element:
    """A table of numbers; the first cell of a row is its head."""
    body = (
        element("tr", element("th", row[0], scope="row"), *(element("td", cell) for cell in row[1:]))
        for row in rows
    )
    return _scrolled(
        element("caption", caption),
        element("thead", element("tr", *(element("th", cell, scope="col") for cell in head))),
        element("tbody", *body),
    )


def element(name: str, /, *content: Content, **attributes: str) -> Element:
    """An element; `class_` and `aria_label` stand for `class` and `aria-label`."""
    made = Element(name, {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()})
    for part in content:
        if not isinstance(part, str):
            made.append(part)
        elif len(made):
            made[-1].tail = (made[-1].tail or "") + part
        else:
            made.text = (made.text or "") + part
    return made


def _scrolled(*parts: Element) -> Element:
    return element("div", element("table", *parts), class_="scroll")
