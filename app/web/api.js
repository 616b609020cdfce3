// The service: sends films, waits where it asks for that, and turns every trouble into a problem in words.

const FILMS_AT_ONCE = 2;

// How often a request is tried: while the service is busy or not ready, while it fails, while it is not reached.
const TRIES = { busy: 12, failed: 3, unreached: 3 };
const BUSY = ["overloaded", "queue-full", "not-ready", "draining", "stopped"];
const LONGEST_WAIT_S = 60;

// What a person can do, where the service's own detail does not say it.
const ADVICE = {
  "unreadable-image": "Perhaps it was cut short on the way. Export it again.",
  "too-many-pixels": "Export it at a smaller size.",
  "body-too-large": "Export it at a smaller size.",
  "overloaded": "Others are using the service. Try again in a while.",
  "queue-full": "Others are using the service. Try again in a while.",
};

/** Why something could not be done: `code` is stable, `title` and `detail` are for people. */
export class Problem extends Error {
  constructor({ code, title, detail, request_id: request = "" }, { patience = 1, retryAfter = 0 } = {}) {
    super(title);
    Object.assign(this, { code, title, detail, request, patience, retryAfter });
  }

  /** Whether the same film may fare better later. */
  get passing() {
    return this.patience > 1 || this.code === "key-refused";
  }
}

let key = "";
let waitUntil = 0; // when the service has room again, as it said
let sending = 0;
const turns = []; // of those that wait to send

/** Send `given` with every further request. It is kept in memory only. */
export function useKey(given) {
  key = given;
}

/** The served model and its manifest. */
export function model() {
  return ask("model");
}

/** Whether the service takes films now. */
export async function isReady() {
  try {
    await ask("health/ready");
    return true;
  } catch (problem) {
    if (BUSY.includes(problem.code)) return false;
    throw problem;
  }
}

/** What the model says of a film. `waiting(problem, seconds)` is called before each further try. */
export function predict(file, { signal, waiting }) {
  return send("predict?explain=true", file, { signal, waiting });
}

/** The film as a PNG, for those that a browser cannot show. */
export function picture(file, { signal }) {
  return send("film", file, { signal, waiting: () => {}, as: "blob" });
}

/** The first bytes of a file, `count` or as many as there are. */
export async function head(file, count) {
  try {
    // By its stream, as a slice of a file that is gone looks like one of an empty file.
    const reader = file.stream().getReader();
    const bytes = [];
    for (let chunk; bytes.length < count && !(chunk = await reader.read()).done; ) {
      bytes.push(...chunk.value.subarray(0, count - bytes.length));
    }
    await reader.cancel();
    return bytes;
  } catch {
    throw new Problem({
      code: "file-gone",
      title: "The file cannot be opened",
      detail: "It was moved or changed since it was chosen, or it is a folder. Choose its films again.",
    });
  }
}

async function send(path, file, { signal, waiting, as }) {
  await head(file, 1);
  await turn(signal);
  try {
    for (let tries = 1; ; tries += 1) {
      await pause(waitUntil - Date.now(), signal);
      const form = new FormData();
      form.append("file", file, "film"); // the name may be a patient's: it is not sent
      try {
        return await ask(path, { method: "POST", body: form, signal, as });
      } catch (problem) {
        if (!(problem instanceof Problem) || tries >= problem.patience) throw problem;
        const wait = Math.min(LONGEST_WAIT_S, Math.max(1, problem.retryAfter) * Math.min(tries, 5));
        waitUntil = Math.max(waitUntil, Date.now() + 1000 * wait); // for the other film too
        waiting(problem, wait);
      }
    }
  } finally {
    const next = turns.shift();
    if (next) next(); // takes over the place
    else sending -= 1;
  }
}

async function ask(path, { as = "json", ...options } = {}) {
  let answer;
  try {
    answer = await fetch(path, { ...options, headers: key ? { "X-API-Key": key } : {} });
    if (answer.ok) return await answer[as]();
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Problem(
      { code: "unreached", title: "The service cannot be reached", detail: "Is it still running? Then try again." },
      { patience: TRIES.unreached },
    );
  }
  throw await problemOf(answer);
}

async function problemOf(answer) {
  const retryAfter = Number(answer.headers.get("Retry-After")) || 0;
  let document;
  try {
    document = await answer.json();
  } catch {
    document = {}; // of something between here and the service
  }
  if (!document.code) {
    const told = { code: "odd-answer", title: "Something else answered", detail: `With status ${answer.status}.` };
    return new Problem(told, { patience: answer.status >= 502 ? TRIES.failed : 1, retryAfter });
  }
  const detail = [document.detail, ADVICE[document.code]].filter(Boolean).join(" ");
  const patience = BUSY.includes(document.code) ? TRIES.busy : answer.status === 503 ? TRIES.failed : 1;
  return new Problem({ ...document, detail }, { patience, retryAfter });
}

/** Waits until fewer than FILMS_AT_ONCE films are being sent, in order. */
function turn(signal) {
  if (sending < FILMS_AT_ONCE) {
    sending += 1;
    return undefined;
  }
  return new Promise((go, stop) => {
    turns.push(go);
    signal.addEventListener("abort", () => {
      const place = turns.indexOf(go);
      if (place < 0) return; // its turn has come
      turns.splice(place, 1);
      stop(signal.reason);
    });
  });
}

function pause(milliseconds, signal) {
  signal.throwIfAborted();
  if (milliseconds <= 0) return undefined;
  return new Promise((go, stop) => {
    const timer = setTimeout(go, milliseconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      stop(signal.reason);
    });
  });
}
