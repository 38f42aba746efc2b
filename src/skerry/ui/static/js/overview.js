// The overview: one sentence, what needs somebody, the apps, and the hosts with what runs where.
import { html, useMemo, useState } from "../vendor/htm-preact.js";
import { MOODS, by, hostMood, isHeard, mood, natural, rows, total, useCloud } from "./store.js";
import { Dots, Empty, Failed, Loading, Mark, Meter, age, bytes, link, many } from "./parts.js";
import { cleaned, reasonOf } from "./text.js";

const NEEDS_SHOWN = 8;

/** What needs somebody, worst first: [mood, subject, where it leads, why]. */
function needs(cloud) {
  return cloud.warnings.map(({ weight, subject, text }) => {
    const slot = cloud.slots[subject];
    const href = slot ? link.app(slot.app) : cloud.hosts[subject] ? link.host(subject) : subject.includes("/") ? "#/machines" : link.app(subject);
    return [weight === "bad" && !(slot && mood(slot) !== "bad") ? "bad" : "wait", subject, href, text];
  }).sort((a, b) => (a[0] === b[0] ? 0 : a[0] === "bad" ? -1 : 1));
}

/** Where one sees more of what an alert is about; "" where there is no page of it. */
function page(cloud, rule, subject) {
  if (["budget", "unknown-machine"].includes(rule)) return "#/machines";
  const [kind, name] = subject.includes("/") ? subject.split("/") : ["", subject];
  if (cloud.slots[subject]) return link.app(cloud.slots[subject].app);
  if (["", "node"].includes(kind) && cloud.hosts[name]) return link.host(name);
  const app = ["app", "release"].includes(kind) ? name : subject.split(".")[0];
  return Object.values(cloud.slots).some((slot) => slot.app === app) ? link.app(app) : "";
}

/** Alerts that fire, then those that somebody has silenced. */
function Alerts({ cloud }) {
  const all = [...cloud.alerts].sort((a, b) => a.silenced - b.silenced);
  const firing = all.filter((each) => !each.silenced).length;
  return html`<ul class=${`needs alerts ${firing ? "bad" : "wait"}`} role="list" aria-label="Alerts">
    ${all.slice(0, NEEDS_SHOWN).map(({ rule, subject, why, since, silenced, sent }) => {
      const href = page(cloud, rule, subject);
      const told = [...new Set(Object.values(sent).flat())].sort(natural);
      return html`<li key=${`${rule} ${subject}`}><${Mark} mood=${silenced ? "asleep" : "bad"} /><span><strong>${rule}</strong> ${href ? html`<a class="mono" href=${href}>${subject}</a>` : html`<span class="mono">${subject}</span>`} ${why}${" "}
        <span class="quiet">for ${age(since)}; ${silenced ? "silenced" : told.length ? `told: ${told.join(", ")}` : "nobody is told yet"}</span></span></li>`;
    })}
    ${all.length > NEEDS_SHOWN && html`<li class="quiet"><span></span><span>and ${all.length - NEEDS_SHOWN} more: <code>skerry alert ls</code></span></li>`}</ul>`;
}

function sentence(cloud, all) {
  const hosts = Object.values(cloud.hosts);
  const up = hosts.filter((host) => ["up", "draining"].includes(host.state)).length;
  const unheard = hosts.filter((host) => host.state !== "down" && host.silent).map((host) => host.name);
  const counted = all.filter((row) => row.mood !== "asleep");
  const well = counted.filter((row) => row.healthy || row.finished).length;
  if (!hosts.length) return ["No host has joined yet.", ""];
  const where = up === hosts.length ? many(up, "host") : `${up} of ${many(hosts.length, "host")}`;
  if (!counted.length) return ["Nothing runs yet.", `${where} up.`];
  const first = well === counted.length && up === hosts.length && !unheard.length && cloud.alerts.every((each) => each.silenced) ? "All is well." : well === counted.length ? "All replicas are healthy." : `${many(counted.length - well, "replica is", "replicas are")} not healthy.`;
  return [first, `${well} of ${many(counted.length, "replica")} healthy, on ${where}.${unheard.length ? ` ${unheard.length > 3 ? many(unheard.length, "host") : unheard.join(", ")} ${unheard.length === 1 ? "does" : "do"} not answer here: of ${unheard.length === 1 ? "it" : "them"} this is what others say.` : ""}`];
}

