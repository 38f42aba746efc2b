// What pages are made of. All text goes in as text: nothing here, or anywhere below, makes markup out of a string.
import { html, useEffect, useRef, useState } from "../vendor/htm-preact.js";
import { MOODS, count } from "./store.js";

export const link = {
  app: (name, tab) => `#/apps/${encodeURIComponent(name)}${tab ? `/${tab}` : ""}`,
  host: (name, tab) => `#/hosts/${encodeURIComponent(name)}${tab ? `/${tab}` : ""}`,
  slot: (name, tab, path) => `#/slots/${encodeURIComponent(name)}${tab ? `/${tab}` : ""}${path ? `/${encodeURIComponent(path)}` : ""}`,
  image: (digest) => `#/images/${encodeURIComponent(digest)}`,
};

export const Mark = ({ mood }) => html`<span class=${`mark ${mood}`} aria-hidden="true"></span>`;

export const Word = ({ mood, children }) => html`<span class=${`word ${mood}`}><${Mark} mood=${mood} />${children || MOODS[mood]}</span>`;

/** One dot a slot while they are few; else shares of the whole. */
export function Dots({ rows, label, href }) {
  if (rows.length > 24) {
    const counts = Object.entries(count(rows)).filter(([, n]) => n);
    const told = counts.map(([mood, n]) => `${n} ${MOODS[mood]}`).join(", ");
    return html`<span class="share" role="img" aria-label=${told} title=${told}>
      ${counts.map(([mood, n]) => html`<i class=${mood} style=${{ width: `${(100 * n) / rows.length}%` }}></i>`)}</span>`;
  }
  const told = rows.length ? Object.entries(count(rows)).filter(([, n]) => n).map(([mood, n]) => `${n} ${MOODS[mood]}`).join(", ") : "none";
  return html`<span class="dots" role="img" aria-label=${`${label}: ${told}`}>
    ${rows.map((row) => html`<i key=${row.slot} title=${`${row.slot}: ${MOODS[row.mood]}${row.why ? `, ${row.why}` : ""}`}><${Mark} mood=${row.mood} /></i>`)}</span>`;
}

export function Meter({ share }) {
  const high = share >= 0.95 ? " full" : share >= 0.8 ? " high" : "";
  return html`<span class=${`meter${high}`} aria-hidden="true"><i style=${{ width: `${Math.round(100 * Math.min(1, Math.max(0, share)))}%` }}></i></span>`;
}

export const Empty = ({ title, children }) => html`<div class="empty"><strong>${title}</strong>${children}</div>`;

export function Failed({ problem }) {
  if (!problem) return null;
  return html`<div class="note bad" role="alert"><p><strong>${problem.title || problem.message}</strong></p>
    ${problem.detail && html`<p>${problem.detail}</p>`}
    ${(problem.mistakes || []).map((each) => html`<p class="mono">${each.line ? `line ${each.line}: ` : ""}${each.where ? `${each.where}: ` : ""}${each.what}${each.fix ? ` — ${each.fix}` : ""}</p>`)}
    ${problem.fix && html`<p class="fix">${problem.fix}</p>`}</div>`;
}

export const Loading = ({ lines = 4 }) => html`<div role="status" aria-label="loading">
  ${Array.from({ length: lines }, (_, n) => html`<p class="ghost" style=${{ width: `${62 - ((n * 17) % 34)}%`, margin: "10px 0" }} aria-hidden="true">.</p>`)}</div>`;

/** Tabs that are addresses: they can be opened, kept and gone back to. */
export function Tabs({ tabs, now, to }) {
  const own = useRef(null);
  useEffect(() => {
    const [box, here] = [own.current, own.current.querySelector("[aria-current]")];
    if (here) box.scrollLeft = here.offsetLeft - box.offsetLeft - (box.clientWidth - here.clientWidth) / 2; // on a phone not all are in sight
  }, [now, tabs.length]);
  return html`<nav class="tabs" aria-label="Of this page" ref=${own}>
  ${tabs.map(([key, label]) => html`<a href=${to(key)} aria-current=${key === now ? "page" : undefined}>${label}</a>`)}</nav>`;
}

export const Choice = ({ label, options, value, set }) => html`<span class="choice" role="group" aria-label=${label}>
  ${options.map(([key, word]) => html`<button type="button" aria-pressed=${String(key === value)} onClick=${() => set(key)}>${word}</button>`)}</span>`;

export function Modal({ title, close, children }) {
  const own = useRef(null);
  useEffect(() => {
    if (!own.current.open) own.current.showModal();
  }, []);
  return html`<dialog ref=${own} aria-labelledby="dialog-title" onCancel=${(event) => { event.preventDefault(); close(); }}
    onClick=${(event) => event.target === own.current && close()}><h2 id="dialog-title">${title}</h2>${children}</dialog>`;
}

/** What a request gave: [value, problem, ask again]. `key`: asked anew when it changes. */
export function useAsked(key, ask) {
  const [told, set] = useState({});
  const [again, repeat] = useState(0);
  useEffect(() => {
    let here = true;
    ask().then((value) => here && set({ key, value }), (problem) => here && set((was) => ({ key, value: was.key === key ? was.value : undefined, problem })));
    return () => { here = false; };
  }, [key, again]);
  const mine = told.key === key ? told : {};
  return [mine.value, mine.problem, () => repeat((n) => n + 1)];
}

/** Let the browser write a file. Its name is somebody else's word: only what is harmless in one stays. */
export function save(content, name, type) {
  const address = URL.createObjectURL(new Blob([content], { type }));
  Object.assign(document.createElement("a"), { href: address, download: name.replace(/[^\w.-]+/g, "-").replace(/^\.+/, "") || "file" }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

// -- figures in words

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

export function bytes(n) {
  if (n === null || n === undefined) return "unknown";
  let at = 0;
  while (Math.abs(n) >= 1024 && at < UNITS.length - 1) { n /= 1024; at += 1; }
  return `${at && Math.abs(n) < 10 ? n.toFixed(1) : Math.round(n)} ${UNITS[at]}`;
}

export const usd = (n) => `${n.toFixed(n && n < 1 ? 4 : 2)} USD`;

export function age(when, now = Date.now()) {
  const s = Math.max(0, Math.round((now - (typeof when === "number" ? when * 1000 : Date.parse(when))) / 1000));
  if (!Number.isFinite(s)) return "";
  if (s < 100) return `${s} s`;
  if (s < 6000) return `${Math.round(s / 60)} min`;
  if (s < 172800) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86400)} days`;
}

export function clock(when) {
  const at = new Date(typeof when === "number" ? when * 1000 : when);
  return Number.isNaN(at.getTime()) ? "" : at.toLocaleTimeString("en-GB");
}

/** A moment, "" for what is none. */
export function iso(when) {
  const at = new Date(when * 1000);
  return Number.isNaN(at.getTime()) ? "" : at.toISOString();
}

export const short = (digest) => (digest || "").replace(/^sha256:/, "").slice(0, 12);

export const many = (n, one, more = `${one}s`) => `${n} ${n === 1 ? one : more}`;
