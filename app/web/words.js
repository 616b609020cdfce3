// Numbers and labels as a reader reads them. A film below the threshold is never called healthy.

export const MEANINGS = {
  PNEUMONIA: {
    label: "Above the threshold for pneumonia",
    short: "Above the threshold",
    text: "The probability reaches the threshold. A reader should confirm or reject it.",
  },
  NORMAL: {
    label: "Below the threshold for pneumonia",
    short: "Below the threshold",
    text: "The probability stays below the threshold. That does not rule pneumonia out.",
  },
};

/** A share from 0 to 1 in per cent. What is nearly certain is never rounded to certainty. */
export function percent(share, digits = 1) {
  if (share > 0.9999) return "> 99.99 %";
  if (share < 0.0001) return "< 0.01 %";
  const plain = share > 0.001 && share < 0.999;
  return `${(100 * share).toFixed(plain ? digits : Math.max(2, digits))} %`;
}

/** Probability and threshold in per cent, with as many digits as it takes to tell which is larger. */
export function against(probability, threshold) {
  let digits = 1;
  const same = () => percent(probability, digits) === percent(threshold, digits);
  while (probability !== threshold && digits < 4 && same()) digits += 1;
  return [percent(probability, digits), percent(threshold, digits)];
}

export const films = (count) => (count === 1 ? "1 film" : `${count} films`);

export function seconds(count) {
  return count < 90 ? `${Math.ceil(count)} s` : `${Math.round(count / 60)} min`;
}
