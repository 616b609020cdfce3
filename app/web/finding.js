// The card that tells one film's finding, and the one that tells why there is none.

import { at, element } from "./dom.js";
import { MEANINGS, against, percent } from "./words.js";

/** Writes what the model says of `film`; `band` is the manifest's band of uncertainty, if it has one. */
export function tellFinding(film, band) {
  const { label, probability, threshold, subtypes, reasons, review, ...rest } = film.prediction;
  const [share, mark] = against(probability, threshold);
  at("finding").dataset.label = label;
  at("finding-film").textContent = film.name;
  at("label").textContent = MEANINGS[label].label;
  at("meaning").textContent = MEANINGS[label].text;
  at("percent").textContent = share;
  at("fill").style.width = `${100 * probability}%`;

  const override = rest.threshold_overridden ? ", set by this service" : "";
  at("mark").style.left = `${100 * threshold}%`;
  at("mark").classList.toggle("left", threshold < 0.25);
  at("mark").classList.toggle("right", threshold > 0.75);
  at("mark-text").textContent = `threshold ${mark}${override}`;
  at("band").hidden = at("band-text").hidden = !band;
  let spoken = `Probability of pneumonia ${share}, threshold ${mark}${override}.`;
  if (band) {
    const told = `From ${percent(band.low)} to ${percent(band.high)} the labels cannot be told apart reliably.`;
    at("band").style.left = `${100 * band.low}%`;
    at("band").style.width = `${100 * (band.high - band.low)}%`;
    at("band-words").textContent = told;
    spoken += ` ${told}`;
  }
  at("bar").setAttribute("aria-label", spoken);

  at("review").hidden = !review;
  at("reasons").replaceChildren(...reasons.map(({ words }) => element("li", { textContent: words })));

  at("subtypes").hidden = !subtypes || label !== "PNEUMONIA";
  if (subtypes) {
    const pneumonia = subtypes.bacterial + subtypes.viral;
    at("bacterial").textContent = percent(subtypes.bacterial / pneumonia);
    at("viral").textContent = percent(subtypes.viral / pneumonia);
  }

  const { decode, queue, inference } = rest.timing_ms;
  at("timing").textContent =
    `Model ${rest.model.name} ${rest.model.version} (${rest.model.sha256.slice(0, 12)}), ` +
    `${Math.round(decode + queue + inference)} ms`;
  at("request").textContent = rest.id;
}

/** The finding in one breath, for a screen reader. */
export function spokenFinding({ prediction }) {
  const [share, mark] = against(prediction.probability, prediction.threshold);
  return (
    `${MEANINGS[prediction.label].label}. Probability of pneumonia ${share}, threshold ${mark}. ` +
    (prediction.review ? "A person should look at this film." : "")
  );
}

/** Writes why `film` has no finding. */
export function tellProblem({ name, problem }) {
  at("problem-film").textContent = name;
  at("problem-title").textContent = problem.title;
  at("problem-detail").textContent = problem.detail;
  at("problem-id").textContent = problem.request;
  at("problem-request").hidden = !problem.request;
  at("problem-again").hidden = !problem.passing;
}
