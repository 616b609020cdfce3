"use strict";

const at = (id) => document.getElementById(id);
const percent = (share) => `${(100 * share).toFixed(share > 0.001 && share < 0.999 ? 1 : 2)} %`;

const MEANINGS = {
  PNEUMONIA: {
    label: "Above the threshold for pneumonia",
    text: "The probability reaches the threshold. A reader should confirm or reject it.",
  },
  NORMAL: {
    label: "Below the threshold for pneumonia",
    text: "The probability stays below the threshold. That does not rule pneumonia out.",
  },
};

let model = null;
let current = null;
let shown = null;
let sending = null;

function headers() {
  return at("key").value ? { "X-API-Key": at("key").value } : {};
}

async function loadModel() {
  const answer = await fetch("model", { headers: headers() });
  if (!answer.ok) return;
  model = await answer.json();
  const { manifest } = model;
  at("model-name").textContent =
    `${manifest.name} ${manifest.version}, ${manifest.architecture}, ${model.precision} on ${model.provider}`;
  at("model-threshold").textContent = `Threshold ${manifest.threshold.value.toFixed(3)}: ${manifest.threshold.rule}`;
  at("model-override").hidden = !model.threshold_overridden;
  at("model-override").textContent =
    `This service uses ${model.threshold.toFixed(3)} instead, by its own setting.`;
  at("model").hidden = false;
}

function show(file) {
  if (shown) URL.revokeObjectURL(shown);
  shown = URL.createObjectURL(file);
  at("film").src = shown;
  at("film-frame").hidden = false;
  at("overlay").hidden = true;
  at("overlay").removeAttribute("src");
  at("heat").hidden = true;
  at("viewer").dataset.state = "film";
  at("again").hidden = false;
}

function hideFilm() {
  at("film-frame").hidden = true;
  at("viewer").dataset.state = "empty";
  at("again").hidden = true;
}

async function judge(file) {
  current = file;
  show(file);
  at("intro").hidden = true;
  at("problem").hidden = true;
  at("finding").hidden = true;
  at("busy").hidden = false;
  at("status").textContent = "Reading the film";
  if (sending) sending.abort();
  const mine = (sending = new AbortController());
  const form = new FormData();
  form.append("file", file, "film"); // the name may be a patient's: it is not sent
  try {
    const answer = await fetch("predict?explain=true", {
      method: "POST",
      body: form,
      headers: headers(),
      signal: mine.signal,
    });
    const body = await answer.json();
    if (answer.ok) tell(body);
    else complain(body, answer.headers.get("Retry-After"));
  } catch (error) {
    if (mine.signal.aborted) return;
    complain({ title: "The service cannot be reached", detail: "Is it still running? Then try again." });
  } finally {
    if (sending === mine) {
      at("busy").hidden = true;
      sending = null;
    }
  }
}

function tell(body) {
  const meaning = MEANINGS[body.label];
  at("finding").dataset.label = body.label;
  at("label").textContent = meaning.label;
  at("meaning").textContent = meaning.text;
  at("percent").textContent = percent(body.probability);
  at("fill").style.width = `${100 * body.probability}%`;

  const mark = at("mark");
  mark.style.left = `${100 * body.threshold}%`;
  mark.classList.toggle("left", body.threshold < 0.2);
  mark.classList.toggle("right", body.threshold > 0.8);
  at("mark-text").textContent =
    `threshold ${percent(body.threshold)}${body.threshold_overridden ? ", set by this service" : ""}`;
  const band = model?.manifest.uncertainty;
  at("band").hidden = at("band-text").hidden = !band;
  if (band) {
    at("band").style.left = `${100 * band.low}%`;
    at("band").style.width = `${100 * (band.high - band.low)}%`;
  }

  at("review").hidden = !body.review;
  at("reasons").replaceChildren(
    ...body.reasons.map(({ words }) => {
      const item = document.createElement("li");
      item.textContent = words;
      return item;
    }),
  );

  const kinds = body.subtypes;
  at("subtypes").hidden = !kinds || body.label !== "PNEUMONIA";
  if (kinds) {
    const pneumonia = kinds.bacterial + kinds.viral;
    at("bacterial").textContent = percent(kinds.bacterial / pneumonia);
    at("viral").textContent = percent(kinds.viral / pneumonia);
  }

  const { decode, queue, inference } = body.timing_ms;
  at("timing").textContent =
    `Model ${body.model.name} ${body.model.version} (${body.model.sha256.slice(0, 12)}), ` +
    `${Math.round(decode + queue + inference)} ms`;
  at("request").textContent = body.id;
  at("finding").hidden = false;

  if (body.overlay) {
    at("overlay").src = body.overlay;
    at("overlay").hidden = false;
    at("heat").hidden = false;
    fade();
  }
  at("status").textContent =
    `${meaning.label}. Probability of pneumonia ${percent(body.probability)}, ` +
    `threshold ${percent(body.threshold)}. ${body.review ? "A person should look at this film." : ""}`;
}

function complain(problem, retryAfter) {
  at("problem-title").textContent = problem.title;
  at("problem-detail").textContent =
    problem.detail + (retryAfter ? ` Try again in ${retryAfter} s.` : "");
  at("problem-id").textContent = problem.request_id ?? "";
  at("problem-id").parentElement.hidden = !problem.request_id;
  at("key-form").hidden = problem.code !== "key-refused";
  at("problem").hidden = false;
  at("status").textContent = "";
  if (["unreadable-image", "unsupported-image", "too-many-pixels"].includes(problem.code)) hideFilm();
}

function fade() {
  at("overlay").style.opacity = at("opacity").value / 100;
  at("opacity-value").textContent = `${at("opacity").value} %`;
}

at("file").addEventListener("change", (event) => {
  const [file] = event.target.files;
  if (file) judge(file);
  event.target.value = ""; // so that the same film can be chosen again
});
at("opacity").addEventListener("input", fade);
at("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  loadModel();
  if (current) judge(current);
});

document.addEventListener("paste", (event) => {
  const [file] = event.clipboardData.files;
  if (file) judge(file);
});
for (const name of ["dragover", "drop"]) {
  document.addEventListener(name, (event) => event.preventDefault());
}
at("viewer").addEventListener("dragover", () => at("viewer").classList.add("over"));
at("viewer").addEventListener("dragleave", () => at("viewer").classList.remove("over"));
document.addEventListener("drop", (event) => {
  at("viewer").classList.remove("over");
  const [file] = event.dataTransfer.files;
  if (file) judge(file);
});

loadModel();
