"use strict";
// What is on this page: curves, sensitivity, coefficients; legends, tables that sort, the filter.

const DATA = JSON.parse(document.getElementById("data").textContent);
const hiddenMethods = new Set();
const redraws = [];

const isShown = (row) => !hiddenMethods.has(row.method);
const lookOf = (row) => DATA.looks[row.method];
const redrawAll = () => redraws.forEach((draw) => draw());

// ------------------------------------------------------------------ legend

function finalLoss(method) {
  const best = DATA.ranking.methods.find((m) => m.method === method).best;
  if (!best) return "diverged";
  return best.mean.toFixed(4) + (best.error === null ? "" : ` ± ${best.error.toFixed(4)}`);
}

function makeLegend(holder) {
  for (const { method } of DATA.ranking.methods) {
    const button = node("button", { type: "button", "aria-pressed": "true" }, holder);
    button.title = "show or hide; with Shift: this one alone, or all";
    button.appendChild(swatchOf(DATA.looks[method]));
    node("span", {}, button, method);
    node("small", {}, button, finalLoss(method));
    button.addEventListener("click", (event) => toggle(method, event.shiftKey));
    redraws.push(() => button.setAttribute("aria-pressed", String(!hiddenMethods.has(method))));
  }
}

function toggle(method, alone) {
  const all = DATA.ranking.methods.map((m) => m.method);
  const isAlone = hiddenMethods.size === all.length - 1 && !hiddenMethods.has(method);
  if (alone) {
    hiddenMethods.clear();
    if (!isAlone) all.filter((m) => m !== method).forEach((m) => hiddenMethods.add(m));
  } else if (!hiddenMethods.delete(method)) hiddenMethods.add(method);
  redrawAll();
}

// ------------------------------------------------------------------ curves

/** Local linear means with Gaussian weights; `width` is their standard deviation, in units of x. */
function smoothed(xs, ys, width) {
  if (!width) return ys;
  return xs.map((x) => {
    let [s0, s1, s2, t0, t1] = [0, 0, 0, 0, 0];
    xs.forEach((at, i) => {
      const d = (at - x) / width;
      if (Math.abs(d) > 4) return;
      const weight = Math.exp(-0.5 * d * d);
      s0 += weight;
      s1 += weight * d;
      s2 += weight * d * d;
      t0 += weight * ys[i];
      t1 += weight * d * ys[i];
    });
    const det = s0 * s2 - s1 * s1;
    return det > 1e-9 * s0 * s0 ? (s2 * t0 - s1 * t1) / det : t0 / s0;
  });
}

function meanOf(rows, i) {
  return rows.reduce((sum, row) => sum + row[i], 0) / rows.length;
}

/** Seconds at so many tokens: between two evaluations in proportion. */
function secondsAt(curve, tokens) {
  const known = [[0, 0], ...curve.tokens.map((t, i) => [t, curve.seconds[i]])];
  return interpolated(known, tokens);
}

function curveSeries(curve, wish) {
  const source = wish.training ? curve.train : curve;
  if (!source.tokens.length || (wish.seconds && !curve.seconds)) return null;
  const xs = wish.seconds ? source.tokens.map((t) => secondsAt(curve, t)) : source.tokens;
  const width = wish.smoothing * xs[xs.length - 1];
  const rows = source.seeds.map((row) => smoothed(xs, row, width));
  const mean = !wish.training && !width ? curve.mean : xs.map((_, i) => meanOf(rows, i));
  const points = xs.map((x, i) => [x, mean[i]]).filter(([x]) => x !== null);
  const band = rows.length < 2 ? [] : xs.map((x, i) => {
    const column = rows.map((row) => row[i]);
    return [x, Math.min(...column), Math.max(...column)];
  });
  return { name: curve.method, look: lookOf(curve), points, band: band.filter(([x]) => x !== null) };
}

