/* Controls and previews, and how the page begins. */
let pointed = null;
const elsewhere = (g) => footprint(state.main, { ...state.scenario, g, start: null });
function preview(kind, message) {
  all(`[data-preview=${kind}]`).forEach((line) => {
    line.textContent =
      message ??
      { place: "Point at a place to see, click to choose.", start: "Point at an hour to see, click to choose." }[kind];
    line.classList.toggle("live", Boolean(message));
  });
}
/** Tell what a place would make of the run: the one pointed at, else the one that was chosen. */
function previewPlace(input) {
  pointed = input;
  input ??= state.place ? radioOf(state.place) : null;
  if (views.places) views.places.signal("hovered", pointed ? pointed.value : "").runAsync();
  if (!input || !input.dataset.g) return preview("place");
  const g = Number(input.dataset.g);
  const [there, here] = [elsewhere(g).kg, footprint(state.main, { ...state.scenario, g: null, start: null }).kg];
  const ratio = here > 0 ? `, ${times(there / here)}` : "";
  return preview(
    "place",
    `${input.nextElementSibling.textContent}: ${quantity("kg", there)}${ratio} (${figures(g)} g/kWh)`,
  );
}
const radioOf = (code) => (code ? document.querySelector(`input[name=place][value="${CSS.escape(code)}"]`) : null);

