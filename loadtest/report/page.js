"use strict";
(() => {
  const result = JSON.parse(document.getElementById("result").textContent);
  const NS = "http://www.w3.org/2000/svg";
  const margin = {left: 42, right: 8, top: 10, bottom: 22};
  const arms = result.arms.map((arm, i) => ({...arm, tone: result.tones[i], samples: arm.samples || []}));
  const lastOf = arm => arm.samples.length ? arm.samples[arm.samples.length - 1].s : 0;
  const longest = arms.reduce((a, b) => lastOf(b) > lastOf(a) ? b : a);
  const end = Math.max(1, Math.ceil(lastOf(longest) / 10) * 10);
  const faults = (result.faults || []).map((fault, i) => ({...fault, letter: letters(i)}));
  const storeSeen = arms.some(arm => arm.store_seen);

  // A rate is a mean of half a second; over 2 s it is what the eye wants of it.
  const smooth = list => list.map((_, i) => {
    const part = list.slice(Math.max(0, i - 3), i + 1);
    return part.reduce((sum, v) => sum + v, 0) / part.length;
  });
  const plots = [
    {title: "People with a new password", unit: "people so far", of: s => s.completed, came: true},
    {title: "Calls offered", unit: "a second, retries and attackers included", of: s => s.offered_rate, rate: true},
    {title: "Calls accepted", unit: "a second, attackers' included", of: s => s.accepted_rate, rate: true, answer: true},
    {title: "Calls refused", unit: "a second, sent away with a time to come back", of: s => s.refused_rate, rate: true, answer: true},
    {title: "Failures seen by people", unit: "failed calls a second", of: s => s.failed_rate, rate: true},
    {title: "Passwords set by the store", unit: "a second", of: s => s.applied_rate, rate: true, store: true,
      bound: result.storm.store_capacity, boundLabel: "the store's best"},
    {title: "Inside the store", unit: "requests", of: s => s.inside, store: true,
      bound: result.storm.store_inside_bound, boundLabel: "its process dies"},
    {title: "Backlog", unit: "calls, mails and tickets owed to people", of: s => s.backlog},
    {title: "Oldest", unit: "seconds since the person came who has been inside longest", of: s => s.oldest_s, answer: true},
  ].filter(plot => (!plot.store || storeSeen) && (!plot.answer || result.answers));

  // What all plots share: the part of the run that is shown, and the moment that is looked at.
  const shared = {from: 0, to: end, at: null};

  function letters(i) {
    return (i >= 26 ? letters(Math.floor(i / 26) - 1) : "") + String.fromCharCode(65 + i % 26);
  }
  const clamp = (v, low, high) => Math.min(Math.max(v, low), high);
  const figure = v => v.toLocaleString("en", {maximumFractionDigits: Math.abs(v) < 10 ? 1 : 0});
  const short = v => v >= 1e6 ? +(v / 1e6).toPrecision(3) + "M" : v >= 1e4 ? Math.round(v / 1e3) + "k" : v >= 1e3 ? +(v / 1e3).toPrecision(3) + "k" : String(v);
  const pad = n => String(n).padStart(2, "0");

  // moment writes a time of the run as precisely as its ticks need.
  function moment(s, step) {
    if (end <= 300) return step < 1 ? s.toFixed(step < 0.1 ? 2 : 1) : String(Math.round(s));
    const whole = Math.floor(s + 1e-6), h = Math.floor(whole / 3600), m = Math.floor(whole / 60) % 60;
    const rest = step < 1 ? (s % 60).toFixed(1).padStart(4, "0") : pad(whole % 60);
    return (h ? h + ":" + pad(m) : m) + ":" + rest;
  }
  const spoken = s => moment(s, 0.5) + (end <= 300 ? " s" : "");

  function niceStep(most) {
    const raw = most / 4, power = 10 ** Math.floor(Math.log10(raw));
    return [1, 2, 5, 10].map(m => m * power).find(step => step >= raw * 0.999);
  }
  function timeStep(span, width) {
    const raw = span / Math.max(2, Math.floor(width / 55));
    const steps = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 43200, 86400];
    return steps.find(step => step >= raw) || 86400 * Math.ceil(raw / 86400);
  }
  function el(parent, name, attributes, text) {
    const e = document.createElementNS(NS, name);
    for (const key in attributes) e.setAttribute(key, attributes[key]);
    if (text !== undefined) e.textContent = text;
    return parent.appendChild(e);
  }
  function html(parent, name, className, text) {
    const e = document.createElement(name);
    e.className = className;
    if (text !== undefined) e.textContent = text;
    return parent.appendChild(e);
  }

  // within are the first and the last index of samples to draw for [from, to]: one beyond each edge, so that lines cross it.
  function within(times, from, to) {
    return [Math.max(0, after(times, from) - 1), Math.min(times.length - 1, after(times, to))];
  }
  // after is the index of the first time that is not before s.
  function after(times, s) {
    let low = 0, high = times.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (times[middle] < s) low = middle + 1; else high = middle;
    }
    return low;
  }
  // thinned are the points to draw: of each part the lowest and the highest, where there are more samples than pixels.
  function thinned(first, last, values, most) {
    const all = [], every = Math.ceil((last - first + 1) / most);
    for (let i = first; i <= last; i += every) {
      let low = i, high = i;
      for (let k = i; k < Math.min(i + every, last + 1); k++) {
        if (values[k] < values[low]) low = k;
        if (values[k] > values[high]) high = k;
      }
      all.push(Math.min(low, high));
      if (low !== high) all.push(Math.max(low, high));
    }
    return all;
  }

  // outages are the stretches in which an arm's store was down.
  function outages(arm) {
    const list = [];
    if (!arm.samples.some(s => s.up)) return list; // never seen up: not known
    let from = null;
    for (const s of arm.samples) {
      if (!s.up && from === null) from = s.s;
      if (s.up && from !== null) { list.push([from, s.s]); from = null; }
    }
    if (from !== null) list.push([from, lastOf(arm)]);
    return list;
  }
  for (const arm of arms) arm.outages = outages(arm);

  class Plot {
    constructor(spec) {
      this.spec = spec;
      this.series = arms.filter(arm => arm.samples.length && (!spec.store || arm.store_seen)).map(arm => {
        const values = arm.samples.map(s => spec.of(s) || 0);
        return {name: arm.name, tone: arm.tone, times: arm.samples.map(s => s.s), values: spec.rate ? smooth(values) : values};
      });
      const peaks = this.series.map(line => line.name + " up to " + figure(line.values.reduce((a, b) => Math.max(a, b), 0)));
      if (spec.came && longest.samples.length)
        this.series.unshift({name: "people who came", tone: "came", times: longest.samples.map(s => s.s), values: longest.samples.map(s => s.came)});

      const card = html(document.getElementById("plots"), "figure", "card");
      const caption = html(card, "figcaption", "", spec.title);
      html(caption, "span", "", spec.unit);
      const box = this.box = html(card, "div", "plot");
      const about = {tabindex: 0, role: "slider", "aria-label": `${spec.title}, ${spec.unit}: ${peaks.join(", ") || "no samples"}`, "aria-describedby": "hint",
        "aria-orientation": "horizontal", "aria-valuemin": 0, "aria-valuemax": end};
      for (const key in about) box.setAttribute(key, about[key]);
      this.svg = el(box, "svg", {"aria-hidden": "true"});
      this.tip = html(box, "div", "tip");
      this.tip.hidden = true;
      box.addEventListener("pointerdown", event => this.press(event));
      box.addEventListener("pointermove", event => this.move(event));
      box.addEventListener("pointerup", event => this.release(event));
      box.addEventListener("pointercancel", () => { this.pressed = null; this.select(); });
      box.addEventListener("pointerleave", () => { if (this.pressed == null) this.leave(); });
      box.addEventListener("dblclick", whole);
      box.addEventListener("keydown", event => this.key(event));
      box.addEventListener("blur", () => this.leave());
      box.addEventListener("focus", () => { if (box.matches(":focus-visible")) this.look(clamp(shared.at ?? shared.from, shared.from, shared.to)); });
    }

    x(s) { return margin.left + (s - shared.from) / (shared.to - shared.from) * this.inner; }
    y(v) { return this.height - margin.bottom - v / this.ceiling * (this.height - margin.bottom - margin.top); }
    time(x) { return clamp(shared.from + (x - margin.left) / this.inner * (shared.to - shared.from), shared.from, shared.to); }

    draw() {
      const {spec, svg} = this, {left, right, top, bottom} = margin;
      const width = this.width = this.box.clientWidth, height = this.height = this.box.clientHeight;
      this.inner = Math.max(1, width - left - right);
      const parts = this.series.map(line => within(line.times, shared.from, shared.to));
      let most = Math.max(1, spec.bound || 0);
      this.series.forEach((line, k) => { for (let i = parts[k][0]; i <= parts[k][1]; i++) most = Math.max(most, line.values[i]); });
      const step = niceStep(most);
      this.ceiling = Math.ceil(most / step - 1e-9) * step;
      svg.replaceChildren();
      svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
      // An svg inside an svg cuts off what is outside of the axes.
      const inside = () => el(svg, "svg", {x: left, y: 0, width: this.inner, height, viewBox: `${left} 0 ${this.inner} ${height}`});
      const bands = inside();
      const band = (name, from, to) => el(bands, "rect", {class: name, x: this.x(from), y: top, width: Math.max(1, this.x(to) - this.x(from)), height: height - bottom - top});
      for (const arm of arms) for (const [from, to] of arm.outages) band("down " + arm.tone, from, to);
      for (const fault of faults) {
        if (fault.for_s > 0) band("fault", fault.at_s, fault.at_s + fault.for_s);
        else el(bands, "line", {class: "once", x1: this.x(fault.at_s), x2: this.x(fault.at_s), y1: top, y2: height - bottom});
      }
      for (let v = 0; v <= this.ceiling + step / 2; v += step) {
        el(svg, "line", {class: v === 0 ? "axis" : "grid", x1: left, x2: width - right, y1: this.y(v), y2: this.y(v)});
        el(svg, "text", {x: left - 6, y: this.y(v) + 4, "text-anchor": "end"}, short(+v.toPrecision(6)));
      }
      const tick = timeStep(shared.to - shared.from, this.inner);
      for (let n = Math.ceil(shared.from / tick - 1e-9); n * tick <= shared.to + 1e-9; n++) {
        const at = this.x(n * tick);
        el(svg, "text", {class: "time", x: at, y: height - 6, "text-anchor": at < left + 14 ? "start" : at > width - right - 14 ? "end" : "middle"},
          moment(n * tick, tick) + (n === 0 && end <= 300 ? " s" : ""));
      }
      if (spec.bound) el(svg, "line", {class: "bound", x1: left, x2: width - right, y1: this.y(spec.bound), y2: this.y(spec.bound)});
      const lines = inside();
      this.series.forEach((line, k) => {
        const points = thinned(...parts[k], line.values, this.inner).map(i => this.x(line.times[i]).toFixed(1) + " " + this.y(line.values[i]).toFixed(1));
        if (points.length) el(lines, "path", {class: "line " + line.tone, d: "M" + points.join("L")});
      });
      if (spec.bound) // late, so that it can be read over the lines
        el(svg, "text", {class: "label", x: width - right, y: this.y(spec.bound) + (this.y(spec.bound) < top + 16 ? 14 : -6), "text-anchor": "end"}, spec.boundLabel);
      for (const fault of faults) {
        const from = Math.max(fault.at_s, shared.from);
        if (from > shared.to || fault.at_s + fault.for_s < shared.from) continue;
        const label = el(svg, "text", {class: "label letter", x: Math.min(this.x(from) + 3, width - right - 10), y: top + 11}, fault.letter);
        el(label, "title", {}, fault.what);
      }
      this.chosen = el(svg, "rect", {class: "chosen", y: top, height: height - bottom - top, visibility: "hidden"});
      this.cursor = el(svg, "line", {class: "cursor", y1: top, y2: height - bottom, visibility: "hidden"});
      this.point();
    }

    // values at a moment: what the sample before the next one said.
    values(at) {
      return this.series.flatMap(line => {
        const i = after(line.times, at - 1e-9);
        return i < line.times.length ? [{line, value: line.values[i]}] : [];
      });
    }
    // look moves the cursor of all plots, and shows what this one has there.
    look(at) {
      shared.at = at;
      for (const plot of drawn) plot.point();
      const all = this.values(at);
      this.box.setAttribute("aria-valuenow", at.toFixed(2));
      this.box.setAttribute("aria-valuetext", [spoken(at), ...all.map(({line, value}) => line.name + " " + figure(value))].join(", "));
      this.tip.replaceChildren(spoken(at));
      for (const {line, value} of all) html(this.tip, "div", line.tone, line.name + " " + figure(value));
      this.tip.hidden = false;
      const x = this.x(at);
      this.tip.style.left = clamp(x + (x > this.width / 2 ? -this.tip.offsetWidth - 8 : 8), 0, Math.max(0, this.width - this.tip.offsetWidth)) + "px";
    }
    leave() {
      this.tip.hidden = true;
      shared.at = null;
      for (const plot of drawn) plot.point();
    }
    point() {
      const shown = shared.at !== null && shared.at >= shared.from && shared.at <= shared.to;
      this.cursor.setAttribute("visibility", shown ? "visible" : "hidden");
      if (!shown) return;
      this.cursor.setAttribute("x1", this.x(shared.at));
      this.cursor.setAttribute("x2", this.x(shared.at));
    }

    offset(event) { return event.clientX - this.box.getBoundingClientRect().left; }
    press(event) {
      if (event.button !== 0) return;
      this.pressed = this.offset(event);
      this.box.setPointerCapture(event.pointerId);
    }
    move(event) {
      this.look(this.time(this.offset(event)));
      if (this.pressed != null) this.select(this.pressed, this.offset(event));
    }
    release(event) {
      if (this.pressed == null) return;
      const a = this.pressed, b = this.offset(event);
      this.pressed = null;
      this.select();
      if (Math.abs(b - a) >= 6) zoom(this.time(Math.min(a, b)), this.time(Math.max(a, b))); // less is a click
    }
    select(a, b) {
      this.chosen.setAttribute("visibility", a === undefined ? "hidden" : "visible");
      if (a === undefined) return;
      const from = this.x(this.time(Math.min(a, b))), to = this.x(this.time(Math.max(a, b)));
      this.chosen.setAttribute("x", from);
      this.chosen.setAttribute("width", to - from);
    }
    key(event) {
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      const span = shared.to - shared.from, at = shared.at ?? shared.from;
      const step = span / (event.shiftKey ? 10 : 100);
      switch (event.key) {
        case "ArrowRight": case "ArrowUp": this.reach(at + step); break;
        case "ArrowLeft": case "ArrowDown": this.reach(at - step); break;
        case "PageUp": this.reach(at + span / 4); break;
        case "PageDown": this.reach(at - span / 4); break;
        case "Home": this.reach(0); break;
        case "End": this.reach(end); break;
        case "+": case "=": zoom(at - (at - shared.from) / 2, at + (shared.to - at) / 2); this.look(at); break;
        case "-": case "−": zoom(at - (at - shared.from) * 2, at + (shared.to - at) * 2); this.look(at); break;
        case "Escape": this.pressed = null; whole(); break;
        default: return;
      }
      event.preventDefault();
    }
    // reach moves the cursor, and what is shown after it.
    reach(at) {
      at = clamp(at, 0, end);
      const beyond = at < shared.from ? at - shared.from : at > shared.to ? at - shared.to : 0;
      if (beyond) zoom(shared.from + beyond, shared.to + beyond);
      this.look(at);
    }
  }

  // shortest is the least that can be shown: a few samples.
  const shortest = Math.min(end, 2);
  function zoom(from, to) {
    if (to - from < shortest) {
      const middle = (from + to) / 2;
      from = middle - shortest / 2;
      to = middle + shortest / 2;
    }
    if (from < 0) { to -= from; from = 0; }
    if (to > end) { from -= to - end; to = end; }
    shared.from = Math.max(0, from);
    shared.to = to;
    redraw();
  }
  function whole() { zoom(0, end); }

  const button = document.getElementById("whole"), shownText = document.getElementById("shown");
  function redraw() {
    for (const plot of drawn) plot.draw();
    const all = shared.from === 0 && shared.to === end;
    button.disabled = all;
    shownText.textContent = all ? "Shown: the whole run" : `Shown: ${spoken(shared.from)} to ${spoken(shared.to)}`;
  }

  const keys = document.getElementById("keys");
  function legend(tone, swatch, text) {
    const key = html(keys, "span", "key " + tone);
    html(key, "i", swatch);
    key.append(text);
  }
  for (const arm of arms) if (arm.outages.length) legend(arm.tone, "down", "store down, " + arm.name);
  for (const fault of faults) legend("faultkey", fault.for_s > 0 ? "fault" : "oncekey", fault.letter + ": " + fault.what);

  document.getElementById("zoom").hidden = false;
  button.addEventListener("click", whole);
  const drawn = plots.map(spec => new Plot(spec));
  redraw();
  let width = document.getElementById("plots").clientWidth;
  new ResizeObserver(() => {
    const now = document.getElementById("plots").clientWidth;
    if (now !== width) { width = now; redraw(); }
  }).observe(document.getElementById("plots"));
})();