export function Overview() {
  const cloud = useCloud();
  const [wanted, setWanted] = useState("");
  const all = useMemo(() => rows(cloud.slots), [cloud.slots]);
  if (cloud.refused) return html`<h1 class="lead">The hosts refuse to show this cloud.</h1><${Failed} problem=${cloud.refused} />`;
  if (!cloud.seen) return html`<h1 class="lead quiet">Looking at the cloud…</h1><${Loading} />`;
  const [first, second] = sentence(cloud, all);
  const open = needs(cloud);
  const fits = (text) => text.toLowerCase().includes(wanted.toLowerCase());
  const apps = [...by(all, (row) => row.app)].filter(([name]) => fits(name)).sort(([a], [b]) => natural(a, b));
  const on = by(all, (row) => row.node);
  const hosts = Object.values(cloud.hosts).filter((host) => fits(host.name) || fits(host.zone || "")).sort((a, b) => natural(a.name, b.name));
  return html`
    <h1 class="lead">${first}</h1><p class="under">${second}</p>
    ${cloud.trouble && html`<div class="note wait" role="status"><p><strong>No host answers just now; this is what was seen last.</strong></p><p>${cloud.trouble}</p></div>`}
    ${cloud.alerts.length > 0 && html`<${Alerts} cloud=${cloud} />`}
    ${open.length > 0 && html`<ul class=${`needs ${open[0][0]}`} aria-label="Needs somebody">
      ${open.slice(0, NEEDS_SHOWN).map(([mood, name, href, why]) => html`<li><${Mark} mood=${mood} /><span><a class="mono" href=${href}>${name}</a> ${cleaned(why)}</span></li>`)}
      ${open.length > NEEDS_SHOWN && html`<li class="quiet"><span></span><span>and ${open.length - NEEDS_SHOWN} more</span></li>`}</ul>`}
    <section aria-labelledby="apps">
      <div class="head"><h2 id="apps">Apps</h2><span class="grow"></span>
        <label class="hidden" for="filter">Filter apps and hosts</label>
        <input id="filter" type="search" placeholder="Filter  ( / )" value=${wanted} onInput=${(event) => setWanted(event.target.value)} /></div>
      ${apps.length ? html`<${Apps} apps=${apps} cloud=${cloud} />` : html`<${Empty} title=${wanted ? "No app is called so." : "No app yet."}>${!wanted && html`<a class="link" href="#/deploy">Deploy a compose file</a>, or <code>skerry deploy</code>.`}<//>`}
    </section>
    <section aria-labelledby="hosts">
      <div class="head"><h2 id="hosts">Hosts</h2></div>
      ${hosts.length ? html`<div class="hosts">${hosts.map((host) => html`<${Host} key=${host.name} host=${host} rows=${on.get(host.name) || []} figures=${cloud.figures[`node/${host.name}`] || {}} />`)}</div>`
        : html`<${Empty} title=${wanted ? "No host is called so." : "No host yet."}>${!wanted && html`<code>skerry host add root@ADDRESS</code> joins one.`}<//>`}
      <div class="legend" aria-hidden="true">${Object.entries(MOODS).map(([mood, word]) => html`<span class="word"><${Mark} mood=${mood} />${word}</span>`)}</div>
    </section>`;
}

const Apps = ({ apps, cloud }) => html`<table class="cards"><thead><tr><th>App</th><th>Replicas</th><th class="right">Healthy</th><th class="right">CPU</th><th class="right">Memory</th><th class="right">Hosts</th><th class="right">Version</th></tr></thead>
  <tbody>${apps.map(([name, its]) => {
    const counted = its.filter((row) => row.mood !== "asleep");
    const well = counted.filter((row) => row.healthy || row.finished).length;
    const live = its.filter((row) => row.node && !["done", "asleep", "wait"].includes(row.mood)).map((row) => row.slot);
    const versions = new Set(its.map((row) => row.version));
    return html`<tr key=${name}><td class="name"><a href=${link.app(name)}>${name}</a></td>
      <td class="wide"><${Dots} rows=${its} label=${name} /></td>
      <td class="right tight" data-is="healthy">${counted.length ? `${well} of ${counted.length}` : "asleep"}</td>
      <td class="right tight" data-is="CPU">${sum(total(cloud, live, "cpu_cores"), (n) => n.toFixed(2))}</td>
      <td class="right tight" data-is="memory">${sum(total(cloud, live, "memory_bytes"), bytes)}</td>
      <td class="right tight quiet">${many(new Set(its.map((row) => row.node).filter(Boolean)).size, "host")}</td>
      <td class="right tight quiet" data-is="version">${versions.size > 1 ? `${[...versions].sort(natural).join(" → ")}` : [...versions][0]}</td></tr>`;
  })}</tbody></table>`;

/** A sum of what is known; of replicas that nobody can ask, it is the least that it can be. */
const sum = ([n, unknown], shown) => (n === null ? html`<span class="quiet" title="not known">–</span>` : unknown ? html`<span title=${`of ${many(unknown, "replica")} it is not known`}>≥ ${shown(n)}</span>` : shown(n));

/** Used where the host tells, else reserved; of one that does not answer, neither. */
function Host({ host, rows: its, figures }) {
  const { capacity = {}, free = {} } = host;
  const { cpu_cores: busy, memory_bytes: used, memory_total_bytes: whole = capacity.memory_bytes } = figures;
  const told = busy !== undefined && used !== undefined;
  const cpu = told ? busy : (capacity.cpus || 0) - (free.cpus || 0);
  const mem = told ? used : (capacity.memory_bytes || 0) - (free.memory_bytes || 0);
  return html`<article class="host">
    <h3><${Mark} mood=${hostMood(host)} /><a href=${link.host(host.name)}>${host.name}</a><span class="quiet">${host.state !== "up" ? host.state : host.silent ? "does not answer" : host.zone || ""}</span></h3>
    ${isHeard(host) && capacity.cpus ? html`<div class="room" title=${told ? "used now" : "reserved by what runs there: what it uses is not known yet"}>
      <span>CPU</span><${Meter} share=${cpu / capacity.cpus} /><span>${cpu.toFixed(1)} of ${capacity.cpus.toFixed(0)}${told ? "" : " reserved"}</span>
      <span>Mem</span><${Meter} share=${mem / (whole || 1)} /><span>${bytes(mem)} of ${bytes(whole || 0)}</span></div>`
      : html`<p class="room unknown" title=${host.why || host.silent}>${isHeard(host) ? "It has not said yet what it has." : `What it uses is not known${host.why || host.silent ? `: ${reasonOf(host.name, host.why || host.silent)}` : "."}`}</p>`}
    ${its.length ? html`<${Dots} rows=${its} label=${`on ${host.name}`} />` : html`<span class="quiet">${isHeard(host) ? "nothing runs here" : "what runs there isn't known"}</span>`}</article>`;
}
