/* What stands in the page: the headline, the equation, the banner and the table of runs. */
const run = () => runs[state.main];
const colour = (i) => `var(--run-${[...state.shown].sort((a, b) => a - b).indexOf(i) % 6})`;
const hypothetical = () =>
  Object.entries(NOTHING).some(([key, value]) => key !== "last" && state.scenario[key] !== value);
/** Return what a run spends under a scenario; on other hardware, each by what its own record says it was on. */
function footprint(i, scenario = state.scenario) {
  const own = PER_WATT.get(runs[i].device);
  const ratio = scenario.to === null || i === state.main ? scenario.ratio : own ? own / scenario.to : 1;
  return model.footprint(runs[i], { ...scenario, ratio }, series);
}
const text = (id, value) => {
  // A status that is written anew is read out anew.
  if ($(id) && $(id).textContent !== value) $(id).textContent = value;
};

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children.filter((child) => child !== null));
  return made;
}
function legend(id, entries) {
  $(id).replaceChildren(
    ...entries.map(([name, tint, kind]) => {
      const mark = element("i", { className: kind ?? "" });
      mark.style.setProperty("--colour", tint);
      return element("span", {}, mark, name);
    }),
  );
}
/** Take away what says nothing when there are no rows to draw. */
function empty(rows, ...ids) {
  const before = $(ids[0]).classList.contains("none");
  for (const id of ids) $(id).classList.toggle("none", !rows.length);
  if (before && rows.length) fit();
}
async function feed(name, data, signals = {}) {
  const view = views[name];
  if (!view) return;
  for (const [key, value] of Object.entries(signals)) view.signal(key, value);
  for (const [key, rows] of Object.entries(data)) view.data(key, rows);
  await view.runAsync();
}

function refresh() {
  results = runs.map((_, i) => (state.shown.has(i) || i === state.main || hypothetical() ? footprint(i) : null));
  document.body.classList.toggle("if", hypothetical());
  headline();
  equation();
  banner();
  text("place-note", placeNote());
  table();
  previewPlace(pointed);
  const drawn = Promise.all([spent(), power(), forecast(), places(), starts()]);
  all("details.table[open]").forEach(fill);
  return drawn;
}

function headline() {
  const [now, one] = [results[state.main], run()];
  text("title", one.name);
  const first = state.measure;
  const second = first === "kg" ? "kwh" : "kg";
  const [value, unit] = withDoubt(first, now[first], now.uncertainty[first]);
  $("number").replaceChildren(`${value} `, element("small", { textContent: unit }));
  text("second", withDoubt(second, now[second], now.uncertainty[second]).join(" "));
  const standing =
    {
      running: "So far: the run was going on when this page was made.",
      killed: "Until its last line: the record has no end.",
    }[one.status] ?? "";
  const ahead = latestForecast();
  const more =
    !one.ended && ahead && !hypothetical()
      ? ` Forecast of the whole run: ${quantity(first, ahead[first])} (${quantity(first, ahead.low)} to ${quantity(first, ahead.high)}).`
      : "";
  const lost = one.lost_kwh > 0 ? ` ${quantity("kwh", one.lost_kwh)} of it went into work that was lost.` : "";
  text("standing", `${standing}${more}${lost}`.trim());
  const facts = [
    ["Place", placeName()],
    ["Time", duration(now.s)],
    ["Mean power", now.s > 0 ? quantity("w", (now.kwh * 3.6e6) / now.s) : "-"],
    ["Measured", share(one.measured)],
    ["GPUs", one.gpus_named || (one.gpus ? figures(one.gpus) : "none")],
    ["Epochs", one.epochs.number.length ? String(now.epochs.length ? now.epochs.at(-1).number : 0) : "none"],
  ];
  if (one.cpu_kwh > 0 && one.kwh > 0) {
    facts.push(["CPU and memory", `${share(one.cpu_kwh / one.kwh)} of the energy`]);
  }
  if (one.kind !== "average") facts.push(["Intensity", one.kind]);
  if (one.kg_net !== null && now.kg >= 0)
    facts.push([`Net of ${share(one.net_share)} clean energy`, quantity("kg", now.kg * (1 - one.net_share))]);
  if (one.kg_embodied !== null)
    facts.push(["Embodied, apart", `${quantity("kg", one.kg_embodied)}${hypothetical() ? " as recorded" : ""}`]);
  if (one.budget_kg !== null)
    facts.push(["Budget", `${figures((100 * now.kg) / one.budget_kg)} % of ${quantity("kg", one.budget_kg)}`]);
  if (one.budget_kwh !== null)
    facts.push(["Budget", `${figures((100 * now.kwh) / one.budget_kwh)} % of ${quantity("kwh", one.budget_kwh)}`]);
  $("facts").replaceChildren(
    ...facts.map(([name, value]) =>
      element("div", {}, element("dt", { textContent: name }), element("dd", { textContent: value })),
    ),
  );
}

function placeName() {
  if (state.place)
    return document.querySelector(`input[name=place][value="${CSS.escape(state.place)}"] + span`).textContent;
  const row = document.querySelector(`#runs tr[data-run="${state.main}"] td:nth-of-type(2)`);
  return row ? row.textContent : run().region;
}

