// The page: what a person does goes to the session and the viewer, and what becomes of it comes back here.

import { Problem, isReady, model as askModel, useKey } from "./api.js";
import { csv } from "./csv.js";
import { at, element } from "./dom.js";
import { FilmList, summary, tellProgress } from "./film_list.js";
import { spokenFinding, tellFinding, tellProblem } from "./finding.js";
import { tellModel } from "./model_card.js";
import { forgetPictures, pictureOf } from "./picture.js";
import { Session } from "./session.js";
import { NEUTRAL, Viewer } from "./viewer.js";
import { films } from "./words.js";

const ASK_AGAIN_MS = 2000;
const NO_PICTURE = "This service draws no picture of such a film. Its finding is told all the same.";
const DOWNLOAD_MS = 10_000; // a blob is kept for so long after its download began

let model = null;
let current = null; // the film on screen
let showing = new AbortController();

const viewer = new Viewer(tellView);
const session = new Session(onChange);
const list = new FilmList(choose);

// Films come in.

function add(files) {
  if (!files.length) return;
  const cameFrom = document.activeElement;
  const [first] = session.add(files);
  choose(first);
  if (cameFrom === at("drop")) keepFocus();
}

/** Puts the keyboard's focus on the film, or where films are chosen, when what had it is hidden. */
function keepFocus() {
  at(current ? "frame" : "drop").focus({ preventScroll: true });
}

for (const opener of ["drop", "add"]) at(opener).addEventListener("click", () => at("file").click());
at("file").addEventListener("change", (event) => {
  add(event.target.files);
  event.target.value = ""; // so that the same film can be chosen again
});
document.addEventListener("paste", (event) => add(event.clipboardData.files));
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  at("viewer").classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) at("viewer").classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  at("viewer").classList.remove("over");
  add(event.dataTransfer.files);
});

// One of them is on screen.

async function choose(film) {
  current = film;
  showing.abort();
  const { signal } = (showing = new AbortController());
  viewer.clear();
  at("viewer").dataset.state = "film";
  at("no-film").textContent = "";
  at("tools").disabled = true;
  list.draw(session, current);
  list.reveal(film);
  tellCurrent();
  if (film.prediction) say(spokenFinding(film));
  else say(session.pending ? `Reading ${films(session.pending)}` : "");
  let shown = false;
  let why = "This browser cannot show such a file.";
  try {
    shown = await viewer.show(await pictureOf(film, signal), `Film ${film.name}`);
  } catch (problem) {
    if (signal.aborted) return;
    if (!(problem instanceof Problem)) throw problem;
    why = problem.code === "not-found" ? NO_PICTURE : `${problem.title}.`;
  }
  if (signal.aborted) return;
  at("no-film").textContent = shown ? "" : why;
  at("tools").disabled = !shown;
  if (shown) viewer.heatMap(film.prediction?.overlay);
}

/** Whatever became of the film on screen. */
function tellCurrent() {
  const state = current?.state;
  at("intro").hidden = current !== null;
  at("finding").hidden = state !== "read";
  at("problem").hidden = state !== "problem" || current.problem.code === "key-refused";
  at("cancelled").hidden = state !== "cancelled";
  at("busy").hidden = at("pending").hidden = state !== "waiting" && state !== "reading";
  at("busy-text").textContent = current?.note || (state === "waiting" ? "Waiting for its turn" : "Reading the film");
  at("pending-film").textContent = current?.name ?? "";
  at("pending-text").textContent = at("busy-text").textContent;
  if (state === "read") tellFinding(current, model?.manifest.uncertainty);
  if (state === "problem") tellProblem(current);
  const order = list.order(session.films);
  at("place").textContent = `${order.indexOf(current) + 1} of ${order.length}`;
}

function step(by) {
  const order = list.order(session.films);
  const next = order[order.indexOf(current) + by];
  if (next) choose(next);
}

at("previous").addEventListener("click", () => step(-1));
at("next").addEventListener("click", () => step(1));
at("viewer").addEventListener("keydown", (event) => {
  const by = { PageUp: -1, PageDown: 1 }[event.key];
  if (!by) return;
  event.preventDefault();
  step(by);
});

// What the session tells.

