"use strict";
// Line charts in SVG: scales, ticks, hovering. Nothing here knows what is drawn.

const NS = document.getElementById("svg-root").namespaceURI;

function shape(name, attributes, parent) {
  const found = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) found.setAttribute(key, value);
  if (parent) parent.appendChild(found);
  return found;
}

function node(name, attributes, parent, text) {
  const found = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) found.setAttribute(key, value);
  if (text !== undefined) found.textContent = text;
  if (parent) parent.appendChild(found);
  return found;
}

// ------------------------------------------------------------------ scales

const NINES = 1e-5; // how near to 1 a decay is drawn; what is nearer, or beyond, stands at the top

const KINDS = {
  linear: (v) => v,
  log: (v) => Math.log10(v),
  nines: (v) => -Math.log10(Math.max(1 - v, NINES / 1.25)),
};

function drawable(kind, v) {
  return v !== null && v !== undefined && Number.isFinite(v) && (kind !== "log" || v > 0);
}

function makeScale(kind, low, high, from, to) {
  const f = KINDS[kind];
  let [a, b] = [f(low), f(high)];
  if (a === b) [a, b] = kind === "linear" ? [a - (Math.abs(a) || 1) / 10, b + (Math.abs(b) || 1) / 10] : [a - 0.1, b + 0.1];
  const at = (v) => from + ((f(v) - a) / (b - a)) * (to - from);
  return { kind, at, low, high, a, b };
}

function niceStep(span, count) {
  const raw = span / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(raw));
  const share = raw / power;
  return power * (share <= 1 ? 1 : share <= 2 ? 2 : share <= 5 ? 5 : 10);
}

function linearTicks(low, high, count) {
  const step = niceStep(high - low, count);
  const ticks = [];
  const first = Math.ceil(low / step - 1e-9);
  for (let i = first; i * step <= high + step * 1e-9; i++) ticks.push(Number((i * step).toPrecision(12)));
  return ticks;
}

function ticksOf(scale, count) {
  if (scale.kind === "nines") {
    const all = [0, 0.5, 0.9, 0.99, 0.999, 0.9999, 1 - NINES];
    return all.filter((v) => KINDS.nines(v) >= scale.a - 1e-9 && KINDS.nines(v) <= scale.b + 1e-9);
  }
  if (scale.kind === "linear") {
    const inverse = (v) => v; // of a scale that was widened around one value
    return linearTicks(inverse(scale.a), inverse(scale.b), count);
  }
  const [low, high] = [10 ** scale.a, 10 ** scale.b];
  if (high / low < 8) return linearTicks(low, high, count);
  const decades = scale.b - scale.a;
  const stride = Math.max(1, Math.ceil(decades / Math.max(2, count)));
  const subs = stride > 1 || decades > count / 1.5 ? [1] : decades > count / 3 ? [1, 3] : [1, 2, 5];
  const ticks = [];
  for (let e = Math.floor(scale.a); e <= Math.ceil(scale.b); e += stride)
    for (const s of subs) {
      const v = Number((s * 10 ** e).toPrecision(6));
      if (v >= low * (1 - 1e-9) && v <= high * (1 + 1e-9)) ticks.push(v);
    }
  return ticks;
}

// ------------------------------------------------------------------ numbers

function showNumber(v) {
  if (v === 0) return "0";
  const size = Math.abs(v);
  if (size >= 1e-3 && size < 1e5) return String(Number(v.toPrecision(4)));
  const [digits, power] = v.toExponential(3).split("e");
  return `${Number(digits)}e${Number(power)}`;
}

function showCount(v) {
  for (const [letter, size] of [["T", 1e12], ["B", 1e9], ["M", 1e6], ["K", 1e3]])
    if (v >= 0.9995 * size) return `${Number((v / size).toPrecision(3))}${letter}`;
  return String(Number(v.toPrecision(3)));
}

function showTime(v) {
  if (v < 120) return `${Number(v.toPrecision(3))} s`;
  return v < 7200 ? `${Number((v / 60).toPrecision(3))} min` : `${Number((v / 3600).toPrecision(3))} h`;
}

function showDecay(v) {
  return v >= 1 - NINES ? "1" : String(v);
}

// ------------------------------------------------------------------ curves

function interpolated(points, x) {
  let [low, high] = [0, points.length - 1];
  if (high < 0 || x < points[0][0] || x > points[high][0]) return null;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (points[middle][0] <= x) low = middle;
    else high = middle;
  }
  const [[x0, y0], [x1, y1]] = [points[low], points[high]];
  return x1 === x0 ? y0 : y0 + ((x - x0) / (x1 - x0)) * (y1 - y0);
}

