/**
 * Source edits: changes of faultline's own core that one run makes, in fresh workers and never on disk. A defect is an edit, and so
 * is a user's own patch.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { moduleUrl, sourceModules, stripModule } from './prestrip.ts';
import { UserError } from './user-error.ts';

/** One change of one TypeScript file. */
export interface SourceEdit {
  /** Relative to the package, as `src/pgtable/walker.ts`. */
  readonly file: string;
  /** Text that the file holds exactly once, after the edits before this one. */
  readonly find: string;
  readonly replace: string;
}

/** An edit that cannot be applied. */
export class EditError extends UserError {
  /** Of the edit, from 0. */
  readonly index: number;
  readonly field: keyof SourceEdit;
  /** What is wrong with the field. */
  readonly detail: string;

  constructor(index: number, field: keyof SourceEdit, detail: string) {
    super(`edit ${index + 1}: ${field}: ${detail}`);
    this.index = index;
    this.field = field;
    this.detail = detail;
  }
}

/** A file on its way through its edits. */
interface Draft {
  readonly text: string;
  /** What an edit broke and none has mended since. */
  readonly broken: EditError | null;
}

/**
 * The edited text of each file that an edit names, by its path. Edits apply in their order; a file has to be sound after its last one.
 * Types are not checked.
 * @throws EditError for the first edit that cannot be applied, or after which a file does not parse or leaves the core dialect.
 */
export function editedSources(edits: readonly SourceEdit[]): ReadonlyMap<string, string> {
  const drafts = new Map<string, Draft>();
  for (const [index, edit] of edits.entries()) {
    const before = drafts.get(edit.file) ?? { text: original(edit.file, index), broken: null };
    const text = applied(before.text, edit, index);
    const problem = problemOf(text, edit.file);
    const broken =
      problem === null ? null : (before.broken ?? new EditError(index, 'replace', problem));
    drafts.set(edit.file, { text, broken });
  }
  const [broken] = [...drafts.values()].flatMap((draft) => draft.broken ?? []);
  if (broken !== undefined) throw broken;
  return new Map(Array.from(drafts, ([file, { text }]) => [file, text]));
}

/** A fingerprint of the edits in their order, in hex. */
export function editsHash(edits: readonly SourceEdit[]): string {
  const content = JSON.stringify(edits.map(({ file, find, replace }) => [file, find, replace]));
  return createHash('sha256').update(content).digest('hex').slice(0, 32);
}

function original(file: string, index: number): string {
  if (!file.startsWith('src/')) {
    throw new EditError(index, 'file', 'expected a file of src/, as src/pgtable/walker.ts');
  }
  if (file.startsWith('src/main/')) {
    throw new EditError(index, 'file', 'src/main sets up and verifies, and always runs unedited');
  }
  if (!sourceModules().includes(file)) throw new EditError(index, 'file', `there is no ${file}`);
  return readFileSync(moduleUrl(file), 'utf8');
}

function applied(text: string, edit: SourceEdit, index: number): string {
  const times = occurrences(text, edit.find);
  if (times !== 1) {
    const what = times === 0 ? 'does not occur' : `occurs ${times} times`;
    throw new EditError(index, 'find', `${what} in ${edit.file}, and has to exactly once`);
  }
  const at = text.indexOf(edit.find);
  return text.slice(0, at) + edit.replace + text.slice(at + edit.find.length);
}

/** Overlapping ones too: each would be another place to edit. */
function occurrences(text: string, find: string): number {
  if (find === '') return text.length + 1;
  let times = 0;
  for (let at = text.indexOf(find); at >= 0; at = text.indexOf(find, at + 1)) times++;
  return times;
}

function problemOf(text: string, file: string): string | null {
  try {
    stripModule(text, file);
    return null;
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    // The dialect names the file and the place; the type stripper does not.
    return error.message.startsWith(`${file}:`) ? error.message : `${file}: ${error.message}`;
  }
}
