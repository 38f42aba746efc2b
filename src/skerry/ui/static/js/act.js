// What changes something: asked first, named in what it does and loses, then followed to its end.
import { html, useEffect, useState } from "../vendor/htm-preact.js";
import { ask, watch } from "./session.js";
import { Failed, Modal } from "./parts.js";

/** Begin an operation; gives it. Asked again with the same key it would not be done twice. */
export function begin(method, path, body, headers = {}) {
  return ask(method, path, body, { "idempotency-key": crypto.randomUUID(), ...headers });
}

const ENDS = { done: "Done.", failed: "It failed.", cancelled: "It was cancelled; what hosts had accepted goes on.", lost: "skerry ui was ended meanwhile; what hosts had accepted goes on." };

/** An operation as it goes on. */
export function Operation({ operation, over = () => {} }) {
  const [now, set] = useState(operation);
  const [problem, setProblem] = useState(null);
  useEffect(() => watch("operation", { id: operation.id }, (told) => { set(told); if (told.state !== "running") over(told); }, { failed: setProblem }), [operation.id]);
  const cancel = () => ask("DELETE", `/v1/operations/${now.id}`).catch(setProblem);
  return html`<div class="body" aria-live="polite"><ol class="steps">${now.progress.map((line) => html`<li>${line}</li>`)}</ol>
    <p>${now.state === "running" ? html`<span class="word work"><span class="mark work" aria-hidden="true"></span>under way…</span>` : html`<strong>${ENDS[now.state]}</strong>`}
      ${now.state === "running" && now.cancellable && html` <button class="do" type="button" onClick=${cancel}>Stop waiting</button>`}</p>
    <${Failed} problem=${now.error || problem} /></div>`;
}

/** A dialog that says what is about to be done, does it, and shows how it goes. `start`: begins it. `loss`: what can't be had back. `off`: it can't be begun so. */
export function Act({ title, verb, loss, typed, off, start, close, children }) {
  const [operation, set] = useState(null);
  const [problem, setProblem] = useState(null);
  const [said, say] = useState("");
  const [busy, setBusy] = useState(false);
  const [over, setOver] = useState(false);
  const go = async (event) => {
    event.preventDefault();
    setBusy(true);
    setProblem(null);
    try {
      const told = await start();
      if (told && told.id) set(told);
      else close();
    } catch (error) { setProblem(error); setBusy(false); }
  };
  return html`<${Modal} title=${title} close=${close}>${operation
    ? html`<div class="body"><${Operation} operation=${operation} over=${() => setOver(true)} /><div class="actions"><button class="do" type="button" onClick=${close}>${over ? "Close" : "Close; it goes on"}</button></div></div>`
    : html`<form onSubmit=${go}><div>${children}</div>${loss && html`<div class="note bad"><p>${loss}</p></div>`}
      ${typed && html`<label class="field">To confirm, write ${typed}<input value=${said} onInput=${(event) => say(event.target.value)} autocomplete="off" spellcheck=${false} /></label>`}
      <${Failed} problem=${problem} /><div class="actions"><button class="do" type="button" onClick=${close}>Leave it</button>
      <button class=${`do first${loss ? " loss" : ""}`} type="submit" disabled=${busy || off || (typed && said !== typed)}>${verb}</button></div></form>`}<//>`;
}