function nearestPoint(points, x, at) {
  let best = null;
  let apart = Infinity;
  for (const point of points) {
    const d = Math.abs(at(point[0]) - at(x));
    if (d < apart) [best, apart] = [point, d];
  }
  return best;
}

/** Groups of lines that lie on one another: within a line's width at nine points of ten. */
function coinciding(lines) {
  const groups = [];
  for (const line of lines) {
    const home = groups.find((group) => {
      const other = group[0].pixels;
      const apart = line.pixels.map(([x, y]) => {
        const v = interpolated(other, x);
        return v === null ? null : Math.abs(v - y);
      });
      const known = apart.filter((d) => d !== null);
      return known.length > 1 && known.filter((d) => d < 1.6).length >= 0.9 * line.pixels.length;
    });
    if (home) home.push(line);
    else groups.push([line]);
  }
  return groups;
}

// ------------------------------------------------------------------ chart

/**
 * A chart in `holder`. `spec()` returns what to draw now:
 *   {title, x: {kind, show, label}, y: {kind, show, label}, height, yOf,
 *    series: [{name, look: {colour, dash}, points, band, errors, dots, crosses}]}
 * points are [x, y], band and errors [x, low, high], dots [x, y, text], crosses are values of x.
 * Charts with one `link` are hovered together. Returns {draw}.
 */
function makeChart(holder, spec, link = []) {
  const tip = node("div", { class: "tip", hidden: "" }, holder);
  let view = null;
  let width = 0;

  function draw() {
    width = holder.clientWidth;
    const wanted = spec();
    const old = holder.querySelector("svg");
    view = drawChart(holder, wanted);
    if (old) old.replaceWith(view.svg);
    else holder.prepend(view.svg);
    tip.hidden = true;
    const point = (event) => {
      const box = view.svg.getBoundingClientRect();
      const x = ((event.clientX - box.left) / box.width) * view.width;
      const value = view.valueAt(x);
      for (const chart of link) chart.showAt(value);
    };
    view.svg.addEventListener("pointermove", point);
    view.svg.addEventListener("pointerdown", point); // a tap
    view.svg.addEventListener("pointerleave", () => link.forEach((chart) => chart.hide()));
    return view;
  }

  function showAt(value) {
    if (!view || value === null) return;
    const found = view.near(value);
    if (!found) return hide();
    view.cursor.setAttribute("x1", found.x);
    view.cursor.setAttribute("x2", found.x);
    view.cursor.removeAttribute("visibility");
    tip.replaceChildren();
    node("div", {}, tip, found.label);
    for (const row of found.rows) {
      const line = node("div", {}, tip);
      line.appendChild(swatchOf(row.look));
      node("span", {}, line, row.name);
      node("b", {}, line, row.text);
    }
    tip.hidden = false;
    const scale = holder.clientWidth / view.width;
    const left = found.x * scale;
    const room = Math.max(0, holder.clientWidth - tip.offsetWidth);
    const side = left + 12 + tip.offsetWidth > holder.clientWidth ? left - tip.offsetWidth - 12 : left + 12;
    tip.style.left = `${Math.max(0, Math.min(room, side))}px`;
    tip.style.top = `${view.top}px`;
  }

  function hide() {
    tip.hidden = true;
    if (view) view.cursor.setAttribute("visibility", "hidden");
  }

  const me = { draw, showAt, hide };
  link.push(me);
  new ResizeObserver(() => {
    if (holder.clientWidth && holder.clientWidth !== width) requestAnimationFrame(draw);
  }).observe(holder);
  return me;
}

function swatchOf(look) {
  const svg = shape("svg", { class: "swatch", viewBox: "0 0 34 10", "aria-hidden": "true" });
  shape("line", { x1: 1, y1: 5, x2: 33, y2: 5, stroke: look.colour, "stroke-dasharray": look.dash }, svg);
  return svg;
}

/** The least and the largest of what is drawn along an axis: 0 or 1. */
function extent(series, axis, kinds, within) {
  const values = [];
  const keep = (row) => drawable(kinds[0], row[0]) && (!axis || !within || within(row[0]));
  for (const s of series) {
    for (const row of s.points || []) if (keep(row)) values.push(row[axis]);
    for (const row of s.dots || []) if (keep(row)) values.push(row[axis]);
    for (const row of [...(s.band || []), ...(s.errors || [])])
      if (keep(row)) values.push(...(axis ? row.slice(1) : [row[0]]));
    if (!axis) values.push(...(s.crosses || []));
  }
  const good = values.filter((v) => drawable(kinds[axis], v));
  if (!good.length) return null;
  return good.reduce(([low, high], v) => [Math.min(low, v), Math.max(high, v)], [Infinity, -Infinity]);
}

