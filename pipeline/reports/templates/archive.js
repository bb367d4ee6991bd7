(() => {
  const labels = data.labels.map((label) => label.toLowerCase());
  const fields = ["name", "kind", "state", "output", "page", "poster", "duration", "frames", "top", "seen", "order", "error"];
  const items = data.items.map((row) => Object.fromEntries(fields.map((field, at) => [field, row[at]])));
  for (const item of items) item.lower = item.name.toLowerCase();
  const HITS = 5;

  function fillIn(id, values) {
    for (const value of [...new Set(values)].sort()) byId(id).append(make("option", { value }, value));
  }

  /** The address of a hit: the video's page, or where there is none the file itself, at that time. */
  function addressOf(item, seconds) {
    const file = item.page || item.output;
    return file && item.kind === "video" ? `${file}#t=${after(seconds)}` : file;
  }

  function linked(address, properties, ...children) {
    return address ? make("a", { ...properties, href: address }, ...children) : make("span", properties, ...children);
  }

  function hit(item, [label, seconds, score]) {
    const when = item.kind === "video" ? ` ${clock(seconds)}` : "";
    return make(
      "li",
      {},
      linked(addressOf(item, seconds), {}, make("span", { className: "name", dir: "auto" }, data.labels[label]), when),
      ` ${percent(score)}`,
    );
  }

  function facts(item) {
    const parts = [item.kind];
    if (item.state !== "done") parts.push(item.state);
    if (item.duration !== null) parts.push(clock(item.duration, item.duration < 60 ? 1 : 0));
    if (item.kind === "video" && item.frames) parts.push(plural(item.frames, "frame", "frames"));
    return parts.join(" \u00b7 ");
  }

  function card({ item, hits }) {
    const address = item.page || item.output;
    const picture = item.poster
      ? make("img", { loading: "lazy", decoding: "async", width: 320, height: 180, alt: "", src: item.poster })
      : make("div", { className: "blank" });
    const text = make("div", { className: "text" });
    text.append(make("h3", { dir: "auto" }, linked(address, {}, item.name)), make("p", { className: "note" }, facts(item)));
    if (item.error !== null) text.append(make("p", { className: "failed", dir: "auto" }, item.error));
    const top = item.top.map(([label, score]) =>
      make("li", {}, make("span", { dir: "auto" }, data.labels[label]), make("span", { className: "number" }, percent(score))),
    );
    if (top.length && !hits.length) text.append(make("ol", { className: "scores" }, ...top));
    if (hits.length) {
      const best = hits.slice().sort((a, b) => b[2] - a[2] || a[1] - b[1]);
      const list = make("ul", { className: "hits" }, ...best.slice(0, HITS).map((one) => hit(item, one)));
      if (best.length > HITS) list.append(make("li", { className: "note" }, `and ${plural(best.length - HITS, "time", "times")} more`));
      text.append(list);
    }
    return make("li", { className: "card" }, linked(address, { className: "poster", tabIndex: -1, "aria-hidden": "true" }, picture), text);
  }

  const list = slices(byId("cards"), byId("more"), 48, card);

  function found() {
    const wanted = byId("seen").value.trim().toLowerCase();
    const name = byId("name").value.trim().toLowerCase();
    const matches = labels.map((label) => label.includes(wanted));
    const kept = [];
    for (const item of items) {
      if (byId("kind").value && item.kind !== byId("kind").value) continue;
      if (byId("state").value && item.state !== byId("state").value) continue;
      if (!item.lower.includes(name)) continue;
      const hits = wanted ? item.seen.filter(([label]) => matches[label]) : [];
      if (wanted && !hits.length) continue;
      const score = wanted ? Math.max(...hits.map((one) => one[2])) : item.top.length ? item.top[0][1] : -1;
      kept.push({ item, hits, score });
    }
    return kept;
  }

  const orders = {
    name: (a, b) => a.item.order - b.item.order,
    score: (a, b) => b.score - a.score || a.item.order - b.item.order,
    duration: (a, b) => (b.item.duration ?? -1) - (a.item.duration ?? -1) || a.item.order - b.item.order,
  };

  function refresh() {
    const kept = found().sort(orders[byId("sort").value]);
    list(kept);
    const all = plural(items.length, "item", "items");
    const hits = kept.reduce((sum, one) => sum + one.hits.length, 0);
    const times = byId("seen").value.trim() ? `, seen ${plural(hits, "time", "times")}` : "";
    byId("count").textContent = kept.length < items.length || times ? `${kept.length.toLocaleString("en")} of ${all}${times}` : all;
  }

  fillIn("kind", items.map((item) => item.kind));
  fillIn("state", items.map((item) => item.state));
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  byId("controls").addEventListener("input", refresh);
  for (const element of document.querySelectorAll(".needs-script")) element.hidden = false;
  refresh();
})();
