(() => {
  const classes = [...document.querySelectorAll("#classes > details")];
  if (!classes.length) return;

  function refresh() {
    const wanted = byId("filter").value.trim().toLowerCase();
    let count = 0;
    for (const each of classes) {
      each.hidden = !each.dataset.label.toLowerCase().includes(wanted);
      count += !each.hidden;
    }
    const all = plural(classes.length, "class", "classes");
    byId("count").textContent = count < classes.length ? `${count.toLocaleString("en")} of ${all}` : all;
  }

  byId("filter").addEventListener("input", refresh);
  for (const element of document.querySelectorAll(".needs-script")) element.hidden = false;
  refresh();
})();
