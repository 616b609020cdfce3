// The card of the model being served: which it is, how well it did on films that it never saw, what it is for.

import { at, element } from "./dom.js";

const FIGURES = { sensitivity: "Sensitivity", specificity: "Specificity", auc: "AUC" };
const HELD_OUT = "held_out_fold";

/** Writes the answer of GET /model. */
export function tellModel({ manifest, precision, provider, sha256, threshold, threshold_overridden: overridden }) {
  at("model-name").textContent =
    `${manifest.name} ${manifest.version}, ${manifest.architecture}, ${precision} on ${provider}`;
  at("model-threshold").textContent =
    `Threshold ${manifest.threshold.value.toFixed(3)}: ${manifest.threshold.rule}.`;
  at("model-override").hidden = !overridden;
  at("model-override").textContent = `This service uses ${threshold.toFixed(3)} instead, by its own setting.`;
  at("model-use").textContent = manifest.intended_use;
  at("model-sha").textContent = sha256;

  const judged = manifest.evaluation[HELD_OUT];
  at("model-figures").hidden = !judged;
  if (judged) {
    at("model-films").textContent =
      `On ${judged.films} films of ${judged.patients} patients that it never saw, with 95 % intervals:`;
    at("model-rows").replaceChildren(
      ...Object.entries(FIGURES).map(([name, words]) => {
        const { value, low, high } = judged[name];
        const told = `${value.toFixed(3)} (${low.toFixed(3)}–${high.toFixed(3)})`;
        return element("div", {}, element("dt", { textContent: words }), element("dd", { textContent: told }));
      }),
    );
  }
  at("model").hidden = false;
}
