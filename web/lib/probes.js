// What this engine and page can run. Each probe is a module of one instruction that only engines with the feature accept.

const validates = (...section) => WebAssembly.validate(Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, ...section));

// (module (func (param v128) (drop (i8x16.popcnt (local.get 0)))))
export const simd = () => validates(1, 5, 1, 0x60, 1, 0x7b, 0, 3, 2, 1, 0, 10, 9, 1, 7, 0, 0x20, 0, 0xfd, 0x62, 0x1a, 0x0b);

// (module (func (param v128) (drop (f32x4.relaxed_madd (local.get 0) (local.get 0) (local.get 0)))))
export const relaxed = () =>
  validates(1, 5, 1, 0x60, 1, 0x7b, 0, 3, 2, 1, 0, 10, 14, 1, 12, 0, 0x20, 0, 0x20, 0, 0x20, 0, 0xfd, 0x85, 2, 0x1a, 0x0b);

// (module (memory 1 1 shared) (func (drop (i32.atomic.load (i32.const 0))))), and shared memory may be sent to workers:
// in pages only those that are cross-origin isolated.
export function threads() {
  try {
    structuredClone(new SharedArrayBuffer(1));
  } catch {
    return false;
  }
  return validates(1, 4, 1, 0x60, 0, 0, 3, 2, 1, 0, 5, 4, 1, 3, 1, 1, 10, 11, 1, 9, 0, 0x41, 0, 0xfe, 0x10, 2, 0, 0x1a, 0x0b);
}
