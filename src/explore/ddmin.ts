/**
 * Leaves out what is not needed, many at once and then fewer (delta debugging: Zeller and Hildebrandt, "Simplifying and isolating
 * failure-inducing input", 2002). `items` is asked again after every success: what is left may have changed altogether.
 */
export function leaveOut<T>(
  items: () => readonly T[],
  works: (rest: readonly T[]) => boolean,
): void {
  let chunk = items().length;
  while (chunk >= 1) {
    const isLess = leaveOutEach(chunk, items, works);
    // One less may make another one superfluous.
    if (chunk > 1 || !isLess) chunk = Math.floor(chunk / 2);
  }
}

/** Tries to do without each `chunk` items in a row; whether some could be left out. */
function leaveOutEach<T>(
  chunk: number,
  items: () => readonly T[],
  works: (rest: readonly T[]) => boolean,
): boolean {
  let isLess = false;
  for (let from = 0; from < items().length;) {
    if (works(items().toSpliced(from, chunk))) isLess = true;
    else from += chunk;
  }
  return isLess;
}
