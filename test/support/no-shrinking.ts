/** For mutation runs: a property that fails says so at once; nobody reads its smallest counterexample. */
import fc from 'fast-check';

fc.configureGlobal({ ...fc.readConfigureGlobal(), endOnFailure: true });