function padded([low, high], kind) {
  if (kind === "nines") return [1 - (1 - low) * 1.25, 1 - Math.max(1 - high, NINES) / 1.25];
  if (kind === "log") {
    const extra = Math.max((high / low) ** 0.04, 1.0005);
    return [low / extra, high * extra];
  }
  const extra = (high - low) * 0.04;
  return [low - extra, high + extra];
}

function drawChart(holder, wanted) {
  const width = Math.max(220, holder.clientWidth || 640);
  const height = wanted.height || Math.max(240, Math.min(440, width * 0.55));
  const { x: xAxis, y: yAxis, series } = wanted;
  const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": wanted.title });
  const kinds = [xAxis.kind, yAxis.kind];
  const xs = extent(series, 0, kinds);
  const ys = extent(series, 1, kinds, wanted.within);
  const top = 24;
  shape("text", { class: "title", x: 0, y: 13 }, svg).textContent = yAxis.label;
  const cursor = shape("line", { class: "cursor", visibility: "hidden", y1: top, y2: height - 34 });
  if (!xs || !ys) {
    shape("text", { x: 8, y: top + 24 }, svg).textContent = "nothing to draw";
    return { svg, width, top, cursor, near: () => null, valueAt: () => null };
  }
  const [yLow, yHigh] = padded(ys, yAxis.kind);
  const yScale = makeScale(yAxis.kind, yLow, yHigh, height - 34, top + (wanted.crossRoom ? 16 : 4));
  const yTicks = ticksOf(yScale, height / 48).map((v) => [v, yAxis.show(v)]);
  const left = 12 + 7 * Math.max(2, ...yTicks.map(([, text]) => text.length));
  const [xLow, xHigh] = wanted.padX ? padded(xs, xAxis.kind) : xs;
  const xScale = makeScale(xAxis.kind, xLow, xHigh, left, width - 14);
  drawGrid(svg, wanted, { xScale, yScale, yTicks, left, top, width, height });
  const lines = drawSeries(svg, wanted, { xScale, yScale, left, top, width, height });
  svg.appendChild(cursor);
  const valueAt = (pixel) => {
    const share = (pixel - left) / (width - 14 - left);
    const v = xScale.a + share * (xScale.b - xScale.a);
    return xAxis.kind === "log" ? 10 ** v : v;
  };
  const near = (value) => nearRows(wanted, xScale, value);
  return { svg, width, top, cursor, valueAt, near, groups: coinciding(lines) };
}

function nearRows(wanted, xScale, value) {
  const rows = [];
  let x = null;
  for (const s of wanted.series) {
    const points = (s.points || []).filter((p) => drawable(xScale.kind, p[0]));
    const found = nearestPoint(points, value, xScale.at);
    if (!found || (x !== null && Math.abs(xScale.at(found[0]) - xScale.at(x)) > 24)) continue;
    if (x === null) x = found[0];
    const text = found[1] === null ? "no value" : (wanted.exact || showNumber)(found[1]);
    rows.push({ name: s.name, look: s.look, text, value: found[1] });
  }
  if (x === null) return null;
  if (wanted.sorted) rows.sort((a, b) => a.value - b.value);
  return { x: xScale.at(x), label: `${wanted.x.name} ${wanted.x.show(x)}`, rows };
}

function drawGrid(svg, wanted, { xScale, yScale, yTicks, left, top, width, height }) {
  const bottom = height - 34;
  let lowest = Infinity;
  for (const [v, text] of yTicks) {
    const y = yScale.at(v);
    if (y < top - 1 || y > bottom + 1) continue;
    shape("line", { class: "grid", x1: left, x2: width - 14, y1: y, y2: y }, svg);
    if (lowest - y < 12) continue; // ticks rise: this label would lie on the last one
    lowest = y;
    shape("text", { x: left - 6, y: y + 4, "text-anchor": "end" }, svg).textContent = text;
  }
  const xTicks = wanted.x.ticks || ticksOf(xScale, (width - left) / 70);
  let free = -Infinity;
  for (const v of xTicks) {
    const x = xScale.at(v);
    if (x < left - 1 || x > width - 12) continue;
    shape("line", { class: "grid", x1: x, x2: x, y1: top, y2: bottom }, svg);
    const text = wanted.x.show(v);
    const half = 3.6 * text.length;
    if (x - half < free) continue;
    free = x + half + 6;
    const end = x + half > width; // the last label stays inside
    shape("text", { x: end ? width : x, y: bottom + 15, "text-anchor": end ? "end" : "middle" }, svg).textContent = text;
  }
  shape("text", { x: width - 14, y: height - 4, "text-anchor": "end" }, svg).textContent = wanted.x.label;
  shape("rect", { class: "frame", x: left, y: top, width: width - 14 - left, height: bottom - top }, svg);
}

