// Numbers and times as people read them; what is not known is a dash.

export const DASH = "–";

export function rate(value) {
  if (value == null) return DASH;
  return value < 9.95 ? value.toFixed(value === 0 ? 0 : 1) : grouped(Math.round(value));
}

export function milliseconds(value) {
  if (value == null) return DASH;
  return value < 9.995 ? value.toFixed(2) : value < 99.95 ? value.toFixed(1) : grouped(Math.round(value));
}

export function count(value) {
  return value == null ? DASH : grouped(value);
}

export function percent(share) {
  return share == null ? DASH : `${(100 * share).toFixed(1)} %`;
}

export function clock(date) {
  return date.toLocaleTimeString("en-GB");
}

// A thin space between thousands, a true minus.
function grouped(number) {
  return String(number).replace(/^-/, "−").replace(/\B(?=(\d{3})+$)/g, "\u202f");
}

// Writes only changed values, so an unchanged page costs nothing.
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function make(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}
