(() => {
  const player = byId("player");
  const surface = byId("surface");
  const span = data.span;
  let position = 0; // seconds of the output
  let asked = null; // where to go as soon as the player can

  const label = (index) => data.classes[index][0];

  // ---- the data of every frame, unpacked when it is first needed

  const kinds = { f8: Float64Array, f4: Float32Array, u2: Uint16Array, i4: Int32Array };
  function unpack(id) {
    const element = byId(id);
    const text = atob(element.textContent);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    const kind = kinds[element.dataset.type];
    const little = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;
    if (!little) for (let i = 0; i < bytes.length; i += kind.BYTES_PER_ELEMENT) bytes.subarray(i, i + kind.BYTES_PER_ELEMENT).reverse();
    return new kind(bytes.buffer);
  }
  let unpacked = null;
  const frames = () => (unpacked ??= { times: unpack("times"), indices: unpack("indices"), scores: unpack("scores") });

  /** The number of the frame that is shown at a time of the output; -1 before the first. */
  function frameAt(seconds) {
    const { times } = frames();
    let low = 0;
    let high = times.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (times[middle] <= seconds + data.begins + 1e-6) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  function seenAt(seconds) {
    const frame = frameAt(seconds);
    const seen = [];
    for (let rank = 0; frame >= 0 && rank < data.ranks; rank++) {
      const at = frame * data.ranks + rank;
      seen.push(`${label(frames().indices[at])} ${percent(frames().scores[at])}`);
    }
    return seen;
  }

  // ---- one position: the player's, the line's, the slider's

  function show() {
    const left = `${(100 * Math.min(position, span)) / span}%`;
    if (!surface) return;
    byId("now").style.left = left;
    surface.setAttribute("aria-valuenow", position.toFixed(3));
    surface.setAttribute("aria-valuetext", [clock(position), ...seenAt(position).slice(0, 1)].join(", "));
    if (byId("pointer").hidden) read(position);
  }

  function read(seconds) {
    byId("readout-time").textContent = clock(seconds);
    byId("readout-classes").textContent = seenAt(seconds).slice(0, 3).join(" \u00b7 ");
  }

  function seek(seconds) {
    position = Math.min(Math.max(seconds, 0), span);
    if (player.readyState >= 1) player.currentTime = Math.min(position, player.duration || position);
    else asked = position;
    show();
  }

  function follow() {
    if (asked === null) position = player.currentTime;
    show();
    if (!player.paused && !player.ended) requestAnimationFrame(follow);
  }

  player.addEventListener("loadedmetadata", () => {
    if (asked !== null) {
      const wanted = asked;
      asked = null;
      seek(wanted);
    }
  });
  for (const event of ["play", "seeked", "timeupdate", "pause"]) player.addEventListener(event, () => player.paused ? follow() : event === "play" && follow());
  player.addEventListener("error", () => (byId("unplayable").hidden = false));
  if (player.error) byId("unplayable").hidden = false;

  function seekToHash() {
    const found = /(?:^#|&)t=(\d+(?:\.\d+)?)/.exec(location.hash);
    if (found) seek(Number(found[1]));
  }
  addEventListener("hashchange", seekToHash);

  // ---- the chart

  function timeUnder(event) {
    const box = surface.getBoundingClientRect();
    return Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1) * span;
  }

  function keyed(event) {
    const steps = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 10, PageDown: -10 };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in steps) seek(position + steps[event.key]);
    else if (event.key === "Home") seek(0);
    else if (event.key === "End") seek(span);
    else if (event.key === " ") player.paused ? player.play().catch(() => {}) : player.pause();
    else return;
    event.preventDefault();
  }

  function placeShots() {
    const strip = byId("shots");
    if (!strip) return;
    strip.classList.add("placed");
    const width = strip.clientWidth;
    let end = -Infinity;
    let height = 0;
    for (const button of strip.children) {
      button.hidden = false;
      const box = button.getBoundingClientRect();
      const middle = (Number(button.dataset.seconds) / span) * width;
      const left = Math.min(Math.max(middle - box.width / 2, 0), Math.max(width - box.width, 0));
      button.style.left = `${left}px`;
      button.hidden = left < end + 4;
      if (!button.hidden) end = left + box.width;
      height = Math.max(height, box.height);
    }
    strip.style.height = `${height + 6}px`;
  }

  function legend() {
    const chart = byId("chart");
    const ribbons = chart.querySelectorAll(".ribbon");
    for (const button of chart.querySelectorAll(".legend button")) {
      const ribbon = ribbons[Number(button.dataset.ribbon)];
      const choose = (on) => () => {
        ribbon.classList.toggle("chosen", on);
        chart.classList.toggle("choosing", on);
      };
      button.addEventListener("click", () => {
        const on = button.getAttribute("aria-pressed") !== "true";
        button.setAttribute("aria-pressed", String(on));
        ribbon.classList.toggle("off", !on);
      });
      for (const event of ["pointerenter", "focus"]) button.addEventListener(event, choose(true));
      for (const event of ["pointerleave", "blur"]) button.addEventListener(event, choose(false));
    }
  }

  if (surface) {
    const pointer = byId("pointer");
    surface.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      surface.setPointerCapture(event.pointerId);
      seek(timeUnder(event));
    });
    surface.addEventListener("pointermove", (event) => {
      if (event.buttons & 1 && surface.hasPointerCapture(event.pointerId)) seek(timeUnder(event));
      pointer.hidden = event.pointerType === "touch";
      pointer.style.left = `${(100 * timeUnder(event)) / span}%`;
      if (!pointer.hidden) read(timeUnder(event));
    });
    surface.addEventListener("pointerleave", () => {
      pointer.hidden = true;
      read(position);
    });
    surface.addEventListener("keydown", keyed);
    if (byId("shots")) {
      byId("shots").addEventListener("click", (event) => {
        const button = event.target.closest("button");
        if (button) seek(Number(button.dataset.seconds));
      });
      placeShots();
      new ResizeObserver(gathered(placeShots)).observe(byId("shots"));
    }
    legend();
  }

  // ---- the table

  let key = 0;
  let direction = 1;
  const rows = data.stretches.map((row) => ({ row, text: label(row[2]).toLowerCase() }));
  const seekTo = (row) => () => {
    seek(after(row[0]));
    player.scrollIntoView({ block: "nearest" });
  };
  const list = slices(byId("stretches").tBodies[0], byId("more"), 200, ({ row }) =>
    make(
      "tr",
      {},
      make("td", { className: "number" }, make("button", { type: "button", className: "go", onclick: seekTo(row), "aria-label": `Go to ${clock(row[0])}, ${label(row[2])}` }, clock(row[0]))),
      make("td", { className: "number" }, clock(row[1])),
      make("td", { dir: "auto" }, label(row[2])),
      make("td", { className: "number" }, percent(row[3])),
      make("td", { className: "number" }, percent(row[4])),
    ),
  );

  function order(a, b) {
    const difference = key === 2 ? (a.text < b.text ? -1 : Number(a.text > b.text)) : a.row[key] - b.row[key];
    return direction * difference;
  }

  function refresh() {
    const wanted = byId("filter").value.trim().toLowerCase();
    const kept = rows.filter(({ text }) => text.includes(wanted)).sort(order);
    list(kept);
    const all = plural(rows.length, "stretch", "stretches");
    byId("count").textContent = wanted ? `${kept.length.toLocaleString("en")} of ${all}` : all;
  }

  byId("filter").addEventListener("input", refresh);
  byId("stretches").tHead.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    const chosen = Number(button.dataset.key);
    direction = chosen === key ? -direction : chosen > 2 ? -1 : 1; // scores: the best first
    key = chosen;
    for (const head of byId("stretches").tHead.rows[0].cells) head.removeAttribute("aria-sort");
    button.parentElement.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
    refresh();
  });

  // ---- every frame as CSV, with the columns of --predictions

  const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

  /** The shortest number that is this float32 and no other. */
  function short(value) {
    for (let digits = 6; digits < 9; digits++) {
      const number = Number(value.toPrecision(digits));
      if (Math.fround(number) === value) return String(number);
    }
    return String(Number(value.toPrecision(9)));
  }

  function csv() {
    const { times, indices, scores } = frames();
    const names = {};
    for (const [index, [name, wnid]] of Object.entries(data.classes)) names[index] = `${index},${quoted(wnid)},${quoted(name)}`;
    const parts = ["frame,time_seconds,rank,index,wnid,label,score\r\n"];
    for (let frame = 0; frame < data.frames; frame++) {
      const begin = `${frame},${times[frame]}`;
      for (let rank = 0; rank < data.ranks; rank++) {
        const at = frame * data.ranks + rank;
        parts.push(`${begin},${rank + 1},${names[indices[at]]},${short(scores[at])}\r\n`);
      }
    }
    return new Blob(parts, { type: "text/csv" });
  }

  byId("export").addEventListener("click", () => {
    const address = URL.createObjectURL(csv());
    make("a", { href: address, download: `${data.name}_frames.csv` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
  });

  refresh();
  seekToHash();
  follow();
})();
