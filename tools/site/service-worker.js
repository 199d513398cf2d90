// Answers from one complete version of the page, or not at all. A new version is fetched whole, beside the old one,
// and takes over when no window shows the old one any more: so that no file of one meets a file of the other.

const CACHE = `spotlight ${'VERSION'}`;
const FILES = [] /* FILES */;

self.addEventListener('install', (event) => {
  // 'reload': past the browser's own cache, which may hold files of an older version.
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(FILES.map((file) => new Request(file, { cache: 'reload' })))));
});

self.addEventListener('activate', (event) => {
  event.waitUntil(caches.keys().then((names) => Promise.all(
    names.filter((name) => name.startsWith('spotlight ') && name !== CACHE).map((name) => caches.delete(name)))));
});

self.addEventListener('fetch', (event) => {
  const url = new URL(event.request.url);
  const known = FILES.some((file) => new URL(file, self.location).href === url.origin + url.pathname);
  if (event.request.method !== 'GET' || !known) return;
  event.respondWith(caches.open(CACHE)
    .then((cache) => cache.match(event.request, { ignoreSearch: true, ignoreVary: true }))
    .then((answer) => answer ?? Response.error()));
});
