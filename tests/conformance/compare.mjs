// The rule of ../shared/conformance/README.md: a result passes when, for every element,
// |got - want| <= atol + rtol * |want|, NaN matching only NaN and an infinity only the same infinity.

/**
 * How `got` compares with `want`: `worst` is the largest error as a share of what is allowed (Infinity where a NaN
 * or an infinity does not match), `problem` says what is wrong, or is null.
 */
export function compare(name, got, want, { atol, rtol }) {
  const wrongShape = got.shape.length !== want.shape.length || got.shape.some((extent, i) => extent !== want.shape[i]);
  if (wrongShape) return { worst: Infinity, problem: `${name} has shape [${got.shape}], not [${want.shape}]` };
  let worst = 0;
  let worstAt = -1;
  let outside = 0;
  for (let i = 0; i < want.data.length; i++) {
    const share = errorShare(got.data[i], want.data[i], atol, rtol);
    if (share > 1) outside++;
    if (share > worst) {
      worst = share;
      worstAt = i;
    }
  }
  if (outside === 0) return { worst, problem: null };
  const distance = worst === Infinity ? 'which no tolerance covers' : `${worst.toPrecision(3)} times the tolerance`;
  return {
    worst,
    problem:
      `${outside} of ${want.data.length} elements of ${name} are off; ` +
      `worst: [${indexOf(worstAt, want.shape)}] is ${got.data[worstAt]}, not ${want.data[worstAt]}, ${distance}`,
  };
}

function errorShare(got, want, atol, rtol) {
  if (Object.is(got, want) || got === want) return 0;
  if (!Number.isFinite(got) || !Number.isFinite(want)) return Infinity;
  const error = Math.abs(got - want);
  const allowed = atol + rtol * Math.abs(want);
  return error <= allowed ? error / allowed : Math.max(error / allowed, 1 + Number.EPSILON);
}

function indexOf(position, shape) {
  const index = [];
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    index.unshift(position % shape[axis]);
    position = Math.floor(position / shape[axis]);
  }
  return index;
}
