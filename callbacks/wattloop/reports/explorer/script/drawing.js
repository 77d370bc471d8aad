/* What the charts are fed, and the words beside them. */
const CLOCKS = [
  [2 * 86400, 86400, "days"],
  [2 * 3600, 3600, "hours"],
  [120, 60, "minutes"],
  [0, 1, "seconds"],
];
const clockOf = (s) => CLOCKS.find(([from]) => s >= from);
const listed = () => [...state.shown].sort((a, b) => a - b);

/** Return the lines of a run: per epoch or over time, each or all so far. */
function lineOf(result, kind) {
  const { measure, along, sum } = state;
  const rows = [];
  if (along === "epochs") {
    if (sum) rows.push([0, 0, "now"]);
    for (const epoch of result.epochs) {
      const last = rows.at(-1);
      if (epoch.more && last && last[2] === "now") rows.push([last[0], last[1], "more"]);
      rows.push([
        epoch.number,
        sum ? epoch[`sum_${measure}`] : epoch[measure] / epoch.count,
        epoch.more ? "more" : "now",
      ]);
    }
  } else {
    const { t, sums, own, whole } = result;
    const stop = own === whole ? Infinity : own.s;
    const per = measure === "kwh" ? 3.6e6 : 3600;
    for (let i = 0; i < t.length; i++) {
      if (t[i] > stop) break;
      if (sum) rows.push([t[i], sums[measure][i], "now"]);
      else if (i + 1 < t.length && t[i + 1] > t[i])
        rows.push([t[i], ((sums[measure][i + 1] - sums[measure][i]) / (t[i + 1] - t[i])) * per, "now"]);
    }
    if (rows.length) rows.push([Math.min(stop, t.at(-1)), sum ? own[measure] : rows.at(-1)[1], "now"]);
    if (result.each && result.s > own.s) {
      const rate = result.each.s > 0 ? (result.each[measure] / result.each.s) * per : 0;
      rows.push([own.s, sum ? own[measure] : rate, "more"], [result.s, sum ? result[measure] : rate, "more"]);
    }
  }
  return kind === "recorded" ? rows.map(([x, y]) => [x, y, "recorded"]) : rows;
}

function spent() {
  const { measure, along, sum } = state;
  const stepped = along === "time" && !sum;
  const lines = [];
  for (const i of listed()) {
    const kinds = hypothetical()
      ? [
          ["recorded", footprint(i, NOTHING)],
          ["now", results[i]],
        ]
      : [["now", results[i]]];
    for (const [kind, result] of kinds) {
      for (const [x, y, of] of lineOf(result, kind)) lines.push({ i, x, y, kind: of });
    }
  }
  const rate = stepped && measure === "kwh" ? "w" : measure;
  const [scale, unit] = unitOf(rate, highest(lines.map((row) => row.y)));
  const most = highest(lines.map((row) => row.x));
  const [, second, clock] = along === "time" ? clockOf(most) : [0, 1, "epoch"];
  const rows = lines
    .filter((row) => Number.isFinite(row.y))
    .map((row) => ({
      x: row.x / second,
      y: row.y / scale,
      kind: row.kind,
      colour: colour(row.i),
      series: `${row.i} ${row.kind}`,
      run: runs[row.i].name,
      at: along === "epochs" ? `epoch ${row.x}` : duration(row.x),
      text: `${quantity(rate, row.y)}${stepped && measure === "kg" ? " an hour" : ""}`,
    }));
  const own = rows.filter((row) => row.kind !== "recorded" && (along === "time" || row.x > 0));
  const each = Math.max(1, Math.ceil(own.length / 400));
  const points = own.filter((_, i) => i % each === 0);
  const per = along === "epochs" ? (sum ? "so far" : "per epoch") : sum ? "so far" : measure === "kg" ? "per hour" : "";
  text(
    "spent-axis",
    stepped && measure === "kwh" ? `Power, ${unit}` : `${measure === "kg" ? "CO₂e" : "Energy"} ${per}, ${unit}`,
  );
  text("spent-x", along === "epochs" ? "epoch" : `${clock} of the run`);
  text("each-label", along === "epochs" ? "Each" : "Rate");
  const what = listed().map((i) => [runs[i].name, colour(i)]);
  if (hypothetical()) what.push(["as recorded", "var(--muted)", "dash"]);
  legend("spent-legend", what.length > 1 ? what : []);
  $("chart-epochs").hidden = along !== "epochs";
  $("chart-time").hidden = along !== "time";
  empty(along === "time" && !most ? [] : rows, `chart-${along}`, "spent-axis", "spent-x", "spent-legend");
  text("spent-text", describe(rows, per, along));
  const few = along === "epochs" && points.length <= 240;
  return feed(
    along,
    { lines: rows, points },
    {
      stepped,
      dots: few ? (points.length <= 80 ? 26 : 10) : 0,
      x_min: along === "epochs" && !sum ? 1 : 0,
      x_max: Math.max(most / second || 1, along === "epochs" ? 2 : 0),
    },
  );
}

