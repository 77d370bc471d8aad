/* The formulas, and nothing of the page: what a run would have spent under other circumstances.
 *
 *   kWh = E x ratio          E: as recorded; until an epoch's end; or with more, each as the mean of all or of the last k
 *   kg  = sum of kWh x PUE x g / 1000 over the spans of time, at the intensity of each
 *
 * scenario: { g, start, pue, ratio, epochs, last }, of which all but ratio (1) may be null: as recorded.
 * Of a run that ended amid an epoch, a number of epochs counts whole ones alone.
 * series: { begin, hours: [g or null, ...], daily }, begin and times in seconds since 1970.
 */
const model = (() => {
  const HOUR = 3600;
  const Z = 1.6448536269514722; // of a two-sided interval that holds 90 %
  const ROWS = 200; // of epochs that were not run, at most: they lie on a straight line

  /** Return the function that gives the mean of an hourly series between two moments, NaN where a value is missing. */
  function meanOf(series) {
    const sums = [0];
    for (const g of series.hours) sums.push(sums[sums.length - 1] + (g === null ? NaN : g) * HOUR);
    const length = series.hours.length * HOUR;
    const until = (s) => {
      const turns = series.daily ? Math.floor(s / length) : 0;
      const rest = s - turns * length;
      if (rest < 0 || rest > length) return NaN;
      const hour = Math.min(Math.floor(rest / HOUR), series.hours.length - 1);
      const part = rest - hour * HOUR;
      return turns * sums[series.hours.length] + sums[hour] + (part > 0 ? series.hours[hour] * part : 0);
    };
    const gap = series.hours.includes(null);
    return (from, to) => {
      const [a, b] = [from - series.begin, to - series.begin];
      if (!gap) return to > from ? (until(b) - until(a)) / (b - a) : value(series, a);
      let area = 0;
      for (let at = a; at < b && !Number.isNaN(area);) {
        const end = Math.min(b, (Math.floor(at / HOUR) + 1) * HOUR);
        area += value(series, at) * (end - at);
        at = end;
      }
      return b > a ? area / (b - a) : value(series, a);
    };
  }

  function value(series, s) {
    const count = series.hours.length;
    const hour = Math.floor(s / HOUR);
    const g = series.hours[series.daily ? ((hour % count) + count) % count : hour];
    return g === null || g === undefined ? NaN : g;
  }

  /** Return the seconds since 1970 at which a moment of the run was, in a session that began then. */
  function wall(run, session, s) {
    return run.sessions[session].time_s + s - run.sessions[session].begin_s;
  }

  /** Return what a run spends under a scenario; cumulative columns stand for the ends of the spans in `t`. */
  function footprint(run, scenario, series) {
    const { bins } = run;
    const mean = scenario.start !== null && series ? meanOf(series) : null;
    const shift = mean && run.sessions.length ? scenario.start - run.sessions[0].time_s : 0;
    const t = [0],
      kwh = [0],
      kg = [0],
      price = [],
      pue = [];
    bins.end_s.forEach((end, i) => {
      const begin = t[i];
      const session = bins.session[i];
      const g = mean
        ? mean(wall(run, session, begin) + shift, wall(run, session, end) + shift)
        : (scenario.g ?? bins.g[i]);
      const p = scenario.pue ?? run.sessions[session].pue;
      const spent = bins.kwh[i] * scenario.ratio;
      t.push(end);
      kwh.push(kwh[i] + spent);
      kg.push(kg[i] + (spent ? (spent * p * g) / 1000 : 0));
      price.push(g);
      pue.push(p);
    });
    const last = t.length - 1;
    const whole = { kwh: kwh[last], kg: kg[last], s: t[last] };
    const epochs = epochsOf(run, scenario, { t, kwh, kg });
    const spread = { kwh: 0, kg: 0 };
    // What counts of the record, and then with what was not run.
    let own = whole;
    let total = { ...whole };
    if (scenario.epochs !== null && epochs.length) {
      const done = epochs[epochs.length - 1].number;
      const more = scenario.epochs - done;
      if (more < 0) cut(epochs, scenario.epochs, { t, kwh, kg });
      if (more < 0 || !run.at_epoch_end) {
        const { sum_kwh, sum_kg, end_s } = epochs[epochs.length - 1] ?? { sum_kwh: 0, sum_kg: 0, end_s: 0 };
        own = { kwh: sum_kwh, kg: sum_kg, s: end_s };
      }
      total = { ...own };
      if (more > 0) {
        const each = meanEpoch(epochs, scenario.last);
        const wide = each.count > 1 ? Z * Math.sqrt(more + (more * more) / each.count) : 0;
        for (const key of ["kwh", "kg"]) spread[key] = wide * each[`sd_${key}`];
        const then = (one) => ({ kwh: own.kwh + one * each.kwh, kg: own.kg + one * each.kg, s: own.s + one * each.s });
        const apart = Math.ceil(more / ROWS);
        for (let one = more % apart || apart; one <= more; one += apart) {
          const { kwh: sum_kwh, kg: sum_kg, s: end_s } = then(one);
          epochs.push({ number: done + one, count: 1, kwh: each.kwh, kg: each.kg, end_s, more: true, sum_kwh, sum_kg });
        }
        total = { ...then(more), more, each };
      }
    }
    const unsure = run.kwh > 0 ? run.uncertainty_kwh / run.kwh : 0;
    const perKwh = total.kwh > 0 ? total.kg / total.kwh : 0;
    const meanPue = mix(pue, kwh);
    return {
      ...total,
      own,
      whole,
      t,
      sums: { kwh, kg },
      price,
      epochs,
      perKwh,
      uncertainty: { kwh: unsure * total.kwh + spread.kwh, kg: unsure * total.kg + spread.kg },
      pue: meanPue ?? scenario.pue ?? run.pue,
      g: meanPue && total.kwh > 0 ? (perKwh * 1000) / meanPue : (scenario.g ?? run.mean_g),
    };
  }

  function mix(values, sums) {
    const total = sums[sums.length - 1];
    return total > 0 ? values.reduce((sum, one, i) => sum + one * (sums[i + 1] - sums[i]), 0) / total : null;
  }

  function epochsOf(run, scenario, { t, kwh, kg }) {
    const columns = run.epochs;
    return columns.number.map((number, i) => {
      const [begin, end] = [columns.begin_s[i], columns.end_s[i]];
      const [k0, k1, c0, c1] = [at(t, kwh, begin), at(t, kwh, end), at(t, kg, begin), at(t, kg, end)];
      const own = columns.kwh[i] * scenario.ratio;
      return {
        number,
        count: columns.count[i],
        begin_s: begin,
        end_s: end,
        more: false,
        kwh: own,
        kg: k1 > k0 ? (own * (c1 - c0)) / (k1 - k0) : c1 - c0,
        sum_kwh: k1,
        sum_kg: c1,
      };
    });
  }

  /** Leave the epochs until the end of one; of a row of several, the share that is over by then. */
  function cut(epochs, number, { t, kwh, kg }) {
    const kept = epochs.filter((epoch) => epoch.number <= number).length;
    const [row] = epochs.splice(kept);
    const part = (number - (row.number - row.count)) / row.count;
    if (part <= 0) return;
    const end_s = row.begin_s + part * (row.end_s - row.begin_s);
    epochs.push({
      ...row,
      number,
      count: part * row.count,
      end_s,
      kwh: part * row.kwh,
      kg: part * row.kg,
      sum_kwh: at(t, kwh, end_s),
      sum_kg: at(t, kg, end_s),
      of: row,
    });
  }

  /** Return what an epoch spends on average, over all or the last k, and how that scatters. */
  function meanEpoch(epochs, last) {
    const used = [];
    const most = last ?? Infinity;
    let count = 0;
    for (let i = epochs.length - 1; i >= 0 && count < most; i--) {
      const taken = Math.min(epochs[i].count, most - count);
      used.push([epochs[i], taken]);
      count += taken;
    }
    const mean = (of) => used.reduce((sum, [row, taken]) => sum + (of(row) / row.count) * taken, 0) / count;
    const means = { count, s: mean((row) => row.end_s - row.begin_s) };
    for (const key of ["kwh", "kg"]) {
      means[key] = mean((row) => row[key]);
      // Epochs that are one row scatter less together, by just what dividing by rows makes up for.
      const squares = used.reduce((sum, [row, taken]) => sum + taken * (row[key] / row.count - means[key]) ** 2, 0);
      means[`sd_${key}`] = used.length > 1 ? Math.sqrt(squares / (used.length - 1)) : 0;
    }
    return means;
  }

  /** Return the value of a cumulative column at a moment, between its points along a straight line. */
  function at(t, sums, s) {
    let [low, high] = [0, t.length - 1];
    if (s >= t[high]) return sums[high];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (t[middle] <= s) low = middle;
      else high = middle;
    }
    const width = t[high] - t[low];
    return width > 0 ? sums[low] + ((sums[high] - sums[low]) * (s - t[low])) / width : sums[low];
  }

  /** Return the run's emissions for every hour of the series at which it could have started, NaN where not known. */
  function starts(run, scenario, series) {
    const spent = [];
    // What lies after the series has no price, whenever the run begins.
    const last = series.daily ? Infinity : series.hours.length;
    let begin = 0;
    run.bins.end_s.forEach((end, i) => {
      const session = run.bins.session[i];
      const p = scenario.pue ?? run.sessions[session].pue;
      const from = wall(run, session, begin) - run.sessions[0].time_s;
      const to = from + end - begin;
      const per = (run.bins.kwh[i] * scenario.ratio * p) / 1000;
      for (let s = from; ;) {
        const hour = Math.floor(s / HOUR);
        const until = hour < last ? Math.min(to, (hour + 1) * HOUR) : to;
        spent[hour] = (spent[hour] ?? 0) + (to > from ? (per * (until - s)) / (to - from) : per);
        s = until;
        if (s >= to) break;
      }
      begin = end;
    });
    const hours = Object.keys(spent).map(Number);
    return series.hours.map((_, start) => {
      let kg = 0;
      for (const hour of hours) kg += spent[hour] ? spent[hour] * value(series, (start + hour) * HOUR) : 0;
      return kg;
    });
  }

  return { footprint, starts, meanOf };
})();
