import { z } from 'zod';
import { EditError, editedSources, type SourceEdit } from './edits.ts';
import { displayName, readText } from './input-file.ts';
import type { Path } from './field-path.ts';
import { YamlSource } from './yaml-source.ts';

/** An edit and where it was written. */
interface WrittenEdit {
  readonly edit: SourceEdit;
  readonly source: YamlSource;
  readonly path: Path;
}

const schema: z.ZodType<SourceEdit> = z.strictObject({
  file: z.string(),
  find: z.string().min(1),
  replace: z.string(),
});

/**
 * The edits of a workload that has `edits`, then those of files in the order of the files. Each is YAML (so also JSON) and holds one edit, or a
 * list of edits.
 * Throws a UserError of one line, `file:line:col: field: what is wrong`, for the first one that is malformed or cannot be applied.
 */
export function loadEdits(
  files: readonly string[],
  workload: YamlSource | null = null,
): readonly SourceEdit[] {
  const own = workload === null ? [] : editsAt(workload, ['edits']);
  const written = [...own, ...files.flatMap((file) => editsIn(file))];
  const edits = written.map(({ edit }) => edit);
  try {
    editedSources(edits);
  } catch (error) {
    const place = error instanceof EditError ? written[error.index] : undefined;
    if (!(error instanceof EditError) || place === undefined) throw error;
    throw place.source.problem([...place.path, error.field], error.detail);
  }
  return edits;
}

function editsIn(file: string): readonly WrittenEdit[] {
  return editsAt(new YamlSource(displayName(file), readText(file)), []);
}

/** One edit, or a list of edits, at a place of a document. */
function editsAt(source: YamlSource, path: Path): readonly WrittenEdit[] {
  const value = source.valueAt(path);
  if (!Array.isArray(value)) return [writtenEdit(source, value, path)];
  if (value.length === 0) throw source.problem(path, 'no edit in the list');
  return value.map((item: unknown, i) => writtenEdit(source, item, [...path, i]));
}

function writtenEdit(source: YamlSource, value: unknown, path: Path): WrittenEdit {
  const result = schema.safeParse(value);
  if (result.success) return { edit: result.data, source, path };
  throw shapeProblem(source, result.error.issues[0], path);
}

function shapeProblem(source: YamlSource, issue: z.core.$ZodIssue | undefined, path: Path): Error {
  const [field] = issue?.path ?? [];
  if (issue?.code === 'unrecognized_keys') {
    return source.keyProblem(path, issue.keys[0] ?? '', 'unknown key');
  }
  if (typeof field !== 'string') {
    return source.problem(path, 'expected an edit: the keys file, find and replace');
  }
  const message = issue?.code === 'too_small' ? 'empty' : 'expected a text';
  return source.problem([...path, field], message);
}
