(() => {
  // Without a script all cards are there; thousands of them would make every keystroke wait for their layout.
  const cards = [...byId("cards").children];
  const items = data.items.map((top) => top.map(([label, score]) => [data.labels[label].toLowerCase(), score]));
  const list = slices(byId("cards"), byId("more"), 60, (card) => card);

  function refresh() {
    const wanted = byId("filter").value.trim().toLowerCase();
    const least = Number(byId("least").value) / 100;
    const fits = (top) => (!wanted && !least) || top.some(([label, score]) => score >= least && label.includes(wanted));
    const kept = cards.filter((_, number) => fits(items[number]));
    const count = kept.length;
    list(kept);
    byId("least-shown").textContent = `${byId("least").value} %`;
    const all = plural(cards.length, "picture", "pictures");
    byId("count").textContent = count < cards.length ? `${count.toLocaleString("en")} of ${all}` : all;
  }

  for (const id of ["filter", "least"]) byId(id).addEventListener("input", refresh);
  for (const element of document.querySelectorAll(".needs-script")) element.hidden = false;
  refresh();
})();
