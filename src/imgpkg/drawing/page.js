"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const bar = document.querySelector(".search");
  const field = bar.querySelector("input");
  const said = bar.querySelector("output");
  // Lists within an entry, such as that of its layers, are part of it.
  const entries = all(".tree li").filter((one) => one.querySelector(":scope > details"));
  const rows = all("tbody tr");
  bar.hidden = false;

  // Each entry is found by its own words, and shown with those around it.
  const words = new Map();
  for (const entry of entries) {
    words.set(entry, entry.querySelector(":scope > details").textContent.toLowerCase());
  }
  for (const row of rows) words.set(row, row.textContent.toLowerCase() + " " + (row.dataset.words || ""));

  function search() {
    const wanted = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = (one) => wanted.every((word) => words.get(one).includes(word));
    let count = 0;
    for (const entry of entries) entry.hidden = wanted.length > 0;
    for (const entry of entries) {
      if (!fits(entry)) continue;
      count += 1;
      for (let one = entry; one && one.matches("li"); one = one.parentElement.closest("li")) one.hidden = false;
    }
    for (const row of rows) row.hidden = !fits(row);
    said.textContent = wanted.length ? `${count} of ${entries.length} entries` : "";
  }
  field.addEventListener("input", search);

  document.addEventListener("keydown", (event) => {
    const isTyped = event.target.matches("input");
    if (event.key === "/" && !isTyped) { event.preventDefault(); field.focus(); }
    if (event.key === "Escape" && isTyped) { field.value = ""; search(); }
  });

  const toggle = bar.querySelector("button");
  toggle.addEventListener("click", () => {
    const opens = toggle.getAttribute("aria-pressed") !== "true";
    toggle.setAttribute("aria-pressed", String(opens));
    toggle.textContent = opens ? "Close all" : "Open all";
    for (const details of all(".tree details")) details.open = opens;
  });

  // A link to an entry opens it, also where a search hides it.
  function follow() {
    const target = document.getElementById(location.hash.slice(1));
    if (!target) return;
    if (target.hidden) { field.value = ""; search(); }
    const details = target.querySelector(":scope > details");
    if (details) details.open = true;
    target.scrollIntoView({ block: "center" });
  }
  addEventListener("hashchange", follow);
  follow();

  // A layer lights up wherever it is.
  document.addEventListener("mouseover", (event) => {
    const layer = event.target.closest("[data-layer]");
    for (const lit of all(".lit")) lit.classList.remove("lit");
    if (layer) for (const same of all(`[data-layer="${layer.dataset.layer}"]`)) same.classList.add("lit");
  });

  for (const heading of all("th[data-sort]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = heading.textContent;
    heading.replaceChildren(button);
    button.addEventListener("click", () => {
      const body = heading.closest("table").tBodies[0];
      const at = [...heading.parentElement.children].indexOf(heading);
      const isUp = heading.getAttribute("aria-sort") === "descending";
      for (const other of all("th", heading.parentElement)) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", isUp ? "ascending" : "descending");
      const key = (row) => row.children[at].dataset.value ?? row.children[at].textContent;
      const isNumber = heading.dataset.sort === "number";
      const compare = (a, b) => (isNumber ? key(a) - key(b) : key(a).localeCompare(key(b)));
      body.append(...[...body.rows].sort((a, b) => (isUp ? compare(a, b) : compare(b, a))));
    });
  }
})();
