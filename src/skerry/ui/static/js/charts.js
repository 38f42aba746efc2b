// Charts by uPlot: a line for each slot, or for the host; what is not known is a gap, and who did not answer is named.
import uPlot from "../vendor/uplot.js";
import { html, useEffect, useRef, useState } from "../vendor/htm-preact.js";
import { ask } from "./session.js";
import { Choice, Empty, Failed, bytes, useAsked } from "./parts.js";
import { cleaned, reasonOf } from "./text.js";
import { natural } from "./store.js";

// range -> its seconds, the step, and after how many seconds it is asked for again
const RANGES = { "15 min": [900, 2, 4], "3 h": [10800, 20, 20], day: [86400, 300, 120], month: [2592000, 7200, 600] };
const cores = (n) => `${n < 0.1 && n > 0 ? n.toFixed(3) : n.toFixed(2)}`;
const seconds = (n) => (n >= 1 ? `${n.toFixed(1)} s` : `${(n * 1000).toFixed(n < 0.01 ? 1 : 0)} ms`);
const percent = (n) => `${(100 * n).toFixed(n && n < 0.1 ? 1 : 0)} %`;
const flow = (n) => `${bytes(n)}/s`;
const plain = (n) => String(Math.round(n * 100) / 100);
const SLOT = [["cpu_cores", "CPU", "cores", cores], ["memory_bytes", "Memory", "", bytes], ["network_received_bytes_per_s", "Network in", "", flow], ["network_sent_bytes_per_s", "Network out", "", flow],
  ["probe_s", "Probe", "how long it takes", seconds], ["request_s", "Requests", "how long they take", seconds], ["requests_per_s", "Requests", "a second", plain], ["cpu_throttled_share", "Throttled", "share of time", percent], ["memory_pressure_share", "Memory pressure", "share of time", percent], ["disk_written_bytes_per_s", "Disk writes", "", flow]];
const HOST = [["cpu_cores", "CPU", "cores", cores], ["memory_bytes", "Memory", "", bytes], ["load1", "Load", "tasks, of a minute", plain], ["disk_used_bytes", "Disk used", "", bytes], ["network_received_bytes_per_s", "Network in", "", flow], ["network_sent_bytes_per_s", "Network out", "", flow],
  ["io_pressure_share", "Disk pressure", "share of time", percent], ["memory_pressure_share", "Memory pressure", "share of time", percent]];
const COLOURS = 8;
const NAMED = 8;
const LEAST = 30; // steps of an axis

const at = (seconds, since) => new Date(seconds * 1000)[since > 172800 ? "toLocaleDateString" : "toLocaleTimeString"]("en-GB", since > 172800 ? { day: "numeric", month: "short" } : { hour: "2-digit", minute: "2-digit", second: since < 1800 ? "2-digit" : undefined });