let clips = 0;

function drawSeries(svg, wanted, { xScale, yScale, left, top, width, height }) {
  const id = `clip-${clips++}`;
  const clip = shape("clipPath", { id }, svg);
  shape("rect", { x: left, y: top, width: width - 14 - left, height: height - 34 - top }, clip);
  const plot = shape("g", { "clip-path": `url(#${id})` }, svg);
  const place = ([x, y]) =>
    drawable(xScale.kind, x) && drawable(yScale.kind, y) ? [xScale.at(x), yScale.at(y)] : null;
  const lines = [];
  for (const s of wanted.series) {
    const group = shape("g", { color: s.look.colour }, plot);
    drawBand(group, s.band || [], place);
    const pixels = (s.points || []).map(place);
    if (pixels.some(Boolean)) lines.push({ series: s, group, pixels: pixels.filter(Boolean), parts: pixels });
    for (const [x, low, high] of s.errors || []) drawError(group, place([x, low]), place([x, high]));
    for (const [x, y, text] of s.dots || []) {
      const at = place([x, y]);
      if (!at) continue;
      const dot = shape("circle", { cx: at[0], cy: at[1], r: 2.6, fill: "currentColor", "fill-opacity": 0.4 }, group);
      if (text) shape("title", {}, dot).textContent = text;
    }
    for (const x of s.crosses || []) drawCross(group, xScale.at(x), top + 9);
  }
  for (const members of coinciding(lines)) members.forEach((line, k) => drawLine(line, k, members.length));
  return lines;
}

/** Of lines that coincide, the first ones are wide and pale, so that each is seen under the next. */
function drawLine({ group, series, parts }, k, count) {
  const below = count - 1 - k;
  const path = pathOf(parts);
  const attributes = { d: path, fill: "none", stroke: "currentColor", "stroke-linejoin": "round" };
  attributes["stroke-width"] = 1.8 + 3 * below;
  if (below) attributes["stroke-opacity"] = 0.5;
  if (series.look.dash && !below) attributes["stroke-dasharray"] = series.look.dash;
  else if (count > 1 && !below && !series.look.dash) attributes["stroke-dasharray"] = "6 6";
  shape("path", attributes, group);
  if (series.marks) for (const at of parts) if (at) shape("circle", { cx: at[0], cy: at[1], r: 3, fill: "currentColor" }, group);
}

function pathOf(parts) {
  let text = "";
  let pen = "M";
  for (const at of parts) {
    if (at) text += `${pen}${at[0].toFixed(1)} ${at[1].toFixed(1)}`;
    pen = at ? "L" : "M";
  }
  return text;
}

function drawBand(group, band, place) {
  const low = band.map(([x, a]) => place([x, a])).filter(Boolean);
  const high = band.map(([x, , b]) => place([x, b])).filter(Boolean);
  if (low.length < 2 || low.length !== high.length) return;
  const d = `${pathOf(low)}${pathOf(high.reverse()).replace("M", "L")}Z`;
  shape("path", { d, fill: "currentColor", "fill-opacity": 0.15 }, group);
}

function drawError(group, low, high) {
  if (!low || !high) return;
  const stroke = { stroke: "currentColor", "stroke-width": 1.3 };
  shape("line", { x1: low[0], x2: high[0], y1: low[1], y2: high[1], ...stroke }, group);
  for (const [x, y] of [low, high]) shape("line", { x1: x - 3, x2: x + 3, y1: y, y2: y, ...stroke }, group);
}

function drawCross(group, x, y) {
  const d = `M${x - 4} ${y - 4}L${x + 4} ${y + 4}M${x - 4} ${y + 4}L${x + 4} ${y - 4}`;
  shape("path", { d, stroke: "currentColor", "stroke-width": 1.8, fill: "none" }, group);
}
