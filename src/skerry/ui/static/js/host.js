// One host: how it is, what runs there, charts, events; drained and taken back.
import { html, useMemo, useState } from "../vendor/htm-preact.js";
import { ask } from "./session.js";
import { hostMood, isHeard, rows, useCloud } from "./store.js";
import { Act, begin } from "./act.js";
import { Charts } from "./charts.js";
import { Events } from "./lines.js";
import { Tool } from "./terminal.js";
import { cleaned, reasonOf } from "./text.js";
import { Empty, Failed, Loading, Mark, Meter, Tabs, Word, age, bytes, link, many } from "./parts.js";

const TABS = [["", "What runs there"], ["charts", "Charts"], ["events", "Events"], ["terminal", "Terminal"]];

export function HostPage({ route: [first, ...more] }) {
  const cloud = useCloud();
  const [act, setAct] = useState("");
  const [problem, fail] = useState(null);
  const name = first;
  const tab = more[0] || "";
  const host = cloud.hosts[name];
  const waiting = rows(cloud.slots).filter((row) => row.state === "waiting" && row.why.split(/[\s,]+/).includes(name));
  const its = useMemo(() => rows(cloud.slots).filter((row) => row.node === name), [cloud.slots, name]);
  if (!cloud.seen) return html`<h1 class="lead">${name}</h1><${Loading} />`;
  if (!host) return html`<${Empty} title=${`There is no host ${name}.`}>It may have left the cloud. <a class="link" href="#/">The overview</a> shows those that are there.<//>`;
  const of = `/v1/hosts/${encodeURIComponent(name)}`;
  const heard = isHeard(host);
  const pool = name.includes("/") ? name.split("/")[0] : ""; // of a rented machine
  const pinned = its.filter((row) => row.pinned);
  const used = cloud.figures[`node/${name}`] || {};
  const room = [["CPU", host.capacity.cpus, host.free.cpus, used.cpu_cores, (n) => n.toFixed(1), " cores"], ["Memory", host.capacity.memory_bytes, host.free.memory_bytes, used.memory_bytes, bytes, ""]];
  return html`<p class="crumb"><a href="#/">Overview</a> / host</p>
    <div class="title"><div><h1 class="lead">${name}</h1><p class="under"><span class="word"><${Mark} mood=${hostMood(host)} />${host.state}</span>${heard || its.length ? `, ${many(its.length, "replica")}` : ""}${host.why ? `: ${cleaned(host.why)}` : ""}</p></div>
      <div class="actions">${pool ? html`<a class="do" href="#/machines">Its pool</a>` : host.state === "draining" ? html`<button class="do" type="button" onClick=${() => ask("POST", `${of}/undrain`).catch(fail)}>Take replicas again</button>`
        : html`<button class="do" type="button" onClick=${() => setAct("drain")}>Drain</button>`}</div></div>
    <${Failed} problem=${problem} />
    ${!heard && html`<div class=${`note ${host.state === "down" ? "bad" : "wait"}`} role="status"><p><strong>${host.state === "down" ? "It is down." : "It does not answer here; other hosts still hear it."}</strong> ${host.silent ? `${reasonOf(name, host.silent)}. ` : ""}What it uses and what runs there now is not known; others run what they could take over.</p></div>`}
    <div class="columns"><section><dl class="facts"><dt>Address</dt><dd class="mono">${host.address}</dd>${host.zone && html`<dt>Zone</dt><dd>${host.zone}</dd>`}${pool && html`<dt>Pool</dt><dd>${pool}</dd>`}
      <dt>Agent</dt><dd>${host.agent || "unknown"}</dd><dt>Labels</dt><dd>${Object.keys(host.labels || {}).length ? html`<span class="tags">${Object.entries(host.labels).map(([key, value]) => html`<span class="tag">${key}=${value}</span>`)}</span>` : html`<span class="quiet">none</span>`}</dd></dl></section>
      <section><dl class="facts">${room.map(([word, all, free, now, shown, unit]) => html`<dt>${word}</dt><dd>${!all ? "it has not said" : heard ? html`${shown(all - free)} of ${shown(all)}${unit} reserved${now === undefined ? "" : `, ${shown(now)} used`}<${Meter} share=${1 - free / all} />` : html`${shown(all)}${unit}, <span class="quiet">reserved: not known</span>`}</dd>`)}</dl></section></div>
    <${Tabs} tabs=${TABS} now=${tab} to=${(key) => link.host(name, key)} />
    <section>${tab === "charts" ? html`<${Charts} key=${name} subject=${name} kind="host" />`
      : tab === "events" ? html`<${Events} meant=${(row) => row.node === name || [name, `node/${name}`].includes(row.subject)} empty="No event of this host is kept any more." />`
      : tab === "terminal" ? html`<${Tool} host=${name} />`
      : its.length ? html`<div class="scroll"><table class="cards"><thead><tr><th>Slot</th><th>State</th><th>Version</th><th class="right">Restarts</th><th class="right">Since</th></tr></thead><tbody>
        ${its.map((row) => html`<tr key=${row.slot}><td class="name mono"><a href=${link.slot(row.slot)}>${row.slot}</a></td><td><${Word} mood=${row.mood}>${row.mood === "ok" ? "healthy" : row.state}<//>${row.why && html`<div class="why">${cleaned(row.why)}</div>`}</td>
          <td class="tight" data-is="version">${row.version}</td><td class="right" data-is="restarts">${row.restarts}</td><td class="right tight quiet" data-is="since">${age(row.since)}</td></tr>`)}</tbody></table></div>`
      : html`<${Empty} title=${heard ? "Nothing runs here." : "What runs here is not known."}>${heard ? "It takes replicas when they fit best here." : waiting.length ? html`These wait for it, as their data is here: ${waiting.map((row, n) => html`${n ? ", " : ""}<a class="link mono" href=${link.slot(row.slot)}>${row.slot}</a>`)}.` : "None of what is wanted waits for it."}<//>`}</section>
    ${act === "drain" && html`<${Act} title=${`Drain ${name}?`} verb="Drain" close=${() => setAct("")} start=${() => begin("POST", `${of}/drain`)}
      loss=${pinned.length ? `These stay, as their data is here and nowhere else: ${pinned.map((row) => row.slot).join(", ")}.` : ""}>
      <p>${many(its.length - pinned.length, "replica goes", "replicas go")} to other hosts, each started there before it is stopped here. Nothing is lost, and it can be taken back.</p><//>`}`;
}
