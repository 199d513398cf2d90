// The files of the shipped model, fetched when it is first asked for.

const files = {
  model: new URL('../../model/model.bin', import.meta.url),
  heads: new URL('../../model/heads.json', import.meta.url),
  training: new URL('../../model/training.json', import.meta.url),
};

/** The bytes of a file, as an ArrayBuffer. */
export async function shipped(name) {
  const { href } = files[name];
  const response = await fetch(href).catch(() => null);
  if (!response?.ok) throw new Error(`${href.split('/').at(-1)}, a file of the model, could not be loaded.`);
  return response.arrayBuffer();
}
