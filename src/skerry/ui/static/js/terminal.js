// Looking into a container, or a host, with a tool that runs beside it: what the target may notice is said first, then xterm.js.
import { html, useEffect, useRef, useState } from "../vendor/htm-preact.js";
import { ask, socket, Problem } from "./session.js";
import { cleaned } from "./text.js";
import { Empty, Failed, useAsked } from "./parts.js";

const VISIBLE = { unseen: ["ok", "unseen"], felt: ["work", "felt"], joined: ["wait", "joined"] };
const FEW = ["sh", "strace -f -p {pid}", "ls -la /target", "ps", "gdb -p {pid}", "py-spy dump --pid {pid}", "curl -sv localhost:8080/"];
const ON_HOSTS = ["sh", "ps", "ss -tlnp", "ls -la /target/var/log", "df -h"];

/** The page's policy lets no style be written into it, and xterm.js does: its <style> go into sheets of the document, its attributes
 *  into what they mean. Gives what takes this back. */
function stylesAside() {
  const make = Document.prototype.createElement;
  document.createElement = function createElement(name, ...more) {
    const made = make.call(document, name === "style" ? "template" : name, ...more); // in its place something that isn't shown
    if (name !== "style") {
      made.setAttribute = (key, value) => { if (key === "style") made.style.cssText = value; else Element.prototype.setAttribute.call(made, key, value); };
      return made;
    }
    const sheet = new CSSStyleSheet();
    document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
    Object.defineProperty(made, "textContent", { set: (text) => sheet.replaceSync(text), get: () => "" });
    made.remove = () => { document.adoptedStyleSheets = document.adoptedStyleSheets.filter((each) => each !== sheet); Element.prototype.remove.call(made); };
    return made;
  };
  return () => { delete document.createElement; };
}

/** Beside the container of a slot, or on a whole host. */
export function Tool({ slot = "", host = "" }) {
  const few = host ? ON_HOSTS : FEW;
  const [command, setCommand] = useState("sh");
  const [tools, setTools] = useState("base");
  const [write, setWrite] = useState(false);
  const [join, setJoin] = useState("");
  const [running, run] = useState(null);
  const [asked, setAsked] = useState("sh");
  useEffect(() => {
    const timer = setTimeout(() => setAsked(command), 250);
    return () => clearTimeout(timer);
  }, [command]);
  const [told, problem] = useAsked(`tools ${asked} ${write} ${join}`, () => ask("GET", `/tools?${new URLSearchParams({ command: asked, write, join })}`));
  const known = told ? told.tools : [];
  const [mark, word] = told && told.visibility ? VISIBLE[told.visibility] : ["wait", ""];
  const start = (event) => { event.preventDefault(); run({ slot, host, join, command, tools: known.includes(tools) ? tools : known[0], write, n: Date.now(), notices: told.notices }); };
  return html`<p class="quiet">${host ? html`A tool on the whole host, as root: it sees every process, and all files at <code>/target</code>. It needs the right <code>debug-host</code>, which operators have to be given: <code>skerry role add debug-host</code>.`
      : html`A tool runs beside the container, never in it: it sees its processes and no others, and its files at <code>/target</code>.`} Every start of one is an event.</p>
    ${told && !known.length ? html`<${Empty} title="There are no tools yet."><code>skerry tools build</code> makes them, and signs which may be run.<//>` : html`<form class="row gap" onSubmit=${start}>
      <label class="field">Tools<select value=${tools} onChange=${(event) => setTools(event.target.value)}>${known.map((each) => html`<option value=${each}>${each}</option>`)}</select></label>
      <label class="field grow">Command<input class="mono" list="few" value=${command} onInput=${(event) => setCommand(event.target.value)} spellcheck=${false} autocomplete="off" required /></label><datalist id="few">${few.map((each) => html`<option value=${each}></option>`)}</datalist>
      <button class="do first" type="submit" disabled=${!known.length || !word || asked !== command}>${running ? "Start anew" : "Start"}</button>
      <span class="switches"><label><input type="checkbox" checked=${write} onChange=${(event) => setWrite(event.target.checked)} /> may change files</label>
        ${!host && html`<label><input type="checkbox" checked=${join === "net"} onChange=${(event) => setJoin(event.target.checked ? "net" : "")} /> in the container's network <span class="quiet">(curl and dig as it would; else there is none)</span></label>`}</span></form>
      <p class="visible" role="status">${word ? html`<span class=${`word ${mark}`}><span class=${`mark ${mark}`} aria-hidden="true"></span>${word}</span> <span class="quiet">the ${host ? "host" : "container"} may notice: ${told.notices}</span>` : ""}</p>`}
    <${Failed} problem=${problem} />${running && html`<${Screen} key=${running.n} begin=${running} />`}`;
}