export function Charts({ subject, kind }) {
  const [range, setRange] = useState("15 min");
  const [since, step, again] = RANGES[range];
  const charts = kind === "host" ? HOST : SLOT;
  const names = charts.map(([name]) => name).join();
  const [told, problem, repeat] = useAsked(`${subject} ${range}`, () => ask("GET", `/figures?subject=${encodeURIComponent(subject)}&names=${names}&since_s=${since}&step_s=${step}`));
  useEffect(() => {
    const timer = setInterval(() => { if (!document.hidden) repeat(); }, again * 1000);
    return () => clearInterval(timer);
  }, [range, subject]);
  const missing = told ? Object.entries(told.missing) : [];
  const unknown = told ? Object.entries(told.unknown).filter(([, of]) => Object.keys(of).length) : [];
  const mine = told ? told.series.filter((each) => kind === "host" ? each.subject === `node/${subject}` : !each.subject.startsWith("node/")) : [];
  const shown = charts.filter(([name]) => mine.some((each) => each.name === name && each.values.some((value) => value !== null)));
  return html`<div class="head"><h2 class="hidden">Charts</h2><${Choice} label="Range" value=${range} set=${setRange} options=${Object.keys(RANGES).map((key) => [key, key])} /></div>
    ${missing.length > 0 && html`<div class="note wait" role="status">${missing.map(([host, why]) => html`<p><strong>${host} did not answer</strong>, so what it kept is missing here: ${reasonOf(host, why)}</p>`)}</div>`}
    ${problem && !told ? html`<${Failed} problem=${problem} />` : !told ? html`<div class="charts" aria-hidden="true">${charts.slice(0, 4).map(() => html`<div class="chart"><div class="ghost plot"></div></div>`)}</div>`
      : shown.length ? html`<div class="charts">${shown.map(([name, title, unit, show]) => html`<${Chart} key=${name} title=${title} unit=${unit} show=${show} series=${mine.filter((each) => each.name === name)} since=${since} step=${step} sync=${subject} />`)}</div>`
      : told.missing[subject] ? html`<${Empty} title="Nothing is known of it now.">Each host keeps its own figures: when it answers again, they are here, too.<//>`
      : html`<${Empty} title="No figures yet.">The hosts take one each second from now on; this page shows them as they come.<//>`}
    ${unknown.length > 0 && html`<details><summary>What can't be known here</summary><ul>${unknown.flatMap(([host, of]) => Object.entries(of).map(([name, why]) => html`<li class="quiet">${host}: <span class="mono">${name}</span>: ${cleaned(why)}</li>`))}</ul></details>`}`;
}

/** [times, values of each series], on one axis from now back; no further than something is known. */
function laid(series, since, step) {
  const end = Math.max(...series.map((each) => each.start + each.step_s * each.values.length));
  const known = Math.min(...series.map((each) => each.start + each.step_s * Math.max(0, each.values.findIndex((value) => value !== null))));
  const first = Math.min(end - LEAST * step, Math.max(end - since, known));
  const length = Math.max(1, Math.ceil((end - first) / step));
  const times = Array.from({ length }, (_, n) => first + n * step);
  return [times, ...series.map((each) => {
    const line = new Array(length).fill(null);
    each.values.forEach((value, n) => {
      const at = Math.round((each.start + n * each.step_s - first) / step);
      if (at >= 0 && at < length && value !== null) line[at] = value;
    });
    return line;
  })];
}

const last = (values) => { for (let n = values.length - 1; n >= 0; n -= 1) if (values[n] !== null) return values[n]; return null; };

function Chart({ title, unit, show, series, since, step, sync }) {
  const box = useRef(null);
  const plot = useRef(null);
  const [theme, turn] = useState(0);
  const sorted = [...series].sort((a, b) => natural(a.subject, b.subject) || natural(a.host, b.host));
  const label = (each) => cleaned(each.subject.startsWith("node/") ? each.subject.slice(5) : sorted.filter((other) => other.subject === each.subject).length > 1 ? `${each.subject} on ${each.host}` : each.subject);
  const shape = sorted.map(label).join() + since;
  const data = sorted.length ? laid(sorted, since, step) : [[0]];
  useEffect(() => {
    const turned = () => turn((n) => n + 1);
    const media = matchMedia("(prefers-color-scheme: dark)");
    addEventListener("themechange", turned);
    media.addEventListener("change", turned);
    return () => { removeEventListener("themechange", turned); media.removeEventListener("change", turned); };
  }, []);
  useEffect(() => {
    const style = getComputedStyle(document.documentElement);
    const of = (name) => style.getPropertyValue(name).trim();
    const axis = { stroke: of("--soft"), grid: { stroke: of("--hair"), width: 1 }, ticks: { stroke: of("--hair"), width: 1, size: 4 }, font: "12px system-ui, sans-serif" };
    const made = new uPlot({
      width: box.current.clientWidth || 400, height: 190, padding: [8, 26, 0, 0], legend: { show: false }, cursor: { sync: { key: sync }, points: { size: 6 }, y: false },
      scales: { y: { range: (_, low, high) => [Math.min(0, low || 0), high > 0 ? high * 1.12 : 1] } },
      axes: [{ ...axis, space: 90, values: (_, ticks) => ticks.map((tick) => at(tick, since)) }, { ...axis, size: 74, values: (_, ticks) => ticks.map(show) }],
      series: [{}, ...sorted.map((each, n) => ({ label: label(each), stroke: of(`--plot-${(n % COLOURS) + 1}`), width: 1.6, dash: n >= COLOURS ? [5, 4] : undefined, points: { show: false } }))],
    }, data, box.current);
    plot.current = made;
    const sized = new ResizeObserver(() => made.setSize({ width: box.current.clientWidth, height: 190 }));
    sized.observe(box.current);
    return () => { sized.disconnect(); made.destroy(); };
  }, [shape, theme]);
  useEffect(() => { plot.current.setData(data); });
  const now = sorted.map((each, n) => [label(each), last(each.values), (n % COLOURS) + 1]).sort((a, b) => (a[1] === null) - (b[1] === null));
  return html`<figure class="chart"><h3>${title}${unit && html` <span class="quiet">${unit}</span>`}</h3>
    <div class="plot" ref=${box} role="img" aria-label=${`${title}: ${now.slice(0, NAMED).map(([name, value]) => `${name} ${value === null ? "not known" : show(value)}`).join(", ")}`}></div>
    <figcaption class="keys">${now.slice(0, NAMED).map(([name, value, colour]) => html`<span><i class=${`swatch plot-${colour}`} aria-hidden="true"></i>${name} <strong>${value === null ? "–" : show(value)}</strong></span>`)}${now.length > NAMED ? html`<span>and ${now.length - NAMED} more</span>` : null}</figcaption></figure>`;
}
