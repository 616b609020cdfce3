// The list of the session's films: one button each, made once, so that the keyboard's focus stays where it is.

import { at, element } from "./dom.js";
import { MEANINGS, films, percent, seconds } from "./words.js";

export class FilmList {
  #rows = new Map();
  #choose;

  /** `choose(film)` is called when a film is chosen. */
  constructor(choose) {
    this.#choose = choose;
  }

  /** The films in the order of the list. */
  order(films) {
    if (at("order").value === "added") return films;
    const rank = ({ prediction }) => prediction?.probability ?? -1;
    return [...films].sort((one, other) => rank(other) - rank(one) || one.place - other.place);
  }

  /** Writes the whole list anew: films come or go, or are in another order. */
  draw(session, current) {
    for (const film of [...this.#rows.keys()].filter((known) => !session.films.includes(known))) {
      this.#rows.delete(film);
    }
    const rows = this.order(session.films).map((film) => this.#row(film));
    const list = at("film-list");
    if (rows.length !== list.children.length || rows.some((row, place) => row !== list.children[place])) {
      const focused = document.activeElement;
      list.replaceChildren(...rows);
      if (list.contains(focused)) focused.focus();
    }
    for (const film of session.films) this.update(film, current);
  }

  /** Writes one film's row. */
  update(film, current) {
    const row = this.#row(film);
    const { state, prediction, problem, note } = film;
    row.dataset.state = state === "read" ? prediction.label : state;
    row.cells.words.textContent = {
      waiting: () => "Waiting",
      reading: () => note || "Reading",
      read: () => MEANINGS[prediction.label].short + (prediction.review ? " · review" : ""),
      problem: () => problem.title,
      cancelled: () => "Not read",
    }[state]();
    row.cells.share.textContent = prediction ? percent(prediction.probability) : "";
    if (film === current) row.cells.button.setAttribute("aria-current", "true");
    else row.cells.button.removeAttribute("aria-current");
  }

  /** Brings a film's row into view. */
  reveal(film) {
    const list = at("film-list");
    const { offsetTop, offsetHeight } = this.#row(film);
    if (offsetTop < list.scrollTop) list.scrollTop = offsetTop;
    else if (offsetTop + offsetHeight > list.scrollTop + list.clientHeight) {
      list.scrollTop = offsetTop + offsetHeight - list.clientHeight;
    }
  }

  #row(film) {
    if (!this.#rows.has(film)) {
      const cells = {
        name: element("span", { className: "name", textContent: film.name, title: film.name }),
        words: element("span", { className: "words" }),
        share: element("span", { className: "share" }),
      };
      cells.button = element("button", { type: "button" }, cells.name, " ", cells.share, " ", cells.words);
      cells.button.addEventListener("click", () => this.#choose(film));
      this.#rows.set(film, Object.assign(element("li", {}, cells.button), { cells }));
    }
    return this.#rows.get(film);
  }
}

/** Writes how far the session is, and offers what can be done now. */
export function tellProgress(session) {
  const all = session.films.length;
  const { pending, retriable, secondsLeft } = session;
  at("progress").hidden = pending === 0 || (all === 1 && !session.films[0].note);
  at("progress-bar").max = all;
  at("progress-bar").value = all - pending;
  at("progress-text").textContent =
    `${all - pending} of ${films(all)}` + (secondsLeft === null ? "" : `, about ${seconds(secondsLeft)} left`);
  at("summary").textContent = summary(session);
  at("retry").hidden = pending > 0 || retriable === 0;
  at("retry").textContent = retriable === 1 ? "Read the remaining film" : `Read the remaining ${films(retriable)}`;
  at("save").disabled = !session.films.some(({ prediction, problem }) => prediction || problem);
}

/** What became of the films, in one sentence. */
export function summary(session) {
  const count = (kind) => session.films.filter(kind).length;
  const parts = [
    [count(({ prediction }) => prediction?.label === "PNEUMONIA"), "above the threshold"],
    [count(({ prediction }) => prediction?.label === "NORMAL"), "below"],
    [count(({ prediction }) => prediction?.review), "to review"],
    [count(({ state }) => state === "problem"), "with a problem"],
    [count(({ state }) => state === "cancelled"), "not read"],
  ];
  const told = parts.filter(([number]) => number > 0).map(([number, words]) => `${number} ${words}`);
  return `${films(session.films.length)}${told.length ? `: ${told.join(", ")}` : ""}.`;
}