function setUpCurves() {
  const get = (id) => document.getElementById(id);
  const wishes = () => ({
    training: get("which").value === "training",
    seconds: get("over").value === "seconds",
    smoothing: (get("smoothing").value / 100) ** 2 * 0.2,
  });
  const spec = () => {
    const wish = wishes();
    const series = DATA.curves.filter(isShown).map((c) => curveSeries(c, wish)).filter(Boolean);
    const last = Math.max(...series.map((s) => s.points[s.points.length - 1][0]));
    const what = wish.training ? "training loss" : "held-out loss";
    return {
      title: `${what} of each method at its best setting`,
      x: {
        kind: get("log-x").checked ? "log" : "linear",
        show: wish.seconds ? showTime : showCount,
        label: wish.seconds ? "wall time" : "training tokens",
        name: wish.seconds ? "after" : "tokens",
      },
      y: { kind: get("log-y").checked ? "log" : "linear", show: showNumber, label: `${what} (nats per token)` },
      exact: (v) => v.toFixed(4),
      within: get("end").checked ? (x) => x >= last / 2 : null,
      sorted: true,
      series,
    };
  };
  const chart = makeChart(get("curves-chart"), spec);
  const draw = () => {
    const wish = wishes();
    get("smoothed").textContent = wish.smoothing ? `±${showNumber(100 * wish.smoothing)} % of the run` : "none";
    const view = chart.draw();
    get("curves-note").textContent = curvesNote(wish, view.groups || []);
  };
  redraws.push(draw);
  for (const id of ["which", "over", "log-x", "log-y", "end", "smoothing"]) get(id).addEventListener("input", draw);
  get("which").addEventListener("change", () => {
    if (get("which").value === "training" && get("smoothing").value === "0") get("smoothing").value = 25;
    draw();
  });
  document.querySelector("form.controls").addEventListener("submit", (event) => event.preventDefault());
}

function curvesNote(wish, groups) {
  const parts = ["Means over seeds; bands reach from the least to the largest of them."];
  const together = Math.max(...DATA.curves.map((c) => c.train.steps_together), 1);
  if (wish.training && together > 1) parts.push(`Each point is the mean of up to ${together} steps.`);
  if (wish.smoothing) parts.push("Smoothed: final losses are those of the table.");
  const untimed = DATA.curves.filter((c) => !c.seconds).map((c) => c.method);
  if (wish.seconds) {
    parts.push("Time of training alone, as measured; runs that shared a machine slowed each other down.");
    if (untimed.length) parts.push(`No speed was measured for: ${untimed.join(", ")}.`);
  }
  for (const members of groups.filter((g) => g.length > 1))
    parts.push(`${members.map((m) => m.series.name).join(" and ")} lie on one another: wide and pale below, narrow above.`);
  const missing = DATA.ranking.methods.filter((m) => !DATA.curves.some((c) => c.method === m.method));
  if (missing.length) parts.push(`Without a curve: ${missing.map((m) => m.method).join(", ")}.`);
  return parts.join(" ");
}

// ------------------------------------------------------------- sensitivity

function sensitivitySeries(row) {
  const errors = row.best.filter(([, , e]) => e).map(([v, mean, e]) => [v, mean - e, mean + e]);
  return {
    name: row.method,
    look: lookOf(row),
    points: row.best.map(([v, mean]) => [v, mean]),
    errors,
    dots: row.all.map(([v, mean, text]) => [v, mean, `${row.method}, ${text}: ${mean.toFixed(4)}`]),
    crosses: row.diverged,
    marks: true,
  };
}

function setUpSensitivity() {
  const holder = document.getElementById("sensitivity-charts");
  for (const { name, methods } of DATA.sensitivity) {
    const values = methods.flatMap((m) => [...m.all.map(([v]) => v), ...m.diverged]);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const ticks = [...new Set(values)].sort((a, b) => a - b);
    const kind = low >= 0.5 && high < 1 ? "nines" : low > 0 && high > 3 * low ? "log" : "linear";
    const chart = makeChart(node("div", { class: "chart" }, holder), () => ({
      title: `final loss against ${name}`,
      x: { kind, show: showNumber, label: name, name, ticks },
      y: { kind: "linear", show: showNumber, label: `final loss against ${name}` },
      exact: (v) => v.toFixed(4),
      height: 280,
      padX: true,
      sorted: true,
      crossRoom: methods.some((m) => m.diverged.length),
      series: methods.filter(isShown).map(sensitivitySeries),
    }));
    redraws.push(chart.draw);
  }
}

// ------------------------------------------------------------ coefficients

const MOMENTUM_DASHES = ["", "6 4", "2 3", "9 3 2 3"];

