// A compose file, dropped: the difference first, then a yes, then how it goes.
import { html, useEffect, useRef, useState } from "../vendor/htm-preact.js";
import { ask } from "./session.js";
import { Operation, begin } from "./act.js";
import { by } from "./store.js";
import { Failed, link, many, short } from "./parts.js";

const MOST = 1 << 20;

/** The app's name in the file, as far as it can be seen without reading YAML: the server has the last word. */
function nameIn(text, file) {
  const named = text.match(/^name:\s*["']?([a-z0-9][a-z0-9-]*)["']?\s*$/m);
  if (named) return named[1];
  const stem = file.replace(/\.(ya?ml)$/i, "").toLowerCase();
  return /^(docker-)?compose/.test(stem) || !/^[a-z0-9][a-z0-9-]*$/.test(stem) ? "" : stem;
}

export function Deploy({ route: [given = ""] }) {
  const [text, setText] = useState("");
  const [name, setName] = useState(given);
  const [file, setFile] = useState("");
  const [over, setOver] = useState(false);
  const [found, setFound] = useState(null);
  const [problem, fail] = useState(null);
  const [operation, setOperation] = useState(null);
  const [done, setDone] = useState(null);
  const [busy, setBusy] = useState(false);
  const picker = useRef(null);
  const of = `/v1/apps/${encodeURIComponent(name)}`;

  const take = async (chosen) => {
    if (!chosen) return;
    if (chosen.size > MOST) { fail({ title: `${chosen.name} was not read`, detail: "it is larger than 1 MiB: is it a compose file?" }); return; }
    const read = await chosen.text();
    const meant = given || nameIn(read, chosen.name);
    setText(read); setFile(chosen.name); setFound(null); fail(null);
    if (meant) setName(meant);
    if (meant) await look(meant, read);
  };
  const look = async (app = name, compose = text) => {
    setBusy(true); fail(null); setFound(null);
    try {
      const before = await ask("GET", `/v1/apps/${encodeURIComponent(app)}`).catch((error) => { if (error.status === 404) return null; throw error; });
      const changes = await ask("POST", `/v1/apps/${encodeURIComponent(app)}/diff`, { compose });
      setFound({ before, changes: changes.items, text: compose, name: app });
    } catch (error) { fail(error); }
    setBusy(false);
  };
  const go = async () => {
    setBusy(true); fail(null);
    try {
      setOperation(await begin("PUT", of, { compose: found.text }, found.before ? { "if-match": `"${found.before.etag}"` } : { "if-none-match": "*" }));
    } catch (error) { fail(error); }
    setBusy(false);
  };
  const again = () => { setOperation(null); setDone(null); setFound(null); fail(null); };

  if (operation) return html`<h1 class="lead">${done ? (done.state === "done" ? `${name} runs.` : `${name} was not deployed.`) : `Deploying ${name}…`}</h1>
    <section><${Operation} operation=${operation} over=${setDone} /><div class="actions" style=${{ marginTop: "16px" }}><a class="do first" href=${link.app(name)}>Look at ${name}</a>${done && html`<button class="do" type="button" onClick=${again}>Deploy again</button>`}</div></section>`;
  const fresh = found && found.text === text && found.name === name;
  return html`<h1 class="lead">${given ? `Deploy ${given}` : "Deploy"}</h1><p class="under">A compose file: you see what it would change, and nothing is changed until you say so.</p>
    <section><div class=${`drop${over ? " over" : ""}`} onDragOver=${(event) => { event.preventDefault(); setOver(true); }} onDragLeave=${() => setOver(false)}
        onDrop=${(event) => { event.preventDefault(); setOver(false); take(event.dataTransfer.files[0]); }}>
        <strong>${file || "Drop a compose file here"}</strong>${file ? "or another one, " : "or "}<button class="do" type="button" onClick=${() => picker.current.click()}>choose one</button>
        <input class="hidden" ref=${picker} type="file" aria-label="Compose file" tabindex="-1" accept=".yaml,.yml" onChange=${(event) => take(event.target.files[0])} /></div></section>
    <section><div class="row" style=${{ marginBottom: "12px" }}><label class="field">App<input value=${name} disabled=${Boolean(given)} onInput=${(event) => setName(event.target.value.trim())} pattern="[a-z0-9][a-z0-9-]*" spellcheck=${false} autocomplete="off" /></label>
        <button class=${`do${fresh ? "" : " first"}`} type="button" disabled=${busy || !text || !name} onClick=${() => look()}>Show what it would change</button></div>
      <label class="hidden" for="compose">Compose file</label><textarea id="compose" spellcheck=${false} placeholder="services:\n  web:\n    image: …" value=${text} onInput=${(event) => setText(event.target.value)}></textarea>
      <p class="quiet" style=${{ marginTop: "6px" }}>Images are named as this machine's store has them. What has to be built first: <code>skerry deploy</code>.</p></section>
    <div aria-live="polite"><${Failed} problem=${problem} />${fresh && html`<${Difference} found=${found} busy=${busy} go=${go} />`}</div>`;
}

const BARE = [null, "", 0, false];
const bare = (value) => BARE.includes(value) || (Array.isArray(value) && !value.length);

/** A service that comes or goes, as its image tells, is one row; all that is said of one that comes is inside. */
function folded(changes) {
  const service = (each) => (each.field.match(each.path.startsWith("app/") ? /^services\.([^.]+)\./ : /^images\.([^.]+)$/) || [])[1];
  const of = by(changes.filter(service), service);
  const image = (name) => of.get(name).find((each) => each.field === `images.${name}`);
  const named = (what) => [...of.keys()].filter((name) => image(name) && image(name)[what] === null);
  const [goes, comes] = [named("new"), named("old")];
  const whole = (name) => ({ path: "app/", field: `services.${name}`, old: null, new: null });
  return [...goes.map((name) => ({ ...whole(name), old: "the whole service" })), ...comes.map((name) => ({ ...whole(name), new: fresh(of.get(name)), inner: of.get(name).filter((each) => !bare(each.new)) })),
    ...changes.filter((each) => ![...goes, ...comes].includes(service(each)))];
}

function fresh(its) {
  const value = (field) => (its.find((each) => each.field.endsWith(`.${field}`)) || {}).new;
  return `new: ${many(value("replicas") ?? 1, "replica")}${value("scale.max") ? `, up to ${value("scale.max")}` : ""}`;
}

function Difference({ found, busy, go }) {
  const own = useRef(null);
  useEffect(() => own.current && own.current.scrollIntoView({ block: "nearest" }), []);
  if (!found.changes.length) return html`<div class="note ok"><p><strong>It would change nothing: ${found.name} is as the file says.</strong></p></div>`;
  const changes = folded(found.changes);
  const gone = changes.filter((each) => each.new === null);
  return html`<section ref=${own}><div class="head"><h2>${found.before ? `What changes in ${found.name}` : `${found.name} is new`}</h2></div>
    <table class="cards"><thead><tr><th>Field</th>${found.before && html`<th>Now</th>`}<th>${found.before ? "Then" : "Value"}</th></tr></thead><tbody>
    ${changes.map((each) => html`<tr key=${each.path + each.field}><td class="mono"><span class="quiet">${each.path.split("/")[0]}</span> ${each.field}</td>${found.before && html`<td class="mono">${each.old === null ? html`<span class="quiet">not there</span>` : html`<span class="was">${shown(each.old)}</span>`}</td>`}
      <td class="mono">${each.new === null ? html`<span class="word bad">goes</span>` : each.inner ? html`<details class="bare"><summary class="is">${each.new}</summary><dl class="facts mono">${each.inner.map((one) => html`<dt>${one.field.startsWith("images.") ? "image" : one.field.split(".").slice(2).join(".")}</dt><dd>${shown(one.new)}</dd>`)}</dl></details>` : html`<span class="is">${shown(each.new)}</span>`}</td></tr>`)}</tbody></table>
    ${gone.length > 0 && html`<div class="note wait"><p>What goes: ${gone.map((each) => each.field).join(", ")}.</p></div>`}
    <div class="actions" style=${{ marginTop: "18px" }}><button class="do first" type="button" disabled=${busy} onClick=${go}>Deploy ${found.name}</button></div></section>`;
}

const shown = (value) => (typeof value !== "string" ? JSON.stringify(value) : /^sha256:[0-9a-f]{64}$/.test(value) ? html`<span title=${value}>sha256:${short(value)}</span>` : value);
