// What WebDriver calls the keys that write no letter (W3C WebDriver, "Keyboard actions"); Playwright takes their names.

export const KEYS = {
  Control: '\uE009', Shift: '\uE008', Tab: '\uE004', Enter: '\uE007', Escape: '\uE00C', Home: '\uE011', End: '\uE010',
  ArrowLeft: '\uE012', ArrowUp: '\uE013', ArrowRight: '\uE014', ArrowDown: '\uE015',
};

/** The sources of one WebDriver action: a click at a point of the viewport, or keys that are pressed one after the other. */
export const clickAt = (x, y) => [{
  type: 'pointer', id: 'mouse', parameters: { pointerType: 'mouse' },
  actions: [{ type: 'pointerMove', x: Math.round(x), y: Math.round(y), duration: 0 }, { type: 'pointerDown', button: 0 }, { type: 'pointerUp', button: 0 }],
}];

/** keys: names of KEYS, or single characters. */
export const pressed = (keys) => [{
  type: 'key', id: 'keyboard',
  actions: keys.flatMap((key) => ['keyDown', 'keyUp'].map((type) => ({ type, value: KEYS[key] ?? key }))),
}];
