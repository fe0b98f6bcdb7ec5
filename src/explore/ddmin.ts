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
    const isLess = canLeaveOut(items(), chunk, works);
    chunk = isLess ? Math.min(chunk, items().length) : Math.floor(chunk / 2);
  }
}

/** Tries to do without each `chunk` items in a row; whether one of them could be left out. */
function canLeaveOut<T>(
  items: readonly T[],
  chunk: number,
  works: (rest: readonly T[]) => boolean,
): boolean {
  for (let from = 0; from < items.length; from += chunk) {
    if (works(items.toSpliced(from, chunk))) return true;
  }
  return false;
}