function choosePlace(code) {
  const input = radioOf(code) ?? document.querySelector("input[name=place][value='']");
  input.checked = true;
  const [row, box] = [input.parentElement, $("places")];
  const [top, bottom] = [row.offsetTop - box.offsetTop, row.offsetTop - box.offsetTop + row.offsetHeight];
  if (top < box.scrollTop || bottom > box.scrollTop + box.clientHeight) box.scrollTop = top - box.clientHeight / 2;
  state.place = input.value;
  state.scenario.g = input.dataset.g ? Number(input.dataset.g) : null;
  if (state.place) setStart(null);
  refresh();
}
function setStart(start) {
  state.scenario.start = start;
  if (!series) return;
  $("start").value = start === null ? 0 : (start - series.begin) / 3600;
  if ($("start-time")) $("start-time").value = start === null ? "" : hourOf(start).replace(" ", "T");
  text("start-value", start === null ? "as recorded" : startOf(start));
  $("start").setAttribute("aria-valuetext", $("start-value").textContent);
}
function chooseStart(hour) {
  const row = startRows.reduce(
    (best, one) => (Math.abs(one.hour - hour) < Math.abs(best.hour - hour) ? one : best),
    startRows[0],
  );
  if (!row) return;
  state.place = "";
  state.scenario.g = null;
  document.querySelector("input[name=place][value='']").checked = true;
  setStart(row.time / 1e3);
  refresh();
}
/** Return what is entered: null for nothing, undefined for what is refused, which the page says. */
function number(input) {
  const { badInput, rangeUnderflow, rangeOverflow } = input.validity;
  const refused = badInput || rangeUnderflow || rangeOverflow;
  refuse(input, refused && `Not used: a number from ${input.min} to ${input.max} is expected.`);
  if (refused) return undefined;
  return input.value.trim() === "" ? null : Number(input.value);
}
function refuse({ id }, why) {
  $(id).setAttribute("aria-invalid", Boolean(why));
  text(`${id}-refused`, why || "");
}
/** Show the places that go by all the words. */
function sift() {
  const words = $("find").value.toLowerCase().split(/\s+/).filter(Boolean);
  let group = null;
  for (const row of $("places").children) {
    if (row.classList.contains("group")) {
      group = row;
      group.hidden = true;
      continue;
    }
    const input = row.querySelector("input");
    const label = `${input.value} ${row.textContent}`.toLowerCase();
    row.hidden = !words.every((word) => label.includes(word));
    if (!row.hidden && group) group.hidden = false;
  }
}
function settle() {
  const own = run();
  const done = own.epochs.number.at(-1);
  $("pue").value = $("pue-range").value = figures(own.pue, 4);
  $("epochs").value = own.at_epoch_end ? done : "";
  $("epochs").disabled = $("basis").disabled = done === undefined;
  text(
    "epochs-note",
    done === undefined
      ? `${own.name} has no epochs in its record.`
      : own.at_epoch_end
        ? `Recorded: ${done}. Fewer: as if it had been stopped there.`
        : `Recorded: ${done}, and what came after, which counts only while this is empty: a number is of whole epochs.`,
  );
  $("ratio").value = 1;
  for (const id of ["to", "basis"]) $(id).value = "";
  // By name, as several devices may share a value.
  $("from").selectedIndex = Math.max(
    0,
    [...$("from").options].findIndex((option) => option.textContent === own.device),
  );
  $("last").hidden = true;
  for (const id of ["pue", "ratio", "epochs", "last"]) refuse($(id), "");
  $("find").value = "";
  sift();
  setStart(null);
}
function reset() {
  Object.assign(state, { scenario: { ...NOTHING }, place: "" });
  document.querySelector("input[name=place][value='']").checked = true;
  settle();
  return refresh();
}
function wire() {
  for (const [name, pick] of [
    [
      "measure",
      (v) => {
        state.measure = v;
      },
    ],
    [
      "along",
      (v) => {
        state.along = v;
      },
    ],
    [
      "sum",
      (v) => {
        state.sum = v === "sum";
      },
    ],
  ]) {
    all(`input[name=${name}]`).forEach((input) =>
      input.addEventListener("change", async () => {
        pick(input.value);
        if (name === "along") {
          $("chart-epochs").hidden = state.along !== "epochs";
          $("chart-time").hidden = state.along !== "time";
          await draw(state.along);
          fit();
        }
        refresh();
      }),
    );
  }
  $("places").addEventListener("change", (event) => {
    choosePlace(event.target.value);
  });
  $("places").addEventListener("pointerover", (event) =>
    previewPlace(event.target.closest("label")?.querySelector("input")),
  );
  $("places").addEventListener("pointerleave", () => previewPlace(null));
  $("find").addEventListener("input", sift);
  $("find").addEventListener("keydown", (event) => {
    const first = [...$("places").querySelectorAll("label:not([hidden]) input[data-g]")][0];
    if (event.key === "Enter" || event.key === "ArrowDown") {
      event.preventDefault();
      if (first) {
        choosePlace(first.value);
        first.focus();
      }
    }
  });
  const pue = (source) => () => {
    const value = number(source) ?? null;
    if (value === null) return;
    for (const other of [$("pue"), $("pue-range")]) {
      if (other === source) continue;
      other.value = value;
      refuse(other, "");
    }
    state.scenario.pue = Math.abs(value - Number(figures(run().pue, 4))) < 1e-9 ? null : value;
    refresh();
  };
  for (const id of ["pue", "pue-range"]) $(id).addEventListener("input", pue($(id)));
  for (const id of ["from", "to"]) {
    $(id).addEventListener("change", () => {
      const [from, to] = [Number($("from").value), Number($("to").value)];
      // What a run was on says nothing yet; a ratio that was typed in stays.
      if (id === "from" && !to) return;
      state.scenario.ratio = from && to ? from / to : 1;
      state.scenario.to = from && to ? to : null;
      $("ratio").value = figures(state.scenario.ratio, 4);
      refuse($("ratio"), "");
      refresh();
    });
  }
  $("ratio").addEventListener("input", () => {
    const value = number($("ratio")) ?? null;
    if (value === null) return;
    $("to").value = "";
    Object.assign(state.scenario, { ratio: value, to: null });
    refresh();
  });
  const epochs = () => {
    const byLast = $("basis").value === "last";
    $("last").hidden = !byLast;
    if (!byLast) refuse($("last"), "");
    const [asked, last] = [number($("epochs")), byLast ? number($("last")) : null];
    if (asked === undefined || last === undefined) return;
    const value = asked === null ? null : Math.round(asked);
    const recorded = run().at_epoch_end && value === run().epochs.number.at(-1);
    Object.assign(state.scenario, { epochs: recorded ? null : value, last: byLast ? Math.round(last ?? 5) : null });
    refresh();
  };
  for (const id of ["epochs", "basis", "last"]) $(id).addEventListener("input", epochs);
  if (series) $("start").addEventListener("input", () => chooseStart(Number($("start").value)));
  if ($("start-time")) {
    $("start-time").addEventListener("change", () => {
      const time_s = Date.parse(`${$("start-time").value}Z`) / 1e3;
      if (Number.isFinite(time_s)) chooseStart(Math.floor((time_s - series.begin) / 3600));
      else {
        setStart(null);
        refresh();
      }
    });
  }
  all(".reset").forEach((button) =>
    button.addEventListener("click", () => {
      reset();
      $("whatif").focus({ preventScroll: true });
    }),
  );
  $("whatif").addEventListener("submit", (event) => event.preventDefault());
  if ($("main")) {
    $("main").addEventListener("change", () => {
      state.main = Number($("main").value);
      if (state.shown.size >= MOST && !state.shown.has(state.main)) state.shown.delete([...state.shown].at(-1));
      state.shown.add(state.main);
      all(".show").forEach((box) => {
        box.checked = state.shown.has(Number(box.value));
      });
      reset();
    });
  }
  all(".show").forEach((box) =>
    box.addEventListener("change", () => {
      if (box.checked) state.shown.add(Number(box.value));
      else state.shown.delete(Number(box.value));
      refresh();
    }),
  );
  all("details.table").forEach((details) =>
    details.addEventListener("toggle", () => {
      if (details.open) fill(details);
    }),
  );
  all("[data-term]").forEach((part) => {
    const light = (on) => () =>
      all(`[data-term="${part.dataset.term}"]`).forEach((other) => other.classList.toggle("lit", on));
    for (const [event, on] of [
      ["pointerenter", true],
      ["pointerleave", false],
      ["focusin", true],
      ["focusout", false],
    ])
      part.addEventListener(event, light(on));
  });
}

