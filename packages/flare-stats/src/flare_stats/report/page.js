"use strict";
// The page is complete without this script, which adds a search by name and two buttons to the list of features.
(() => {
  const tools = document.getElementById("tools");
  if (!tools) return;
  const search = document.getElementById("search");
  const found = document.getElementById("found");
  const features = [...document.querySelectorAll("details.feature")];
  const names = features.map((each) => each.dataset.name.toLowerCase());
  tools.hidden = false;
  search.addEventListener("input", () => {
    const wanted = search.value.trim().toLowerCase();
    let shown = 0;
    features.forEach((each, i) => {
      each.hidden = !names[i].includes(wanted);
      shown += each.hidden ? 0 : 1;
    });
    found.textContent = wanted ? `${shown} of ${features.length} features` : "";
  });
  const all = (open) => () => features.forEach((each) => { if (!each.hidden) each.open = open; });
  document.getElementById("open").addEventListener("click", all(true));
  document.getElementById("close").addEventListener("click", all(false));
})();