function describe(rows, per, along) {
  if (!state.shown.size) return "No run is chosen in the table of runs.";
  if (!rows.length) return along === "epochs" ? "No run that is shown has ended an epoch." : "Nothing was spent yet.";
  return listed()
    .map((i) => {
      const own = rows.filter((row) => row.run === runs[i].name && row.kind !== "recorded");
      if (!own.length) return `${runs[i].name}: no epoch.`;
      const by = own.reduce(
        (best, row) => ({ low: row.y < best.low.y ? row : best.low, high: row.y > best.high.y ? row : best.high }),
        { low: own[0], high: own[0] },
      );
      return state.sum
        ? `${runs[i].name}: ${own.at(-1).text} at ${own.at(-1).at}.`
        : `${runs[i].name}: between ${by.low.text} (${by.low.at}) and ${by.high.text} (${by.high.at}).`;
    })
    .join(" ");
}

function power() {
  const main = results[state.main];
  const shown = listed();
  const most = highest([...shown.map((i) => results[i].whole.s), main.whole.s]) || 1;
  const [, second, clock] = clockOf(most);
  const watts = shown.map((i) => {
    const { t, sums } = results[i];
    const rows = t
      .slice(1)
      .map((end, k) => [t[k], end > t[k] ? ((sums.kwh[k + 1] - sums.kwh[k]) * 3.6e6) / (end - t[k]) : NaN]);
    return [i, rows.concat(rows.length ? [[t.at(-1), rows.at(-1)[1]]] : [])];
  });
  const [scale, unit] = unitOf("w", highest(watts.flatMap(([, rows]) => rows.map(([, w]) => w))));
  const row = (i, x, y) => ({ x: x / second, y, colour: colour(i), series: String(i), main: i === state.main });
  const lines = watts.flatMap(([i, rows]) =>
    rows.filter(([, w]) => Number.isFinite(w)).map(([x, w]) => row(i, x, w / scale)),
  );
  const prices = shown.flatMap((i) => {
    const { t, price } = results[i];
    const changes = price.map((g, k) => [t[k], g]).filter(([, g], k) => k === 0 || Math.abs(g - price[k - 1]) > 1e-3);
    const known = changes.concat(price.length ? [[t.at(-1), price.at(-1)]] : []);
    return known.filter(([, g]) => Number.isFinite(g)).map(([x, g]) => row(i, x, g));
  });
  const ribbon = spans(run(), main).map(({ phase, from, to, kwh }) => ({
    x: from / second,
    x2: to / second,
    colour: `var(--phase-${phases.includes(phase) ? phase : "other"})`,
    phase: named(phase),
    at: `${duration(from)}, for ${duration(to - from)}`,
    text: to > from ? quantity("w", (kwh * 3.6e6) / (to - from)) : "-",
  }));
  const kinds = Object.entries(run().phases).filter(([, kwh]) => kwh > 0);
  const whole = kinds.reduce((sum, [, kwh]) => sum + kwh, 0);
  empty(lines, "chart-power", "chart-intensity", "power-axis", "intensity-axis", "power-x");
  text("power-axis", `Power, ${unit}${shown.length > 1 ? `; the ribbon: phases of ${run().name}` : ""}`);
  text("intensity-axis", "Carbon intensity, g/kWh");
  text("power-x", `${clock} of the run`);
  legend(
    "power-legend",
    kinds.map(([name, kwh]) => [
      `${named(name)} ${share(kwh / whole)}`,
      `var(--phase-${phases.includes(name) ? name : "other"})`,
      "box",
    ]),
  );
  const [low, high] = [Math.min, Math.max].map((of) => figures(main.price.reduce((a, b) => of(a, b), main.price[0])));
  text(
    "power-text",
    `${run().name}: ${kinds.map(([name, kwh]) => `${named(name)} ${quantity("kwh", kwh * state.scenario.ratio)}`).join(", ") || "no energy"}${
      run().exact_phases ? "" : ", by the lines of its record"
    }. ${
      prices.length
        ? low === high
          ? `Intensity ${low} g/kWh throughout.`
          : `Intensity from ${low} to ${high} g/kWh, ${figures(main.g)} on average.`
        : ""
    }${waits()}`,
  );
  const signals = { x_min: 0, x_max: most / second };
  return Promise.all([
    feed("power", { lines, phases: ribbon }, signals),
    feed("intensity", { lines: prices }, signals),
  ]);
}

