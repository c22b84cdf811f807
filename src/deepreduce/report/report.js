"use strict";

// Charts: drawn from the page's JSON, in the page's own colors.
(() => {
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const choices = JSON.parse(document.getElementById("choices").textContent);
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const narrow = () => window.innerWidth < 700;

  // What depends on light or dark and on the width; flat keys, as Plotly.relayout takes them.
  function look(layout) {
    const update = {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      "font.color": css("--ink"), "font.family": getComputedStyle(document.body).fontFamily,
      "hoverlabel.bgcolor": css("--raised"), "hoverlabel.bordercolor": css("--soft"),
      "hoverlabel.font.color": css("--ink"), "hoverlabel.align": "left",
    };
    for (const axis of Object.keys(layout).filter((key) => /^[xy]axis\d*$/.test(key))) {
      Object.assign(update, {
        [axis + ".gridcolor"]: css("--line"), [axis + ".linecolor"]: css("--soft"), [axis + ".zerolinecolor"]: css("--line"),
        [axis + ".automargin"]: true,
      });
    }
    if (layout.meta && layout.meta.wide_height) update.height = narrow() ? layout.meta.narrow_height : layout.meta.wide_height;
    return update;
  }

  const config = {displaylogo: false, responsive: true, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"]};
  const drawn = [];
  for (const [id, chart] of Object.entries(charts)) {
    const place = document.getElementById("chart-" + id);
    Plotly.newPlot(place, chart.data, chart.layout, config).then(() => {
      drawn.push(place);
      return dress(place);
    });
  }

  // On a narrow page names beside the points would cover each other: they stay in the hover text.
  function dress(place) {
    const named = place.data.findIndex((trace) => trace.text && trace.mode && trace.mode.includes("lines"));
    const mode = narrow() ? "lines+markers" : "lines+markers+text";
    if (named >= 0 && place.data[named].mode !== mode) Plotly.restyle(place, {mode}, [named]);
    publish(place);
    return Plotly.relayout(place, look(place.layout));
  }

  // Published networks stand in the chart against ReLUs only, each method behind its box.
  const boxes = [...document.querySelectorAll("input[data-published]")];
  function publish(place) {
    place.data.forEach((trace, index) => {
      const box = trace.meta && boxes.find((each) => each.dataset.published === trace.meta.published);
      if (box && (trace.visible !== false) !== box.checked) Plotly.restyle(place, {visible: box.checked}, [index]);
    });
  }
  for (const box of boxes) box.addEventListener("change", () => publish(document.getElementById("chart-frontier")));

  // The selects of a chart: together their values name what is drawn; a plain name stands alone.
  function choose(id) {
    const selects = [...document.querySelectorAll(`select[data-chart~="${id}"]`)];
    selects.sort((a, b) => a.dataset.part - b.dataset.part);
    const known = choices[id];
    const plain = Object.hasOwn(known, selects[0].value);
    if (id === "frontier") {
      selects[1].disabled = plain;
      for (const box of boxes) box.disabled = !plain;
    }
    const name = plain ? selects[0].value : selects.map((select) => select.value).join("|");
    const place = document.getElementById("chart-" + id);
    const found = Object.hasOwn(known, name);
    place.hidden = !found;
    for (const note of document.querySelectorAll(`[data-absent="${id}"]`)) note.hidden = found;
    if (!found) return;
    const chart = structuredClone(known[name]);  // plotly writes into what it is given
    Plotly.react(place, chart.data, chart.layout, config).then(() => dress(place));
  }
  for (const select of document.querySelectorAll("select[data-chart]")) {
    select.addEventListener("change", () => select.dataset.chart.split(" ").forEach(choose));
  }

  // A browser may keep what was selected before the page was loaded again, and the first run need not be the first choice.
  Object.keys(choices).forEach(choose);

  const dressAll = () => drawn.forEach(dress);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", dressAll);
  matchMedia("(max-width: 699px)").addEventListener("change", dressAll);
})();

// The table of networks: sorted by a click on a header, filtered by the words in the box.
(() => {
  const table = document.getElementById("networks");
  const body = table.tBodies[0];
  const headers = [...table.tHead.rows[0].cells];
  const collator = new Intl.Collator("en", {numeric: true});

  function compare(a, b, column, sign) {
    const [x, y] = [a.cells[column], b.cells[column]];
    if (x.dataset.value === undefined) return sign * collator.compare(x.textContent, y.textContent);
    const [p, q] = [x.dataset.value, y.dataset.value];
    // What was not measured stays at the end, whichever way the rest is sorted.
    if (p === "" || q === "") return (p === "") - (q === "");
    return sign * (Number(p) - Number(q));
  }

  headers.forEach((header, column) => header.addEventListener("click", () => {
    const ascending = header.getAttribute("aria-sort") !== "ascending";
    headers.forEach((other) => other.setAttribute("aria-sort", "none"));
    header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    body.append(...[...body.rows].sort((a, b) => compare(a, b, column, ascending ? 1 : -1)));
  }));

  const box = document.getElementById("filter");
  const count = document.getElementById("shown");
  function filter() {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of body.rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += !row.hidden;
    }
    count.textContent = `${shown} of ${body.rows.length} networks`;
  }
  box.addEventListener("input", filter);
  filter();
})();

// The command: copied, or selected where a page may not use the clipboard.
document.getElementById("copy").addEventListener("click", async (event) => {
  const command = document.getElementById("command");
  try {
    await navigator.clipboard.writeText(command.textContent);
    event.target.textContent = "Copied";
    setTimeout(() => { event.target.textContent = "Copy"; }, 1500);
  } catch {
    getSelection().selectAllChildren(command);
  }
});