function onChange(film) {
  if (film) list.update(film, current);
  if (!film || at("order").value !== "added") list.draw(session, current);
  if (film?.problem?.code === "key-refused") askForKey();
  tellProgress(session);
  at("films").hidden = at("add").hidden = session.films.length === 0;
  at("steps").hidden = session.films.length < 2;
  if (!film || film === current) tellCurrent();
  if (film && film === current && film.state === "read") {
    if (!at("tools").disabled) viewer.heatMap(film.prediction.overlay);
    if (session.films.length === 1) say(spokenFinding(film));
  }
  if (session.films.length > 1 && session.pending === 0) say(summary(session));
}

function say(words) {
  at("status").textContent = words;
}

at("cancel").addEventListener("click", () => {
  session.cancel();
  at("retry").focus();
});
for (const again of ["retry", "problem-again", "cancelled-again"]) {
  at(again).addEventListener("click", () => {
    session.retry();
    keepFocus(); // the button is gone now
  });
}
at("clear").addEventListener("click", () => {
  session.clear();
  showing.abort();
  forgetPictures();
  viewer.clear();
  current = null;
  at("viewer").dataset.state = "empty";
  at("tools").disabled = true;
  at("no-film").textContent = "";
  tellCurrent();
  keepFocus();
});
at("order").addEventListener("change", () => {
  list.draw(session, current);
  tellCurrent();
});
at("save").addEventListener("click", () => {
  const url = URL.createObjectURL(new Blob([csv(list.order(session.films))], { type: "text/csv" }));
  element("a", { href: url, download: "pneumoscope.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(url), DOWNLOAD_MS);
});

// How the film is looked at.

function tellView() {
  const { level, width, inverted } = viewer.window;
  at("scale").textContent = `${Math.round(100 * viewer.scale)} %`;
  at("level").value = at("level-value").textContent = Math.round(level);
  at("width").value = at("width-value").textContent = Math.round(width);
  at("inverted").checked = inverted;
}

function fade() {
  viewer.opacity = at("opacity").value / 100;
  const told = `${at("opacity").value} %`;
  at("opacity-value").textContent = told;
  at("opacity").setAttribute("aria-valuetext", told);
}

function setWindow() {
  viewer.window = { level: +at("level").value, width: +at("width").value, inverted: at("inverted").checked };
}

at("zoom-in").addEventListener("click", () => viewer.zoom(1.25));
at("zoom-out").addEventListener("click", () => viewer.zoom(1 / 1.25));
at("fit").addEventListener("click", () => viewer.fit());
at("full-size").addEventListener("click", () => viewer.fullSize());
at("opacity").addEventListener("input", fade);
for (const name of ["level", "width", "inverted"]) at(name).addEventListener("input", setWindow);
at("neutral").addEventListener("click", () => (viewer.window = NEUTRAL));

let faded = 0; // where the heat map's slider was when H hid it
at("viewer").addEventListener("keydown", (event) => {
  if (event.key.toLowerCase() !== "h" || event.ctrlKey || event.metaKey || event.altKey) return;
  [at("opacity").value, faded] = +at("opacity").value ? [0, at("opacity").value] : [faded || 60, 0];
  fade();
});

// The service.

function askForKey() {
  if (!at("key-card").hidden) return;
  at("key-text").textContent = at("key").value ? "The service refused this key." : "This service asks for a key.";
  at("key-card").hidden = false;
  at("key").focus();
}

at("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  useKey(at("key").value);
  at("key-card").hidden = true;
  keepFocus();
  meet();
  session.retry();
  if (current && at("tools").disabled) choose(current);
});

/** Learns which model is served, and waits until it is ready. */
async function meet() {
  try {
    if (!model) {
      model = await askModel();
      tellModel(model);
      tellCurrent();
    }
    if (await isReady()) {
      at("service").hidden = true;
      return;
    }
    at("service-text").textContent = "The service is not ready yet. Films are read as soon as it is.";
  } catch (problem) {
    if (problem.code === "key-refused") {
      askForKey();
      return;
    }
    at("service-text").textContent = `${problem.title}. This page keeps asking.`;
  }
  at("service").hidden = false;
  setTimeout(meet, ASK_AGAIN_MS);
}

fade();
tellView();
meet();
