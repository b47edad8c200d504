// Small ways to write a document.

const ANNOUNCED_MS = 6_000;

/** The element of an id. */
export function byId(id) {
  return document.getElementById(id);
}

/** A new element with attributes (properties where they are no strings) and children. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "string") made.setAttribute(key, value);
    else made[key] = value;
  }
  made.append(...children);
  return made;
}

/** Write a text where it differs, so that nothing is laid out or read out for nothing. */
export function write(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

/** Have `draw` run once before the next frame, however often it is asked for. */
export function onceAFrame(draw) {
  let isDue = false;
  return () => {
    if (isDue) return;
    isDue = true;
    requestAnimationFrame(() => {
      isDue = false;
      draw();
    });
  };
}

/** The time of day of an RFC 3339 time, in the reader's own zone. */
export function clock(text) {
  return new Date(text).toLocaleTimeString([], { hour12: false });
}

let silence = 0;

/** Tell people who do not look: politely, one message at a time, for a few seconds. */
export function announce(text) {
  write(byId("announcements"), text);
  clearTimeout(silence);
  silence = setTimeout(() => write(byId("announcements"), ""), ANNOUNCED_MS);
}
