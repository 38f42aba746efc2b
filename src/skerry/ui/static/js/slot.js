// One replica looked into without a tool: files, processes, sockets, what it changed, its last crash; and a tool, where that is not enough.
import { html, useState } from "../vendor/htm-preact.js";
import { ask } from "./session.js";
import { mood, natural, useCloud } from "./store.js";
import { Charts } from "./charts.js";
import { Logs } from "./lines.js";
import { Tool } from "./terminal.js";
import { cleaned, cleanedAll, visible } from "./text.js";
import { Empty, Failed, Loading, Meter, Tabs, Word, age, bytes, iso, link, many, save, useAsked } from "./parts.js";

const TABS = [["", "Files"], ["processes", "Processes"], ["sockets", "Sockets"], ["changed", "Changed"], ["crash", "Crash"], ["logs", "Logs"], ["charts", "Charts"], ["terminal", "Terminal"]];
const SHOWN_BYTES = 256 << 10;
const SAVED_BYTES = 64 << 20;
const DUMPED_BYTES = 1024;

export function SlotPage({ route: [slot, tab = "", more = ""] }) {
  const cloud = useCloud();
  const row = cloud.slots[slot];
  return html`<p class="crumb"><a href="#/">Overview</a>${row && html` / <a href=${link.app(row.app)}>${row.app}</a>`} / replica</p><h1 class="lead mono">${slot}</h1>
    <p class="under">${!cloud.seen ? "Looking at the cloud…" : !row ? "It is not among what is wanted now." : html`<${Word} mood=${mood(row)}>${row.healthy ? "healthy" : row.state}<//>${row.node ? html` on <a class="link" href=${link.host(row.node)}>${row.node}</a>` : ", on no host"}${row.version && `, version ${row.version}`}${row.why ? `: ${row.why}` : ""}`}</p>
    <${Tabs} tabs=${TABS} now=${TABS.some(([key]) => key === tab) ? tab : ""} to=${(key) => link.slot(slot, key)} />
    <section>${tab === "processes" ? html`<${Processes} slot=${slot} />` : tab === "sockets" ? html`<${Sockets} slot=${slot} />`
      : tab === "changed" ? html`<${Changed} slot=${slot} />` : tab === "crash" ? html`<${Crash} slot=${slot} path=${more} />`
      : tab === "logs" ? html`<${Logs} targets=${[slot]} />` : tab === "charts" ? html`<${Charts} subject=${slot} kind="slot" />`
      : tab === "terminal" ? html`<${Tool} slot=${slot} />` : html`<${Files} slot=${slot} tab="files" path=${more || "/"} />`}</section>`;
}

const asked = (path, args) => ask("GET", `${path}?${new URLSearchParams(args)}`);

const NAMED = ["ls", "files"]; // names lead on: they are cleaned where they are shown

/** What one look tells: [answer, problem, again], and the line over it. */
function useLook(slot, what, more = {}) {
  return useAsked(`${slot} ${what} ${Object.values(more).join(" ")}`, () => asked("/look", { slot, what, ...more }).then(NAMED.includes(what) ? (told) => told : cleanedAll));
}

const Seen = ({ title, note, again }) => html`<div class="head"><h2>${title}</h2><span class="quiet">${note}</span><span class="grow"></span><button class="do" type="button" onClick=${again}>Look again</button></div>`;

/** That it runs nowhere is no trouble of the look. */
const Refused = ({ problem }) => problem && problem.code === "not-held" ? html`<${Empty} title="It runs nowhere now.">${problem.detail}. What is kept of its last crash can still be looked at.<//>` : html`<${Failed} problem=${problem} />`;

const More = ({ told }) => told.more && html`<p class="quiet">There are more than these ${told.rows.length}.</p>`;

function Processes({ slot }) {
  const [told, problem, again] = useLook(slot, "procs");
  if (!told) return problem ? html`<${Refused} problem=${problem} />` : html`<${Loading} />`;
  return html`<${Seen} title=${`Processes (${told.rows.length})`} note="Read from outside: it notices nothing. CPU over a quarter of a second." again=${again} /><${Failed} problem=${problem} />
    <div class="scroll"><table class="cards"><thead><tr><th class="right">PID</th><th>Command</th><th>User</th><th>State</th><th class="right">CPU</th><th class="right">Memory</th><th class="right">Threads</th><th class="right">Since</th></tr></thead><tbody>
    ${[...told.rows].sort((a, b) => a.pid - b.pid).map((each) => html`<tr key=${each.host_pid}><td class="right" data-is="pid">${each.pid}</td><td class="mono wide"><div class="clamp" title=${each.command.join(" ")}>${each.command.join(" ")}</div></td><td class="tight" data-is="user">${each.user}</td><td class="tight">${each.state}${each.waits_in && html`<div class="why mono">${each.waits_in}</div>`}</td>
      <td class="right tight" data-is="CPU">${each.cpu_cores.toFixed(2)}</td><td class="right tight" data-is="memory">${bytes(each.memory_bytes)}</td><td class="right" data-is="threads">${each.threads}</td><td class="right tight quiet" data-is="since">${age(each.started)}</td></tr>`)}</tbody></table></div><${More} told=${told} />`;
}

function Sockets({ slot }) {
  const [told, problem, again] = useLook(slot, "sockets");
  if (!told) return problem ? html`<${Refused} problem=${problem} />` : html`<${Loading} />`;
  return html`<${Seen} title=${`Sockets (${told.rows.length})`} note="Read from outside: it notices nothing." again=${again} /><${Failed} problem=${problem} />
    ${told.rows.length ? html`<div class="scroll"><table class="cards"><thead><tr><th>Kind</th><th>State</th><th>Local</th><th>Remote</th><th class="right" title="bytes, or connections that nobody accepted">Waits in</th><th class="right">Waits out</th><th>Process</th></tr></thead><tbody>
    ${told.rows.map((each, n) => html`<tr key=${n}><td class="tight">${each.kind}</td><td class="tight">${each.state}</td><td class="mono">${each.local}</td><td class="mono">${each.remote}</td><td class="right" data-is="in">${each.waiting_in}</td><td class="right" data-is="out">${each.waiting_out}</td>
      <td class="tight">${each.pid ? html`${each.process} <span class="quiet">${each.pid}</span>` : html`<span class="quiet">nobody's</span>`}</td></tr>`)}</tbody></table></div><${More} told=${told} />` : html`<${Empty} title="It has no sockets.">Nobody reaches it, and it reaches nobody.<//>`}`;
}

function Changed({ slot }) {
  const [told, problem, again] = useLook(slot, "files");
  if (!told) return problem ? html`<${Refused} problem=${problem} />` : html`<${Loading} />`;
  return html`<${Seen} title="Changed since it started" note="Its image is read-only; what was removed from a volume can't be seen." again=${again} /><${Failed} problem=${problem} />
    ${told.rows.length ? html`<div class="scroll"><table class="cards"><thead><tr><th>Path</th><th>Change</th><th>Kind</th><th class="right">Size</th><th class="right">Modified</th></tr></thead><tbody>
    ${[...told.rows].sort((a, b) => natural(a.name, b.name)).map((each) => html`<tr key=${each.name}><td class="mono"><a href=${link.slot(slot, "files", each.name)}>${cleaned(each.name)}</a></td><td class="tight">${each.change}</td><td class="tight">${each.kind}</td><td class="right tight">${each.kind === "file" ? bytes(each.size_bytes) : ""}</td><td class="right tight quiet"><time title=${iso(each.modified)}>${age(each.modified)} ago</time></td></tr>`)}</tbody></table></div><${More} told=${told} />`
      : html`<${Empty} title="It has changed nothing." />`}
    ${told.places.length > 0 && html`<div class="head gap"><h2>Where it can write</h2></div><table class="cards"><tbody>${told.places.map((each) => html`<tr key=${each.path}><td class="mono name"><a href=${link.slot(slot, "files", each.path)}>${cleaned(each.path)}</a></td><td class="tight">${each.kind === "memory" ? "in memory, gone at its end" : "a volume, kept"}</td>
      <td class="wide">${each.limit_bytes ? html`${bytes(each.used_bytes)} of ${bytes(each.limit_bytes)}<${Meter} share=${each.used_bytes / each.limit_bytes} />` : ""}</td></tr>`)}</tbody></table>`}`;
}

/** `tab`: "files" of the one that runs, "crash" of what is kept of one that did. */
function Files({ slot, tab, path }) {
  const crashed = tab === "crash";
  const [told, problem, again] = useLook(slot, "ls", { path, crashed });
  const whole = told && told.rows.length === 1 && told.rows[0].name === path && told.rows[0].kind !== "directory" ? told.rows[0] : null;
  const parts = path.split("/").filter(Boolean);
  return html`<div class="head"><h2 class="hidden">Files</h2><nav class="path mono" aria-label="Path"><a href=${link.slot(slot, tab, "/")}>/</a>${parts.map((part, n) => html`<a href=${link.slot(slot, tab, `/${parts.slice(0, n + 1).join("/")}`)}>${cleaned(part)}</a>${n < parts.length - 1 ? "/" : ""}`)}</nav>
      <span class="quiet">${crashed ? "as it was when it crashed" : "read from outside: it notices nothing"}</span><span class="grow"></span><button class="do" type="button" onClick=${again}>Look again</button></div>
    <${Refused} problem=${problem} />
    ${!told ? !problem && html`<${Loading} />` : whole ? html`<${File} key=${path} slot=${slot} path=${path} crashed=${crashed} row=${whole} />` : told.rows.length ? html`<div class="scroll"><table class="cards"><thead><tr><th>Name</th><th>Mode</th><th>Owner</th><th class="right">Size</th><th class="right">Modified</th></tr></thead><tbody>
      ${[...told.rows].sort((a, b) => (b.kind === "directory") - (a.kind === "directory") || natural(a.name, b.name)).map((each) => html`<tr key=${each.name}><td class="mono name"><a href=${link.slot(slot, tab, `${path === "/" ? "" : path}/${each.name}`)}>${cleaned(each.name)}${each.kind === "directory" ? "/" : ""}</a>${each.target && html` <span class="quiet">→ ${cleaned(each.target)}</span>`}</td>
        <td class="mono quiet tight">${each.mode}</td><td class="tight quiet" data-is="owner">${each.uid}:${each.gid}</td><td class="right tight">${each.kind === "file" ? bytes(each.size_bytes) : html`<span class="quiet">${each.kind}</span>`}</td><td class="right tight quiet"><time title=${iso(each.modified)}>${age(each.modified)} ago</time></td></tr>`)}</tbody></table></div><${More} told=${told} />`
      : html`<${Empty} title="The folder is empty." />`}`;
}

function File({ slot, path, crashed, row }) {
  const [saving, fail] = useState(null);
  const small = row.kind === "file" && row.size_bytes <= SHOWN_BYTES;
  const [content, problem] = useAsked(`${slot} ${path}`, async () => (small ? asked("/look/file", { slot, path, crashed, most: SHOWN_BYTES }) : null));
  const keep = async () => {
    try { save(await asked("/look/file", { slot, path, crashed }), path.split("/").pop(), "application/octet-stream"); } catch (error) { fail(error); }
  };
  return html`<p class="row"><span>${row.kind === "file" ? bytes(row.size_bytes) : row.kind}, changed ${age(row.modified)} ago, mode <span class="mono">${row.mode}</span>, owner ${row.uid}:${row.gid}</span>
      ${row.kind === "file" && row.size_bytes <= SAVED_BYTES && html`<button class="do" type="button" onClick=${keep}>Save it</button>`}</p>
    <${Failed} problem=${saving || problem} />
    ${row.kind !== "file" ? html`<${Empty} title="It is no file that could be read." />` : !small ? html`<${Empty} title=${`It is larger than ${bytes(SHOWN_BYTES)}.`}>${row.size_bytes <= SAVED_BYTES ? "It can be saved, and looked at there." : html`<code>skerry cat ${slot}:${cleaned(path)} --limit ${Math.ceil(row.size_bytes / 1048576)}m</code> fetches it.`}<//>`
      : content ? html`<${Content} content=${content} />` : !problem && html`<${Loading} />`}`;
}

/** Text where it is text, else what its first bytes are. */
function Content({ content }) {
  if (!content.byteLength) return html`<${Empty} title="It is empty." />`;
  try {
    return html`<pre class="lines file" tabindex="0" aria-label="Content">${visible(new TextDecoder("utf-8", { fatal: true }).decode(content))}</pre>`;
  } catch {
    const first = new Uint8Array(content, 0, Math.min(DUMPED_BYTES, content.byteLength));
    const lines = Array.from({ length: Math.ceil(first.length / 16) }, (_, n) => first.slice(16 * n, 16 * n + 16)).map((row, n) =>
      `${(16 * n).toString(16).padStart(6, "0")}  ${[...row].map((byte) => byte.toString(16).padStart(2, "0")).join(" ").padEnd(48)} ${[...row].map((byte) => (byte > 31 && byte < 127 ? String.fromCharCode(byte) : ".")).join("")}`);
    return html`<p class="quiet">It is no text; its first ${first.length} bytes:</p><pre class="lines file" tabindex="0" aria-label="Content">${lines.join("\n")}</pre>`;
  }
}

function Crash({ slot, path }) {
  const [told, problem] = useAsked(`crash ${slot}`, () => asked("/look/crashes", { slot }).then(cleanedAll));
  if (!told) return problem ? html`<${Refused} problem=${problem} />` : html`<${Loading} />`;
  const last = told.find((each) => each.slot === slot);
  if (!last) return html`<${Empty} title="No crash of it is kept.">When it ends by itself and badly, its last log, exit code and files are kept for a day on the host that ran it.<//>`;
  if (path) return html`<${Files} slot=${slot} tab="crash" path=${path} />`;
  const ended = last.oom ? "It was killed, as its memory was used up" : last.exit_code > 128 ? `Signal ${last.exit_code - 128} ended it` : `It ended with exit code ${last.exit_code}`;
  return html`<div class="note bad"><p><strong>${ended}, ${age(last.time)} ago on ${last.node}.</strong></p>${last.again > 0 && html`<p>And ${many(last.again, "time")} since.</p>`}</div>
    <p>${last.unkept ? html`Of its files none are kept: ${last.unkept}.` : html`<a class="link" href=${link.slot(slot, "crash", "/")}>Its files as they were</a>: ${many(last.files, "file")}, ${bytes(last.size_bytes)}${last.skipped_count ? `; ${last.skipped_count} are left out` : ""}.`}</p>
    <div class="head gap"><h2>Its last lines</h2></div>${last.log.trim() ? html`<pre class="lines file" tabindex="0" aria-label="Its last lines">${last.log}</pre>` : html`<p class="quiet">It said nothing.</p>`}`;
}
