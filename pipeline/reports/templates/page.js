"use strict";
// What all pages share. Everything that comes from files is set as text, never as markup.

const byId = (id) => document.getElementById(id);

const data = byId("data") ? JSON.parse(byId("data").textContent) : {};

/** A new element with properties, some of them attributes ("aria-label"), and children: elements or text. */
function make(tag, properties, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties || {})) {
    if (name in element && !name.includes("-")) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** 83.25 as 1:23.2, or with hours as 1:01:23.2. */
function clock(seconds, digits = 1) {
  const scale = 10 ** digits;
  const ticks = Math.max(0, Math.round(seconds * scale));
  const minutes = Math.floor(ticks / scale / 60);
  const rest = ((ticks - minutes * 60 * scale) / scale).toFixed(digits).padStart(digits ? digits + 3 : 2, "0");
  return minutes < 60 ? `${minutes}:${rest}` : `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${rest}`;
}

const percent = (score) => `${(100 * score).toFixed(1)} %`;

/** A time that is not before its frame: to the next millisecond, as browsers cut what is finer. */
const after = (seconds) => Math.ceil(seconds * 1000 - 1e-6) / 1000;

const plural = (count, one, many) => `${count.toLocaleString("en")} ${count === 1 ? one : many}`;

/** Shows a long list a slice at a time: build(item) makes an element. Returns a function that takes another list. */
function slices(parent, more, size, build) {
  let items = [];
  let shown = 0;
  function show() {
    const next = items.slice(shown, shown + size);
    shown += next.length;
    parent.append(...next.map(build));
    more.hidden = shown >= items.length;
    more.textContent = `Show more (${(items.length - shown).toLocaleString("en")} left)`;
  }
  more.addEventListener("click", () => {
    const before = parent.lastElementChild;
    show();
    const first = before && before.nextElementSibling;
    const target = first && first.querySelector("a, button");
    if (target) target.focus({ preventScroll: true });
  });
  return (list) => {
    items = list;
    shown = 0;
    parent.replaceChildren();
    show();
  };
}

/** Calls `act` once the browser has time, and once only for a burst of calls. */
function gathered(act) {
  let waiting = 0;
  return () => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(act);
  };
}