function Screen({ begin }) {
  const box = useRef(null);
  const [said, say] = useState([]);
  const [end, setEnd] = useState(null);
  const [problem, fail] = useState(null);
  useEffect(() => {
    let gone = false;
    let clear = () => {};
    const add = (text) => say((before) => [...before.slice(-20), text]);
    (async () => {
      const [{ Terminal }, { FitAddon }] = await Promise.all([import("../vendor/xterm.js"), import("../vendor/addon-fit.js")]);
      if (gone) return;
      const back = stylesAside();
      const terminal = new Terminal({ fontSize: 13, fontFamily: "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace", cursorBlink: false, scrollback: 5000, screenReaderMode: true,
        theme: { background: "#101316", foreground: "#e7e9ea", cursor: "#6cc5be", selectionBackground: "#2f5a57" } });
      const fit = new FitAddon();
      terminal.loadAddon(fit);
      terminal.open(box.current);
      fit.fit();
      terminal.focus();
      const wire = socket("/terminal");
      wire.binaryType = "arraybuffer";
      const sizes = new ResizeObserver(() => fit.fit());
      sizes.observe(box.current);
      wire.addEventListener("open", () => {
        const { n: _, notices: __, ...rest } = begin;
        wire.send(JSON.stringify({ ...rest, rows: terminal.rows, cols: terminal.cols }));
      });
      let live = false;
      let ahead = ""; // typed before it runs
      const write = (text) => { if (live) wire.send(new TextEncoder().encode(text)); else if (ahead.length < 4096) ahead += text; };
      terminal.onData(write);
      terminal.onBinary((text) => live && wire.send(Uint8Array.from(text, (c) => c.charCodeAt(0))));
      terminal.onResize(({ rows, cols }) => live && wire.send(JSON.stringify([rows, cols])));
      wire.addEventListener("message", (event) => {
        if (typeof event.data !== "string") { terminal.write(new Uint8Array(event.data)); return; }
        const told = JSON.parse(event.data);
        if (told.visibility) { live = true; told.notices.filter((line) => !line.endsWith(`may notice: ${begin.notices}`)).forEach(add); if (ahead) write(ahead); wire.send(JSON.stringify([terminal.rows, terminal.cols])); }
        if (told.progress) add(told.progress);
        if (told.notice) add(told.notice);
        if (told.error) { live = false; fail(new Problem(told.error, told.error.status)); }
        if (told.end) { live = false; setEnd(told.end); }
      });
      wire.addEventListener("close", () => { live = false; setEnd((before) => before || { code: null, why: "the connection ended" }); });
      clear = () => { wire.close(); sizes.disconnect(); terminal.dispose(); back(); };
    })();
    return () => { gone = true; clear(); };
  }, []);
  return html`<div class="screen" hidden=${Boolean(problem)} ref=${box} aria-label="Terminal"></div>
    <div aria-live="polite">${said.map((line) => html`<p class="quiet">${cleaned(line)}</p>`)}${end && !problem && html`<p class="quiet">It ended${end.code === null ? "" : ` with ${end.code}`}${end.why ? `: ${cleaned(end.why)}` : ""}.</p>`}<${Failed} problem=${problem} /></div>`;
}
