// What a head is called, wherever it is mentioned. Pure.

import { t } from './strings.js';

/** "Head 3", or of a model with layers "Layer 2, head 3". */
export function headTitle(result, head) {
  const { perLayer } = result;
  return perLayer ? t.trained.headName(Math.floor(head / perLayer) + 1, (head % perLayer) + 1) : t.headName(head + 1);
}

/** { name, what } of the head: its kind, or what was measured of it. */
export function headWords(result, head) {
  return (result.roles && t.trained.role(result.roles[head])) ?? t.kinds[result.kinds[head]];
}
