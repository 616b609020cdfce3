// Results as a table for a spreadsheet: RFC 4180, with a byte order mark so that Excel reads it as UTF-8.

const COLUMNS = {
  film: ({ name }) => name,
  probability: ({ prediction }) => prediction?.probability,
  threshold: ({ prediction }) => prediction?.threshold,
  label: ({ prediction }) => prediction?.label,
  bacterial: ({ prediction }) => prediction?.subtypes?.bacterial,
  viral: ({ prediction }) => prediction?.subtypes?.viral,
  review: ({ prediction }) => prediction?.review,
  reasons: ({ prediction }) => prediction?.reasons.map(({ words }) => words).join(" "),
  problem: ({ state, problem }) => problem?.title ?? (state === "cancelled" ? "Not read" : ""),
  model: ({ prediction }) => prediction && `${prediction.model.name} ${prediction.model.version}`,
  model_sha256: ({ prediction }) => prediction?.model.sha256,
  request: ({ prediction, problem }) => prediction?.id ?? problem?.request,
};

// A cell that begins like this could be run as a formula: https://owasp.org/www-community/attacks/CSV_Injection
const FORMULA = /^\s*[=+\-@\uFF1D\uFF0B\uFF0D\uFF20]|^[\t\r\n]/;

/** One line for each film. */
export function csv(films) {
  const rows = films.map((film) => Object.values(COLUMNS).map((column) => cell(column(film))));
  return `\uFEFF${[Object.keys(COLUMNS), ...rows].map((row) => row.join(",")).join("\r\n")}\r\n`;
}

function cell(value) {
  if (typeof value !== "string") return String(value ?? "");
  const harmless = FORMULA.test(value) ? `'${value}` : value;
  return `"${harmless.replaceAll('"', '""')}"`; // always quoted: not every spreadsheet splits at commas
}
