// State in one place: views read it and are told which parts changed.

export function createStore(initial) {
  let state = Object.freeze({ ...initial });
  let pending = null;
  let telling = false;
  const listeners = new Set();
  return {
    get: () => state,
    /**
     * Takes the patch and tells the listeners, unless nothing in it is new. A listener may set more: that is told
     * afterwards, so that nobody ever draws an older state over a newer one.
     */
    set(patch) {
      const changed = Object.keys(patch).filter((key) => !Object.is(state[key], patch[key]));
      if (changed.length === 0) return;
      state = Object.freeze({ ...state, ...patch });
      pending = new Set([...(pending ?? []), ...changed]);
      if (telling) return;
      telling = true;
      try {
        while (pending) {
          const news = pending;
          pending = null;
          for (const listener of listeners) listener(state, news);
        }
      } finally {
        telling = false;
      }
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}
