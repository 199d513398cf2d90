/** What an adapter throws for a case that needs something the module does not have (yet). */
export class NotSupported extends Error {}

/** The engine's (or layer's) function `name`, ready to be called. */
export function need(owner, name, ownerName = 'attn') {
  if (typeof owner[name] !== 'function') throw new NotSupported(`${ownerName}.${name}`);
  return owner[name].bind(owner);
}

/** Refuses a case whose attribute asks for what is no part of attention, or of this module. */
export function refuse(condition, feature) {
  if (condition) throw new NotSupported(feature);
}