function waits() {
  const { pauses } = run();
  if (!pauses.length) return "";
  const told = pauses
    .slice(0, 5)
    .map(
      ({ begin_s, duration_s, kwh, reason }) =>
        `after ${duration(begin_s)}, ${duration_s === null ? "and not gone on" : `for ${duration(duration_s)} (${quantity("kwh", kwh * state.scenario.ratio)})`}: ${reason}`,
    );
  return ` Paused ${pauses.length === 1 ? "once" : `${pauses.length} times`}, ${told.join("; ")}${pauses.length > 5 ? "; and so on" : ""}.`;
}

const named = (phase) =>
  ({ wait: "pause", earlier: "before this record", train: "training", startup: "start-up" })[phase] ?? phase;

function spans({ bins }, { sums }) {
  const found = [];
  bins.end_s.forEach((to, i) => {
    const last = found.at(-1);
    const kwh = sums.kwh[i + 1] - sums.kwh[i];
    if (last && last.phase === bins.phase[i]) Object.assign(last, { to, kwh: last.kwh + kwh });
    else found.push({ phase: bins.phase[i], from: last ? last.to : 0, to, kwh });
  });
  return found;
}

/** Return the forecasts of the main run, each at the end of an epoch, under the scenario. */
function forecasts() {
  const { epochs, pue } = run();
  const { scenario } = state;
  const now = results[state.main];
  const priced = scenario.g !== null || scenario.start !== null;
  return epochs.number
    .map((number, i) => {
      const of = (end) => {
        const key = state.measure === "kwh" || priced ? `kwh${end}` : `kg_co2e${end}`;
        const value = epochs.forecast[key][i];
        if (value === null) return NaN;
        if (state.measure === "kwh") return value * scenario.ratio;
        return priced
          ? (value * scenario.ratio * now.whole.kg) / (now.whole.kwh || 1)
          : (value * scenario.ratio * (scenario.pue ?? pue)) / pue;
      };
      const done = now.epochs[i]?.of ? null : now.epochs[i];
      return {
        number,
        value: of(""),
        low: of("_low"),
        high: of("_high"),
        spent: done ? done[`sum_${state.measure}`] : NaN,
      };
    })
    .filter((row) => Number.isFinite(row.value));
}
function latestForecast() {
  const last = forecasts().at(-1);
  return last ? { [state.measure]: last.value, low: last.low, high: last.high } : null;
}

