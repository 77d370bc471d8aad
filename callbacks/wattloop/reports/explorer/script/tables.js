/* The same figures as tables, made when they are opened. */
const TABLES = {
  spent: () => {
    const head =
      state.along === "epochs"
        ? ["Run", "Epoch", "Energy", "CO₂e", "Energy so far", "CO₂e so far"]
        : ["Run", "Until", "Energy so far", "CO₂e so far", "Mean power"];
    const rows = listed().flatMap((i) => {
      const { epochs, t, sums } = results[i];
      if (state.along === "epochs") {
        return epochs.map((e) => [
          runs[i].name,
          `${e.count > 1 ? `${e.number - e.count + 1} to ` : ""}${e.number}${e.more ? " (not run)" : ""}`,
          quantity("kwh", e.kwh),
          quantity("kg", e.kg),
          quantity("kwh", e.sum_kwh),
          quantity("kg", e.sum_kg),
        ]);
      }
      return thinned(t.length - 1).map(([from, to]) => [
        runs[i].name,
        duration(t[to]),
        quantity("kwh", sums.kwh[to]),
        quantity("kg", sums.kg[to]),
        quantity("w", ((sums.kwh[to] - sums.kwh[from]) * 3.6e6) / (t[to] - t[from])),
      ]);
    });
    return [head, rows];
  },
  power: () => [
    ["Phase", "From", "For", "Mean power", "Mean intensity"],
    spans(run(), results[state.main]).map(({ phase, from, to, kwh }) => {
      const { t, sums, pue } = results[state.main];
      const kg = interpolated(t, sums.kg, to) - interpolated(t, sums.kg, from);
      return [
        named(phase),
        duration(from),
        duration(to - from),
        to > from ? quantity("w", (kwh * 3.6e6) / (to - from)) : "-",
        kwh > 0 ? `${figures((kg * 1000) / kwh / pue)} g/kWh` : "-",
      ];
    }),
  ],
  forecast: () => [
    ["Epoch", "Forecast", "Low", "High", "Spent by then"],
    forecasts().map((row) => [
      String(row.number),
      ...["value", "low", "high", "spent"].map((key) => quantity(state.measure, row[key])),
    ]),
  ],
  places: () => [
    ["Place", "Code", "Intensity", "The run there"],
    all("input[name=place][data-g]").map((input) => [
      input.nextElementSibling.textContent,
      input.value,
      `${figures(Number(input.dataset.g))} g/kWh`,
      quantity("kg", elsewhere(Number(input.dataset.g)).kg),
    ]),
  ],
  starts: () => [
    ["Start, UTC", "CO₂e"],
    thinned(startRows.length - 1, 500).map(([, to]) => [
      startOf(startRows[to].time / 1e3),
      quantity("kg", startRows[to].kg),
    ]),
  ],
};
function thinned(count, most = 200) {
  const each = Math.max(1, Math.ceil(count / most));
  const pairs = [];
  for (let from = 0; from < count; from += each) pairs.push([from, Math.min(count, from + each)]);
  return pairs;
}
function interpolated(t, sums, s) {
  const i = t.findIndex((one) => one >= s);
  return sums[i < 0 ? sums.length - 1 : i];
}
function fill(details) {
  const [head, rows] = TABLES[details.dataset.table]();
  const cell = (tag, value, extra = {}) => element(tag, { textContent: value, ...extra });
  details
    .querySelector(".scroll")
    .replaceChildren(
      element(
        "table",
        {},
        element("thead", {}, element("tr", {}, ...head.map((value) => cell("th", value, { scope: "col" })))),
        element(
          "tbody",
          {},
          ...rows.map(([first, ...rest]) =>
            element("tr", {}, cell("th", first, { scope: "row" }), ...rest.map((value) => cell("td", value))),
          ),
        ),
      ),
    );
}
