/**
 * The few WebAssembly types the thread port needs. TypeScript declares them only together with the whole browser, and that library
 * would let core code name a browser's globals unnoticed.
 */
declare namespace WebAssembly {
  class Memory {
    constructor(limits: {
      readonly initial: number;
      readonly maximum: number;
      readonly shared: boolean;
    });
    readonly buffer: ArrayBufferLike;
  }
  class Module {
    constructor(bytes: Uint8Array<ArrayBuffer>);
    static exports(module: Module): readonly { readonly name: string }[];
  }
  class Instance {
    constructor(
      module: Module,
      imports: Readonly<
        Record<string, Readonly<Record<string, { readonly buffer: ArrayBufferLike }>>>
      >,
    );
    readonly exports: Readonly<Record<string, unknown>>;
  }
}
