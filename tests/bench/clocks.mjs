// Seconds, by two clocks.

/** The wall's. */
export const wall = () => performance.now() / 1e3;

const THREAD_CPUTIME = 3;

/**
 * The processor's while it ran this thread, for machines that others use too (Node only). process.threadCpuUsage() moves in steps of
 * the scheduler, 4 ms; WASI's clock is the precise one.
 */
async function threadClock() {
  const { WASI } = await import('node:wasi');
  const wasi = new WASI({ version: 'preview1' });
  const memory = new WebAssembly.Memory({ initial: 1 });
  wasi.initialize({ exports: { memory } });
  const result = new DataView(memory.buffer);
  return () => {
    const status = wasi.wasiImport.clock_time_get(THREAD_CPUTIME, 1n, 0);
    if (status !== 0) throw new Error(`this system has no clock of a thread (${status})`);
    return Number(result.getBigUint64(0, true)) / 1e9;
  };
}

export const openClock = async (name) => (name === 'cpu' ? threadClock() : wall);
