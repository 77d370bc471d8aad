/* How quantities are written: as everywhere in wattloop, with three figures and the unit that fits. */
const UNITS = {
  kg: [
    [1e3, "t"],
    [1, "kg"],
    [1e-3, "g"],
    [1e-6, "mg"],
  ],
  kwh: [
    [1e3, "MWh"],
    [1, "kWh"],
    [1e-3, "Wh"],
    [1 / 3.6e6, "J"],
  ],
  w: [
    [1e6, "MW"],
    [1e3, "kW"],
    [1, "W"],
  ],
};
const highest = (values) => values.reduce((most, one) => (one > most ? one : most), 0);
const unitOf = (measure, value) => UNITS[measure].find(([scale]) => Math.abs(value) >= scale) ?? UNITS[measure].at(-1);
function figures(value, digits = 3) {
  if (!Number.isFinite(value)) return "not known";
  if (Math.abs(value) >= 999.5) return Math.round(value).toLocaleString("en");
  return String(Number(value.toPrecision(digits)));
}
/* What a carbon intensity counts. */
const COUNTED = {
  "life-cycle": "life-cycle intensity",
  direct: "direct intensity (what power plants emit)",
  mixed: "mixed intensity (direct for fossil fuels, life-cycle for the rest)",
  operational: "operational intensity (what its cloud publishes)",
};
/** Write a share, of which only a whole one is all. */
const share = (fraction) => `${fraction > 1 - 1e-9 ? 100 : figures(Math.min(100 * fraction, 99.9))} %`;
const CO2E = { kg: " CO₂e", kwh: "", w: "" };
function quantity(measure, value) {
  if (!Number.isFinite(value)) return "not known";
  const [scale, unit] = unitOf(measure, value);
  return `${figures(value / scale)} ${unit}${CO2E[measure]}`;
}
/** Write a quantity and its half-width in one unit, with as many places as the latter has two figures. */
function withDoubt(measure, value, doubt) {
  const [scale, unit] = unitOf(measure, value);
  const [v, d] = [value / scale, doubt / scale];
  if (!Number.isFinite(v)) return ["not known", ""];
  if (!(d > 0)) return [figures(v), `${unit}${CO2E[measure]}`];
  const places = Math.max(0, Math.min(6, 1 - Math.floor(Math.log10(d))));
  const fixed = (x) => x.toLocaleString("en", { minimumFractionDigits: places, maximumFractionDigits: places });
  return [fixed(v), `± ${fixed(d)} ${unit}${CO2E[measure]}`];
}
function duration(s) {
  const minutes = Math.floor(Math.round(s) / 60);
  const hours = Math.floor(minutes / 60);
  if (hours >= 48) return `${Math.floor(hours / 24)} d ${hours % 24} h`;
  if (hours) return `${hours} h ${String(minutes % 60).padStart(2, "0")} min`;
  return minutes ? `${minutes} min ${String(Math.round(s) % 60).padStart(2, "0")} s` : `${Math.round(s)} s`;
}
const hourOf = (time_s) => new Date(time_s * 1e3).toISOString().slice(0, 16).replace("T", " ");
const startOf = (time_s) => (series.daily ? `${hourOf(time_s).slice(11)} UTC` : `${hourOf(time_s)} UTC`);
const times = (ratio) => (ratio >= 1 ? `${figures(ratio)} times as much` : `${figures(100 * (1 - ratio))} % less`);
