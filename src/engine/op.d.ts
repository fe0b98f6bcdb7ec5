/**
 * Makes a forgotten `yield*` visible to lint.
 *
 * The compiler accepts `unlock();` and `if (tryLock())` although both only build a generator. With this phantom `then` an Op looks like
 * a promise, so `no-floating-promises` (with `checkThenables`) reports the first and `no-misused-promises` the second. Nothing
 * implements `then`; nobody may call it.
 */
interface Generator<T, TReturn, TNext> {
  then(onDone: (phantom: never) => void, onError: (phantom: never) => void): never;
}
