/**
 * Makes the page work without a network after its first load: the newest files where there is a
 * network, else those of the last load. The model's weights are kept by src/bundle/bundle.js, which
 * checks them.
 */
const CACHE = "nextomni-edge-page";
const MODEL = ["model/manifest.json", "model/index.json"];
const scope = /** @type {any} */ (self);
const base = new URL("./", scope.location.href);

/** @param {any} event */
scope.oninstall = (event) => {
  event.waitUntil(
    (async () => {
      const cache = await caches.open(CACHE);
      const { files } = await (
        await fetch(new URL("shell.json", base), { cache: "no-cache" })
      ).json();
      await cache.addAll([
        base.href,
        ...[...files, ...MODEL].map((name) => new URL(name, base).href),
      ]);
      await scope.skipWaiting();
    })(),
  );
};

/** @param {any} event */
scope.onactivate = (event) => event.waitUntil(scope.clients.claim());

/** @param {any} event */
scope.onfetch = (event) => {
  const { request } = event;
  const ours =
    request.method === "GET" && request.url.startsWith(base.href) && !request.url.endsWith(".bin");
  if (ours) event.respondWith(answer(request));
};

/** @param {Request} request */
async function answer(request) {
  const cache = await caches.open(CACHE);
  try {
    const found = await fetch(request);
    if (found.ok) await cache.put(request, found.clone());
    return found;
  } catch (error) {
    const kept = await cache.match(request, { ignoreSearch: true });
    if (kept) return kept;
    throw error;
  }
}
