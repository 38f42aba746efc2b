// Log lines and events as they come: bounded, filtered here, and cleaned.
import { html, useEffect, useMemo, useRef, useState } from "../vendor/htm-preact.js";
import { watch } from "./session.js";
import { Choice, Empty, clock, iso } from "./parts.js";
import { cleaned, reasonOf } from "./text.js";

const KEPT = 5000;
const SHOWN = 800;

/** A line of JSON as its message and the rest: what a person looks for first comes first. */
export function told(text) {
  if (text[0] === "{" && text.length < 20000) {
    try {
      const { message, msg, level, severity, time, timestamp, ts, ...rest } = JSON.parse(text);
      const head = [level ?? severity, message ?? msg].filter((part) => part !== undefined).map((part) => (typeof part === "string" ? part : JSON.stringify(part))).join("  ");
      if (head) return cleaned([head, ...Object.entries(rest).map(([key, value]) => `${key}=${typeof value === "string" ? value : JSON.stringify(value)}`)].join("  "));
    } catch { /* not JSON: as it is */ }
  }
  return cleaned(text);
}

/** A stream's last pieces. They are drawn once a frame, however many come. */
function useTail(kind, args, key) {
  const kept = useRef([]);
  const [, draw] = useState(0);
  const [problem, fail] = useState(null);
  const [begun, begin] = useState(false);
  useEffect(() => {
    let waits = 0;
    kept.current = [];
    fail(null);
    const show = () => { waits = 0; begin(true); draw((n) => n + 1); };
    const quiet = setTimeout(show, 1500);
    const end = watch(kind, args, (row) => {
      kept.current.push(row);
      if (kept.current.length > KEPT) kept.current.splice(0, kept.current.length - KEPT);
      if (!waits) waits = requestAnimationFrame(show);
    }, { failed: fail, began: () => { kept.current = []; } });
    return () => { end(); clearTimeout(quiet); cancelAnimationFrame(waits); };
  }, [key]);
  return [kept.current, problem, begun];
}

export function Logs({ targets }) {
  const [filter, setFilter] = useState("");
  const [stream, setStream] = useState("all");
  const [held, hold] = useState(null);
  const [rows, problem, begun] = useTail("logs", { targets, tail: 500 }, targets.join());
  const box = useRef(null);
  const stuck = useRef(true);
  const shown = held || rows;
  const found = shown.filter((row) => (row.unanswered || row.dropped || ((stream === "all" || row.stream === stream) && (!filter || `${row.slot} ${row.text}`.toLowerCase().includes(filter.toLowerCase()))))).slice(-SHOWN);
  useEffect(() => {
    if (stuck.current && box.current) box.current.scrollTop = box.current.scrollHeight;
  });
  return html`<div class="head"><h2 class="hidden">Logs</h2>
      <label class="hidden" for="grep">Filter lines</label><input id="grep" type="search" placeholder="Filter  ( / )" value=${filter} onInput=${(event) => setFilter(event.target.value)} />
      <${Choice} label="Stream" value=${stream} set=${setStream} options=${[["all", "all"], ["stdout", "stdout"], ["stderr", "stderr"]]} />
      <button class="do" type="button" aria-pressed=${String(Boolean(held))} onClick=${() => hold(held ? null : [...rows])}>${held ? "Go on" : "Hold"}</button>
      <span class="quiet" role="status">${held ? `held; ${Math.max(0, rows.length - held.length)} more came` : found.length ? `${found.length}${found.length === SHOWN ? " last" : ""} lines` : ""}</span></div>
    ${problem ? html`<${Empty} title=${problem.title}>${problem.detail}<//>` : html`<ol class="lines" ref=${box} tabindex="0" aria-label="Log lines" onScroll=${(event) => { const at = event.target; stuck.current = at.scrollHeight - at.scrollTop - at.clientHeight < 40; }}>
      ${found.length ? found.map((row, n) => row.unanswered ? html`<li class="gap" key=${`u${n}`}>${row.node} did not answer: ${reasonOf(row.node, row.unanswered)}</li>`
        : row.dropped ? html`<li class="gap" key=${`d${n}`}>${row.dropped} lines of ${row.slot || row.node} were dropped here</li>`
        : html`<li class=${row.stream} key=${`${row.time}${row.slot}${n}`}><time class="when" title=${row.time}>${clock(row.time)}</time><span class="from">${row.slot}</span><span class="text">${told(row.text)}</span></li>`)
        : html`<li class="gap">${filter ? "No line has this in it." : begun ? "No line yet. New ones come by themselves." : "Asking the hosts…"}</li>`}</ol>`}`;
}

/** Events: all, or those that `meant` says are of the page's subject. */
export function Events({ meant = () => true, tail = 200, empty = "Nothing happened yet." }) {
  const [filter, setFilter] = useState("");
  const [rows, problem, begun] = useTail("events", { tail }, "events");
  const found = useMemo(() => rows.filter((row) => row.unanswered || (meant(row) && (!filter || `${row.node} ${row.kind} ${row.subject} ${row.reason}`.toLowerCase().includes(filter.toLowerCase())))).sort((a, b) => Boolean(b.unanswered) - Boolean(a.unanswered) || b.time - a.time).slice(0, SHOWN), [rows, rows.length, filter]);
  return html`<div class="head"><h2 class="hidden">Events</h2><label class="hidden" for="events-filter">Filter events</label>
      <input id="events-filter" type="search" placeholder="Filter  ( / )" value=${filter} onInput=${(event) => setFilter(event.target.value)} /></div>
    ${problem ? html`<${Empty} title=${problem.title}>${problem.detail}<//>` : html`<ol class="events">${found.map((row) => row.unanswered
      ? html`<li key=${`u${row.node}`}><span class="when"></span><span class="word wait">${row.node}</span><span></span><span class="text">did not answer, so its own events are missing: ${reasonOf(row.node, row.unanswered)}</span></li>`
      : html`<li key=${`${row.node}${row.time}${row.kind}${row.subject}`}><time class="when" title=${iso(row.time)}>${clock(row.time)}</time><span class="mono">${cleaned(row.subject)}</span><span class="kind">${cleaned(row.kind)}</span><span class="text">${cleaned(row.reason)} <span class="quiet">${row.node}</span></span></li>`)}</ol>
      ${!found.length && html`<${Empty} title=${filter ? "No event has this in it." : begun ? empty : "Asking the hosts…"} />`}`}`;
}

export const EventsPage = () => html`<h1 class="lead">Events</h1><p class="under">What each host did and why, newest first, by its own clock.</p><section><${Events} /></section>`;
