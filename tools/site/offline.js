// The page works without a network from its second visit on.
navigator.serviceWorker?.register(new URL('../service-worker.js', import.meta.url)).catch(() => {});
