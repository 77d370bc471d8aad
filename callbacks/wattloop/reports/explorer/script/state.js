/* What the page knows, and what is chosen in it. */
performance.mark("wattloop:begin");
const { runs, series, charts, phases, shown: MOST } = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const all = (selector) => [...document.querySelectorAll(selector)];
const NOTHING = { g: null, start: null, pue: null, ratio: 1, to: null, epochs: null, last: null };
const state = {
  main: 0,
  shown: new Set(runs.map((_, i) => i).slice(0, MOST)),
  measure: "kg",
  along: "epochs",
  sum: false,
  scenario: { ...NOTHING },
  place: "",
};
const views = {};
const RATIO_NOTE = $("ratio-note")?.textContent;
/* FP32 GFLOPS per watt of the devices for which that is known, by name. */
const PER_WATT = new Map(all("#to optgroup option").map((option) => [option.textContent, Number(option.value)]));
let results = [];
