// The films of this session and what became of them. In memory only: they are gone when the page is.

import { predict } from "./api.js";

const LANES = 2; // as many as api.js sends at once
const SAME_FOR_ALL = ["unreached", "key-refused"]; // problems that every other film would have too

/** One film: its file, and its `prediction` or `problem` once there is one.
 *
 * `state` is "waiting", "reading", "read", "problem" or "cancelled"; `note` says what a film being read waits for.
 */
class Film {
  state = "waiting";
  prediction = null;
  problem = null;
  note = "";

  constructor(file, place) {
    this.file = file;
    this.name = file.name || `Film ${place}`;
    this.place = place;
  }
}

export class Session {
  films = [];
  #changed;
  #added = 0;
  #lanes = 0;
  #stop = new AbortController();
  #started = 0;
  #readSince = 0;

  /** `changed(film)` is called whenever something is different about a film, or about all of them (null). */
  constructor(changed) {
    this.#changed = changed;
  }

  /** Adds files, begins to read them, and returns their films. */
  add(files) {
    const added = [...files].map((file) => new Film(file, (this.#added += 1)));
    this.films.push(...added);
    this.#go();
    return added;
  }

  /** Reads again what was cancelled and what may fare better now. */
  retry() {
    for (const film of this.films) {
      if (mayFareBetter(film)) Object.assign(film, { state: "waiting", problem: null });
    }
    this.#go();
  }

  /** Leaves off reading. */
  cancel() {
    for (const film of this.films) {
      if (isPending(film)) Object.assign(film, { state: "cancelled", note: "" });
    }
    this.#stop.abort();
    this.#stop = new AbortController();
    this.#changed(null);
  }

  /** Forgets every film. */
  clear() {
    this.cancel();
    this.films = [];
    this.#changed(null);
  }

  get pending() {
    return this.films.filter(isPending).length;
  }

  get retriable() {
    return this.films.filter(mayFareBetter).length;
  }

  /** Seconds until all will have been read, or null while that cannot be known. */
  get secondsLeft() {
    if (this.#readSince < 3) return null;
    return (this.pending * (performance.now() - this.#started)) / this.#readSince / 1000;
  }

  #go() {
    if (this.#lanes === 0) [this.#started, this.#readSince] = [performance.now(), 0];
    while (this.#lanes < LANES && this.#lanes < this.pending) {
      this.#lanes += 1;
      this.#lane();
    }
    this.#changed(null);
  }

  async #lane() {
    for (let film; (film = this.films.find(({ state }) => state === "waiting")); ) await this.#read(film);
    this.#lanes -= 1;
    if (this.#lanes === 0) this.#changed(null);
  }

  async #read(film) {
    const { signal } = this.#stop;
    const tell = (news) => {
      if (signal.aborted) return;
      Object.assign(film, news);
      this.#changed(film);
    };
    tell({ state: "reading", note: "" });
    try {
      const waiting = ({ title }, seconds) => tell({ note: `${title}. Trying again in ${seconds} s.` });
      const prediction = await predict(film.file, { signal, waiting });
      this.#readSince += 1;
      tell({ state: "read", prediction, note: "" });
    } catch (problem) {
      if (!signal.aborted && !problem.code) throw problem; // a fault of this page
      tell({ state: "problem", problem, note: "" });
      if (!signal.aborted && SAME_FOR_ALL.includes(problem.code)) this.#giveUp(problem);
    }
  }

  #giveUp(problem) {
    for (const film of this.films) {
      if (film.state === "waiting") Object.assign(film, { state: "problem", problem });
    }
    this.#changed(null);
  }
}

const isPending = ({ state }) => state === "waiting" || state === "reading";
const mayFareBetter = ({ state, problem }) => state === "cancelled" || (state === "problem" && problem.passing);