function forecast() {
  const rows = forecasts();
  const { measure } = state;
  const now = results[state.main];
  const end = run().ended ? now.whole[measure] : NaN;
  const [scale, unit] = unitOf(measure, highest([...rows.map((row) => row.high), end]));
  empty(rows, "chart-forecast", "forecast-axis", "forecast-x", "forecast-legend");
  text("forecast-axis", `${measure === "kg" ? "CO₂e" : "Energy"} of the whole run, ${unit}`);
  const entries = [
    ["forecast", "var(--forecast)"],
    ["its 90 % interval", "var(--forecast)", "band"],
    ["spent by then", "var(--spent)"],
  ];
  if (run().ended) entries.push(["what it came to", "var(--ink)", "dash"]);
  legend("forecast-legend", entries);
  const [first, last] = [rows[0], rows.at(-1)];
  const between = (row) => `${quantity(measure, row.low)} to ${quantity(measure, row.high)}`;
  const planned = state.scenario.epochs !== null ? " It is for the number of epochs that was planned." : "";
  text(
    "forecast-text",
    !rows.length
      ? `${run().name} has no forecast in its record: its length was not known, or no epoch ended.`
      : `${run().name}: ${quantity(measure, first.value)} (${between(first)}) after epoch ${first.number}; ${quantity(measure, last.value)} (${between(last)}) after epoch ${last.number}.${
          run().ended ? ` It came to ${quantity(measure, end)}.` : ""
        }${planned}`,
  );
  return feed(
    "forecast",
    {
      forecasts: rows.map((row) => ({
        x: row.number,
        value: row.value / scale,
        low: row.low / scale,
        high: row.high / scale,
        spent: Number.isFinite(row.spent) ? row.spent / scale : null,
        at: `epoch ${row.number}`,
        text: quantity(measure, row.value),
        between: between(row),
        spent_text: quantity(measure, row.spent),
      })),
      final: Number.isFinite(end) ? [{ value: end / scale }] : [],
    },
    {
      x_min: rows.length ? rows[0].number : 0,
      x_max: Math.max(rows.length ? rows.at(-1).number : 1, (rows.length ? rows[0].number : 0) + 1),
      dots: rows.length <= 40 ? 26 : 0,
    },
  );
}

const places = () => feed("places", {}, { picked: state.place });

let startRows = [];
function starts() {
  if (!series) return Promise.resolve();
  const kg = model.starts(run(), { ...state.scenario, epochs: null }, series);
  startRows = kg
    .map((value, hour) => ({ hour, time: (series.begin + hour * 3600) * 1e3, kg: value }))
    .filter((row) => Number.isFinite(row.kg));
  const [scale, unit] = unitOf("kg", highest(startRows.map((row) => row.kg)));
  text("starts-axis", `CO₂e of the whole run, ${unit}`);
  const by = startRows.reduce(
    (best, row) => ({ low: row.kg < best.low.kg ? row : best.low, high: row.kg > best.high.kg ? row : best.high }),
    { low: startRows[0], high: startRows[0] },
  );
  text(
    "starts-text",
    startRows.length
      ? `Least ${quantity("kg", by.low.kg)} from ${startOf(by.low.time / 1e3)}, most ${quantity("kg", by.high.kg)} from ${startOf(by.high.time / 1e3)}; as recorded ${quantity("kg", run().kg)}.`
      : "The run is longer than the series: no start is priced.",
  );
  $("start").disabled = !startRows.length;
  empty(startRows, "chart-starts", "starts-axis");
  return feed(
    "starts",
    { starts: startRows.map((row) => ({ time: row.time, y: row.kg / scale })), marks: marks() },
    { daily: series.daily },
  );
}
const marks = (hovered = null) => [
  ...(state.scenario.start !== null ? [{ time: state.scenario.start * 1e3, kind: "picked" }] : []),
  ...(hovered === null ? [] : [{ time: hovered, kind: "hovered" }]),
];
