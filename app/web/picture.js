// What to show of a film: the file itself, or, where a browser cannot show it as it is meant, the service's picture.

import { head, picture } from "./api.js";

const KEPT = 8; // pictures of the service, for going back and forth

const pictures = new Map();

/** A blob that a browser can show. */
export async function pictureOf(film, signal) {
  if (pictures.has(film)) return pictures.get(film);
  if (!(await needsService(film.file))) return film.file;
  const blob = await picture(film.file, { signal });
  pictures.set(film, blob);
  if (pictures.size > KEPT) pictures.delete(pictures.keys().next().value);
  return blob;
}

export function forgetPictures() {
  pictures.clear();
}

/** DICOM, and PNG of 16 bits a sample: browsers keep the upper eight, which leaves 12-bit films black. */
async function needsService(file) {
  const bytes = await head(file, 132);
  const says = (text, from) => [...text].every((letter, at) => bytes[from + at] === letter.charCodeAt(0));
  return says("DICM", 128) || (says("PNG", 1) && bytes[24] === 16);
}