/** Tell, in a sentence, what of a comparison with places is not one between places. */
function placeNote() {
  const compared = [...new Set([state.main, ...state.shown])].map((i) => runs[i]);
  const subject = (odd) => (odd[0] === run() ? "This run" : odd[0].name);
  const odd = compared.filter((one) => one.kind !== "average");
  if (odd.length) {
    const priced = odd[0].kind === "marginal" ? "priced at marginal intensity" : "priced in part at marginal intensity";
    return `${subject(odd)} was ${priced}, places are by a year's average: the difference is not one of places alone.`;
  }
  const basis = radioOf(state.place)?.dataset.basis;
  const other = compared.filter((one) => basis && one.bases.some((own) => own !== basis));
  if (!other.length) return "";
  const own = other[0].bases.map((one) => COUNTED[one]).join(" and ");
  return `${subject(other)} was priced at ${own}, ${placeName()} is at ${COUNTED[basis]}: the difference is not one of places alone.`;
}

function equation() {
  const [now, scenario] = [results[state.main], state.scenario];
  const { more = 0, own, whole } = now;
  text("eq-energy", `${more ? "(" : ""}${quantity("kwh", own.kwh / scenario.ratio)}`);
  $("eq-more").hidden = $("eq-more-op").hidden = !more;
  if (more) text("eq-epochs", `${more} × ${quantity("kwh", now.each.kwh / scenario.ratio)})`);
  text("eq-ratio", figures(scenario.ratio));
  const [from, to] = ["from", "to"].map((id) => $(id).selectedOptions[0]);
  text("eq-ratio-name", from.value && to.value ? `${to.textContent} for ${from.textContent}` : "hardware");
  text("ratio-note", ratioNote(from, to));
  text("eq-pue", figures(now.pue));
  text("eq-g", `${figures(now.g)} g/kWh`);
  text(
    "eq-g-name",
    state.place
      ? `intensity, ${placeName()}`
      : scenario.start !== null
        ? `mean intensity from ${startOf(scenario.start)}`
        : `mean intensity${run().kind === "average" ? "" : `, ${run().kind}`}`,
  );
  text("eq-kg", quantity("kg", now.kg));
  const last = now.epochs.findLast((epoch) => !epoch.more);
  const until = `Energy until the end of epoch ${last?.number ?? 0}`;
  text(
    "eq-note",
    [
      own === whole ? "" : more ? `${until}: what came after is not counted, as more epochs are whole ones.` : `${until}.`,
      last?.of
        ? `Epochs ${last.of.number - last.of.count + 1} to ${last.of.number} are one row here, of which a share is taken.`
        : "",
      more ? "More epochs are as the mean of those before; ± holds their scatter, too." : "",
      "Intensity is weighted by energy, moment by moment.",
    ]
      .filter(Boolean)
      .join(" "),
  );
}

/** Tell by what each run is put on other hardware. */
function ratioNote(from, to) {
  const { scenario } = state;
  if (to.value && !from.value) return `Choose what ${run().name} ran on, too.`;
  if (scenario.to === null)
    return scenario.ratio !== 1 && runs.length > 1 ? "This ratio is applied to all runs." : RATIO_NOTE;
  const guess = `${figures(Number(from.value))} against ${figures(scenario.to)} FP32 GFLOPS per watt of TDP: a rough guess.`;
  if (runs.length === 1) return guess;
  const unknown = runs.filter((one, i) => i !== state.main && !PER_WATT.has(one.device)).map((one) => one.name);
  const names = unknown.length > 4 ? `${unknown.length} runs` : unknown.join(", ");
  return `${guess} Other runs go by the hardware on their own record.${names && ` Not scaled, as theirs is not known: ${names}.`}`;
}

function banner() {
  const { scenario } = state;
  all(".reset").forEach((button) => {
    button.disabled = !hypothetical();
  });
  if (!hypothetical())
    return text("banner-text", "As recorded. Change a control under \u201cWhat if\u201d to see other circumstances.");
  const now = results[state.main];
  const before = footprint(state.main, NOTHING);
  const told = [
    state.place && `in ${placeName()}`,
    scenario.start !== null && `started at ${startOf(scenario.start)}`,
    scenario.pue !== null && `PUE ${figures(scenario.pue)}`,
    scenario.to !== null && `on ${$("to").selectedOptions[0].textContent}`,
    scenario.ratio !== 1 && `energy × ${figures(scenario.ratio)}`,
    scenario.epochs !== null && `${scenario.epochs} epoch${scenario.epochs === 1 ? "" : "s"}`,
  ]
    .filter(Boolean)
    .join(", ");
  text(
    "banner-text",
    `What if: these numbers are hypothetical, ${told}. ${quantity("kg", now.kg)} instead of ${quantity("kg", before.kg)}.`,
  );
}

function table() {
  all("#runs .if").forEach((cell) => {
    cell.hidden = !hypothetical();
  });
  all("#runs tbody tr").forEach((row) => {
    const i = Number(row.dataset.run);
    if (i === state.main && runs.length > 1) row.setAttribute("aria-current", "true");
    else row.removeAttribute("aria-current");
    const swatch = row.querySelector(".swatch");
    if (swatch) swatch.style.setProperty("--colour", state.shown.has(i) ? colour(i) : "transparent");
    for (const key of ["kwh", "kg"]) {
      row.querySelector(`[data-if=${key}]`).textContent = hypothetical() ? quantity(key, results[i][key]) : "";
    }
  });
  all("#runs .show").forEach((box) => {
    box.disabled = !box.checked && state.shown.size >= MOST;
  });
}
