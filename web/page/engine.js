// The page's side of the worker. One request at a time on each channel; while it runs only the newest other one
// waits, so that fast typing is never answered with stale pictures.

export class Engine {
  #worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
  #nextId = 1;
  #pending = new Map();
  #channels = new Map();

  /** `onStatus({ state: 'ready', variant, threads } | { state: 'failed', message })`. */
  constructor(onStatus) {
    this.#worker.onmessage = ({ data }) => {
      if (data.type === 'ready') onStatus({ state: 'ready', variant: data.variant, threads: data.threads });
      else if (data.type === 'failed') onStatus({ state: 'failed', message: data.message });
      else if (data.type === 'progress') this.#pending.get(data.id)?.onProgress?.(data);
      else this.#settle(data);
    };
    this.#worker.onerror = (event) => onStatus({ state: 'failed', message: event.message ?? '' });
  }

  /** Resolves with the result, or with null if a newer request on the channel took its place. */
  request(channel, message, { transfer = [], onProgress } = {}) {
    return new Promise((resolve, reject) => {
      const entry = { channel, message, transfer, onProgress, resolve, reject };
      const state = this.#channels.get(channel);
      if (!state) {
        this.#channels.set(channel, { waiting: null, current: null });
        this.#send(entry);
      } else {
        state.waiting?.resolve(null);
        state.waiting = entry;
        if (state.current) this.#worker.postMessage({ type: 'cancel', cancels: state.current });
      }
    });
  }

  /** Gives up what runs on the channel; its request resolves with null. */
  cancel(channel) {
    const state = this.#channels.get(channel);
    if (state?.current) this.#worker.postMessage({ type: 'cancel', cancels: state.current });
  }

  #send(entry) {
    const id = this.#nextId;
    this.#nextId += 1;
    this.#channels.get(entry.channel).current = id;
    this.#pending.set(id, entry);
    this.#worker.postMessage({ ...entry.message, id, channel: entry.channel }, entry.transfer);
  }

  #settle({ id, result, error, cancelled }) {
    const entry = this.#pending.get(id);
    if (!entry) return;
    this.#pending.delete(id);
    const state = this.#channels.get(entry.channel);
    const next = state.waiting;
    if (next) {
      state.waiting = null;
      this.#send(next);
    } else {
      this.#channels.delete(entry.channel);
    }
    if (error) entry.reject(Object.assign(new Error(error.message), error));
    else if (cancelled) entry.resolve(null);
    else entry.resolve(result);
  }
}