/** Let charts that were hidden find their width. */
function fit() {
  window.dispatchEvent(new Event("resize"));
}

async function draw(name) {
  if (views[name] || !$(`chart-${name}`)) return;
  const { view } = await vegaEmbed(`#chart-${name}`, charts[name], {
    actions: false,
    logLevel: 1,
    renderer: "svg",
    ast: true,
    defaultStyle: false,
    tooltip: { disableDefaultStyle: true },
  });
  views[name] = view;
  // The figure has a text of its own, and a table.
  view.container().querySelector("svg").setAttribute("aria-hidden", "true");
  if (name === "places") {
    const codeOf = (item) => (item && item.datum ? item.datum.id : "");
    view.addEventListener("pointermove", (_, item) => previewPlace(radioOf(codeOf(item))));
    view.addEventListener("pointerout", () => previewPlace(null));
    view.addEventListener("click", (_, item) => {
      if (radioOf(codeOf(item))) choosePlace(codeOf(item));
    });
  }
  if (name === "starts") {
    const rowAt = (event) => {
      const [x] = [event.offsetX - view.origin()[0]];
      const time = Number(view.scale("x").invert(x));
      return startRows.reduce(
        (best, row) => (Math.abs(row.time - time) < Math.abs(best.time - time) ? row : best),
        startRows[0],
      );
    };
    view.addEventListener("pointermove", (event) => {
      const row = rowAt(event);
      if (row)
        preview(
          "start",
          `From ${startOf(row.time / 1e3)}: ${quantity("kg", row.kg)}, as recorded ${quantity("kg", run().kg)}`,
        );
      feed("starts", { marks: marks(row ? row.time : null) });
    });
    view.addEventListener("pointerout", () => {
      preview("start");
      feed("starts", { marks: marks() });
    });
    view.addEventListener("click", (event) => {
      const row = rowAt(event);
      if (row) chooseStart(row.hour);
    });
  }
}

async function begin() {
  if (!runs.some((one) => one.epochs.number.length)) {
    state.along = "time";
    all("input[name=along]").forEach((input) => {
      input.checked = input.value === "time";
      input.disabled = input.value === "epochs";
    });
    $("chart-epochs").hidden = true;
    $("chart-time").hidden = false;
  }
  wire();
  settle();
  preview("start");
  for (const name of [state.along, "power", "intensity", "forecast", "places", "starts"]) {
    // The numbers and the tables do without a chart that a browser cannot draw.
    await draw(name).catch(console.error);
  }
  await refresh();
  await new Promise((painted) => requestAnimationFrame(() => setTimeout(painted)));
  performance.mark("wattloop:ready");
  document.documentElement.dataset.ready = "true";
}
window.wattloop = { model, state, runs, series, quantity };
begin();