function coefficientPanels(about) {
  const look = (i) => ({ colour: DATA.looks[about.method].colour, dash: MOMENTUM_DASHES[i % 4] });
  const line = (name, values, i) => ({ name, look: look(i), points: about.steps.map((t, k) => [t, values[k]]) });
  const named = (symbol, m) => (m.name ? `${symbol} of ${m.name}` : `${symbol}ₐ`);
  const panels = [];
  if (about.momenta.length) {
    const betas = about.momenta.map((m, i) => line(named("β", m), m.beta, i));
    betas.forEach((s) => (s.points = s.points.filter(([t]) => t > 1))); // at step 1 it is immaterial
    panels.push({ label: about.form ? "βₐ(t)" : "β(t)", series: betas, kind: "nines", show: showDecay, exact: (v) => String(Number(v.toPrecision(7))) });
    panels.push({ label: about.form ? "ηₐ(t)" : "η(t)", series: about.momenta.map((m, i) => line(named("η", m), m.eta, i)) });
  }
  const alphas = about.alphas.map((values, i) => line(about.alphas.length > 1 ? `α, level ${i + 1}` : about.form ? "αₐ" : "α", values, i));
  panels.push({ label: about.form ? "αₐ(t)" : "α(t)", series: alphas });
  return panels;
}

/** A logarithmic axis where numbers are positive and far apart. */
function axisKind(series) {
  const values = series.flatMap((s) => s.points.map(([, y]) => y)).filter((v) => v !== null);
  const least = Math.min(...values);
  return least > 0 && Math.max(...values) > 20 * least ? "log" : "linear";
}

function setUpCoefficients() {
  for (const card of document.querySelectorAll("#coefficient-cards .card")) {
    const about = DATA.coefficients[Number(card.dataset.index)];
    const row = card.querySelector(".row");
    if (!row) continue;
    const link = [];
    const show = (t) => showCount(t);
    const axis = { kind: "linear", show, label: "step t", name: "step" };
    const curve = DATA.curves.find((c) => c.method === about.method);
    const add = (spec) => makeChart(node("div", { class: "chart" }, row), spec, link).draw();
    if (curve) {
      const points = curve.tokens.map((t, i) => [t / about.tokens_per_step, curve.mean[i]]);
      const series = [{ name: "loss", look: { colour: lookOf(about).colour, dash: "" }, points }];
      const y = { kind: "log", show: showNumber, label: "held-out loss" };
      add(() => ({ title: `${about.method}: held-out loss`, x: axis, y, series, height: 190, exact: (v) => v.toFixed(4) }));
    }
    for (const panel of coefficientPanels(about)) {
      const kind = panel.kind || axisKind(panel.series);
      const y = { kind, show: panel.show || showNumber, label: panel.label };
      add(() => ({ title: `${about.method}: ${panel.label}`, x: axis, y, series: panel.series, height: 190, exact: panel.exact }));
    }
  }
}

// ------------------------------------------------------------------ tables

function keyOf(row, column) {
  const cell = row.cells[column];
  const text = cell.dataset.value === undefined ? cell.textContent.trim() : cell.dataset.value;
  const number = Number(text.replace(/[,*]/g, ""));
  return text === "" ? null : Number.isNaN(number) ? text : number;
}

function compareKeys(a, b) {
  if (typeof a === typeof b) return typeof a === "number" ? a - b : a.localeCompare(b);
  return typeof a === "number" ? -1 : 1;
}

function sortBy(table, column, direction) {
  const body = table.tBodies[0];
  const keyed = [...body.rows].map((row) => [keyOf(row, column), row]);
  const sign = direction === "ascending" ? 1 : -1;
  keyed.sort(([a], [b]) => (a === null || b === null ? (a === null) - (b === null) : sign * compareKeys(a, b)));
  body.append(...keyed.map(([, row]) => row));
}

function setUpTables() {
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      if ("unsorted" in head.dataset) return;
      const button = node("button", { type: "button", title: "sort" }, null, head.textContent);
      button.tabIndex = 0;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const next = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", next);
        sortBy(table, column, next);
      });
    });
  }
}

function setUpFilter() {
  const [field, count] = [document.getElementById("filter"), document.getElementById("filtered")];
  const rows = [...document.getElementById("runs-table").tBodies[0].rows];
  const apply = () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
    count.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows`;
  };
  field.addEventListener("input", apply);
  apply();
}

// ------------------------------------------------------------------

for (const drawn of document.querySelectorAll(".drawn")) drawn.hidden = false;
document.querySelectorAll(".legend").forEach(makeLegend);
setUpCurves();
setUpSensitivity();
setUpCoefficients();
setUpTables();
setUpFilter();
redrawAll();
