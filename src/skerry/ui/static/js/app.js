// One app: its replicas, a rollout as it happens, charts, logs, events, why it stands as it does; and what may be done to it.
import { html, useMemo, useState } from "../vendor/htm-preact.js";
import { ask } from "./session.js";
import { MOODS, by, count, natural, rows, useCloud, worst } from "./store.js";
import { Act, begin } from "./act.js";
import { Charts } from "./charts.js";
import { Events, Logs } from "./lines.js";
import { cleaned } from "./text.js";
import { Empty, Failed, Loading, Mark, Tabs, Word, age, bytes, iso, link, many, short, useAsked } from "./parts.js";

const TABS = [["", "Replicas"], ["charts", "Charts"], ["logs", "Logs"], ["events", "Events"], ["explain", "Explain"], ["volumes", "Volumes"]];

export function AppPage({ route: [name, tab = ""] }) {
  const cloud = useCloud();
  const [act, setAct] = useState(null);
  const [app, problem, again] = useAsked(`app ${name}`, () => ask("GET", `/v1/apps/${encodeURIComponent(name)}`));
  const its = useMemo(() => rows(cloud.slots).filter((row) => row.app === name), [cloud.slots, name]);
  if (!its.length && problem) return html`<${Failed} problem=${problem} />`;
  if (!its.length && !app) return html`<h1 class="lead">${name}</h1><${Loading} />`;
  const close = () => { setAct(null); again(); };
  const of = `/v1/apps/${encodeURIComponent(name)}`;
  return html`<p class="crumb"><a href="#/">Overview</a> / app</p>
    <div class="title"><div><h1 class="lead">${name}</h1><p class="under">${summary(its)}</p></div>
      <div class="actions"><button class="do" type="button" disabled=${!app} onClick=${() => setAct("scale")}>Scale</button>
        <button class="do" type="button" onClick=${() => setAct("back")}>Roll back</button>
        <a class="do" href=${`#/deploy/${encodeURIComponent(name)}`}>Deploy</a>
        <button class="do loss" type="button" disabled=${!app} onClick=${() => setAct("remove")}>Remove</button></div></div>
    <${Rollout} its=${its} />
    <${Tabs} tabs=${TABS.filter(([key]) => key !== "volumes" || tab === key || (app && volumes(app).length))} now=${tab} to=${(key) => link.app(name, key)} />
    <section>${tab === "charts" ? html`<${Charts} key=${name} subject=${name} kind="slot" />`
      : tab === "logs" ? html`<${Logs} targets=${[name]} />`
      : tab === "events" ? html`<${Events} meant=${(row) => ofApp(row, name)} empty="No event of this app is kept any more." />`
      : tab === "volumes" ? html`<${Volumes} name=${name} />`
      : tab === "explain" ? html`<${Explain} name=${name} its=${its} />`
      : html`<${Replicas} name=${name} its=${its} app=${app} />`}</section>
    ${act === "scale" && html`<${Scale} name=${name} app=${app} close=${close} />`}
    ${act === "back" && html`<${Act} title=${`Roll ${name} back?`} verb="Roll back" close=${close} start=${() => begin("POST", `${of}/rollback`)}>
      <p>It goes back from version ${its[0] ? its[0].wanted || its[0].version : ""} to the release before, signed anew as the newest one. Volumes keep what is in them: data that the newer release changed stays changed.</p><//>`}
    ${act === "remove" && html`<${Act} title=${`Remove ${name}?`} verb="Remove" typed=${name} close=${() => { setAct(null); if (!its.length) location.hash = "#/"; }} start=${() => begin("DELETE", of)}
      loss=${`${many(its.length, "replica")} of ${many(app.services.length, "service")} stop, and nothing answers on its ports any more: ${app.services.flatMap((each) => each.ports).join(", ") || "it has none published"}.`}>
      <p>${volumes(app).length ? `Its volumes stay on their hosts until they are deleted by name: ${volumes(app).join(", ")}.` : "It has no volumes."}</p><//>`}`;
}

const volumes = (app) => [...new Set(app.services.flatMap((each) => each.volumes))];

export const ofApp = (row, name) => [name, `app/${name}`, `release/${name}`].includes(row.subject) || row.subject.startsWith(`${name}.`);

function summary(its) {
  if (!its.length) return "It is signed; nothing of it runs yet.";
  const counts = Object.entries(count(its)).filter(([, n]) => n).map(([mood, n]) => `${n} ${MOODS[mood]}`);
  const hosts = new Set(its.map((row) => row.node).filter(Boolean)).size;
  return html`<span class="word"><${Mark} mood=${worst(its)} />${counts.join(", ")}</span>, on ${many(hosts, "host")}, version ${its[0].wanted || its[0].version}`;
}

/** Shown while not everything runs what is wanted, or when the newest version failed. */
function Rollout({ its }) {
  const failed = its.find((row) => row.failed);
  const moving = its.filter((row) => row.outdated || row.mood === "work" || row.mood === "wait");
  if (failed) return html`<div class="note bad" role="status"><p><strong>Version ${failed.wanted} failed; the one before runs on.</strong></p><p>${cleaned(failed.verdict)}</p></div>`;
  if (!moving.length) return null;
  if (!moving.some((row) => row.outdated || row.mood === "work")) return html`<div class="note wait" role="status"><p><strong>${many(moving.length, "replica waits", "replicas wait")} for a host.</strong></p><p>${moving.slice(0, 3).map((row) => `${row.slot}${row.why ? `: ${row.why}` : ""}`).join("; ")}${moving.length > 3 ? ` and ${moving.length - 3} more` : ""}</p></div>`;
  const there = its.filter((row) => !row.outdated && (row.healthy || row.finished)).length;
  return html`<div class="note" role="status"><p><strong>Version ${moving[0].wanted || moving[0].version} is coming: ${there} of ${its.length} replicas run it and are healthy.</strong></p>
    <div class="progress" role="progressbar" aria-label="Rollout" aria-valuemin="0" aria-valuemax=${its.length} aria-valuenow=${there}><i style=${{ width: `${(100 * there) / its.length}%` }}></i></div>
    <p class="quiet">${moving.slice(0, 3).map((row) => `${row.slot} ${row.state}${row.why ? `: ${row.why}` : ""}`).join("; ")}${moving.length > 3 ? ` and ${moving.length - 3} more` : ""}</p></div>`;
}

/** How a service follows its load, in words. */
const follows = (scale) => `${scale.min} to ${scale.max}${scale.follows.length ? `, by ${scale.follows.join(" and ")} of each` : ""}${scale.schedules.length ? `; ${scale.schedules.join("; ")}` : ""}${scale.now[0] !== scale.min || scale.now[1] !== scale.max ? `; now ${scale.now[0]} to ${scale.now[1]}` : ""}`;

function Replicas({ name, its, app }) {
  const [scaling] = useAsked(`scaling ${name} ${app ? app.etag : ""}`, () => ask("GET", `/scaling/${encodeURIComponent(name)}`));
  const groups = [...by(its, (row) => row.service)].sort(([a], [b]) => natural(a, b));
  if (!groups.length) return html`<${Empty} title="Nothing of it runs yet.">Its first host takes it within a second or two.<//>`;
  return groups.map(([service, list], n) => {
    const signed = app && app.services.find((each) => each.name === service);
    return html`<div key=${service} class=${n ? "gap" : ""}><div class="head"><h2 class="strong">${service}</h2><span class="quiet">${signed ? `${signed.replicas} wanted` : ""}${scaling && scaling[service] ? ` (${follows(scaling[service])})` : ""}${signed && signed.ports.length ? ` · ports ${signed.ports.join(", ")}` : ""}${signed && signed.volumes.length ? ` · volumes ${signed.volumes.join(", ")}` : ""}</span>
      <span class="grow"></span>${list[0].image && html`<a class="mono quiet" href=${link.image(list[0].image)} title=${list[0].image}>${short(list[0].image)}</a>`}</div>
    <div class="scroll"><table class="cards replicas"><thead><tr><th>Slot</th><th>State</th><th>Host</th><th>Version</th><th class="right">Restarts</th><th class="right">Since</th><th><span class="hidden">Look in</span></th></tr></thead>
      <tbody>${list.map((row) => html`<tr key=${row.slot}><td class="name mono"><a href=${link.slot(row.slot)}>${row.slot}</a></td>
        <td><${Word} mood=${row.mood}>${row.healthy && row.mood === "ok" ? "healthy" : row.finished ? "finished" : row.state}<//>${row.why && html`<div class="why">${cleaned(row.why)}</div>`}${row.exit_code ? html`<div class="why">exit code ${row.exit_code}</div>` : null}</td>
        <td class="tight" data-is="on">${row.node ? html`<a href=${link.host(row.node)}>${row.node}</a>${row.pinned ? html` <span class="tag" title="its data is there: it is never moved">pinned</span>` : null}` : html`<span class="quiet">none</span>`}</td>
        <td class="tight" data-is="version">${row.version}${row.outdated && row.wanted ? html` <span class="quiet">→ ${row.wanted}</span>` : null}</td>
        <td class="right" data-is="restarts">${row.restarts ? html`<a href=${link.slot(row.slot, "crash")} title="what is kept of its last crash">${row.restarts}</a>` : html`<span class="quiet">0</span>`}</td><td class="right tight quiet" data-is="since"><time title=${iso(row.since)}>${age(row.since)}</time></td>
        <td class="right tight">${row.node && html`<a class="link" href=${link.slot(row.slot)} aria-label=${`Look in: ${row.slot}`}>Look in</a>`}</td></tr>`)}</tbody></table></div></div>`;
  });
}

/** A number; or, of one that follows its load, its bounds and schedules. */
function Scale({ name, app, close }) {
  const of = `/v1/apps/${encodeURIComponent(name)}/services/`;
  const [service, setService] = useState(app.services[0] ? app.services[0].name : "");
  const [change, set] = useState({});
  const [scaling, problem] = useAsked(`scaling ${name} ${app.etag}`, () => ask("GET", `/scaling/${encodeURIComponent(name)}`));
  const signed = app.services.find((each) => each.name === service) || { replicas: 0 };
  const follow = scaling && scaling[service];
  const wanted = change.replicas ?? signed.replicas;
  const less = follow ? 0 : signed.replicas - wanted;
  const number = (label, key, held) => html`<label class="field">${label}<input type="number" min="0" max="1000" required value=${change[key] ?? held} onInput=${(event) => set({ ...change, [key]: Number(event.target.value) })} /></label>`;
  const start = () => {
    const { schedules, ...bounds } = change;
    return begin("PATCH", of + encodeURIComponent(service), follow ? { ...bounds, ...(schedules !== undefined && { schedules: schedules.split("\n").map((line) => line.trim()).filter(Boolean) }) } : { replicas: wanted });
  };
  return html`<${Act} title=${`Scale ${name}`} verb="Scale" close=${close} start=${start} off=${!scaling || (follow && !Object.keys(change).length)} loss=${less > 0 && wanted === 0 ? `No replica of ${service} is left: nothing of it answers any more.` : ""}>
    <div class="row"><label class="field">Service<select value=${service} onChange=${(event) => { setService(event.target.value); set({}); }}>
      ${app.services.map((each) => html`<option value=${each.name}>${each.name}</option>`)}</select></label>
    ${follow ? html`${number("At least", "min", follow.min)}${number("At most", "max", follow.max)}` : number("Replicas", "replicas", signed.replicas)}</div>
    <${Failed} problem=${problem} />
    ${follow ? html`<label class="field gap">Schedules, one a line<textarea class="few" spellcheck=${false} placeholder="weekdays 8-20 Europe/Berlin: min 3" value=${change.schedules ?? follow.schedules.join("\n")} onInput=${(event) => set({ ...change, schedules: event.target.value })}></textarea></label>
      <p class="quiet">${signed.replicas} now. It follows ${follow.follows.join(" and ") || "connections"} of each, between the two. Those that run are not restarted.</p>`
      : html`<p class="quiet">${signed.replicas} now${less > 0 ? `; ${many(less, "replica stops", "replicas stop")}` : ""}. Those that run are not restarted.</p>`}<//>`;
}

function Explain({ name, its }) {
  const [told, problem, again] = useAsked(`explain ${name}`, () => ask("GET", `/v1/explain?subject=${encodeURIComponent(name)}`));
  if (problem && !told) return html`<${Failed} problem=${problem} />`;
  if (!told) return html`<${Loading} />`;
  return html`<div class="head"><h2>Why each replica is where it is</h2><span class="grow"></span><button class="do" type="button" onClick=${again}>Ask again</button></div>
    ${Object.values(told).sort((a, b) => natural(a.slot, b.slot)).map((each) => html`<details key=${each.slot} open=${its.length < 4}><summary class="mono">${each.slot} <span class="quiet">${each.holder ? `held by ${each.holder}` : "held by nobody"}${each.awaits ? `: ${cleaned(each.awaits)}` : ""}</span></summary>
      ${each.because && html`<p class="quiet">There because ${cleaned(each.because)}.</p>`}
      ${(each.advice ?? []).length > 0 && html`<p>What would change it:</p><ul>${each.advice.map((one) => html`<li>${cleaned(one.what)}${one.command && html`: <code>${cleaned(one.command)}</code>`}</li>`)}</ul>`}
      <div class="scroll"><table class="cards"><thead><tr><th class="right">Rank</th><th>Host</th><th>Its answer</th><th>Why</th></tr></thead><tbody>
      ${each.order.map((row) => html`<tr><td class="right">${row.rank}</td><td class="tight"><a href=${link.host(row.node)}>${row.node}</a></td><td class="tight">${row.answer}</td><td class="wide">${cleaned(row.why)}</td></tr>`)}</tbody></table></div></details>`)}`;
}

/** Where its data is, as each host tells; those that did not are named. */
function Volumes({ name }) {
  const [told, problem, again] = useAsked(`volumes ${name}`, () => ask("GET", "/volumes"));
  const [act, setAct] = useState(null);
  if (!told) return problem ? html`<${Failed} problem=${problem} />` : html`<${Loading} />`;
  const its = told.rows.filter((row) => row.app === name);
  return html`<div class="head"><h2>Volumes</h2><span class="quiet">folders on one host each: they stay when the app goes</span><span class="grow"></span><button class="do" type="button" onClick=${again}>Look again</button></div>
    ${told.missing.length > 0 && html`<div class="note wait" role="status">${told.missing.map((line) => html`<p>${cleaned(line)}</p>`)}</div>`}
    ${its.length ? html`<table class="cards"><thead><tr><th>Volume</th><th>Host</th><th class="right">Size</th><th>Used by</th><th><span class="hidden">Acts</span></th></tr></thead><tbody>
      ${its.map((row) => html`<tr key=${`${row.node} ${row.volume}`}><td class="name mono">${row.volume}</td><td class="tight" data-is="on"><a href=${link.host(row.node)}>${row.node}</a></td><td class="right tight">${bytes(row.size_bytes)}</td>
        <td class="wide">${row.used_by.length ? row.used_by.map((slot, n) => html`${n ? ", " : ""}<a class="mono" href=${link.slot(slot)}>${slot}</a>`) : html`<span class="quiet">nothing now</span>`}</td>
        <td class="right tight">${!row.used_by.length && !row.node.includes("/") && html`<button class="do loss" type="button" aria-label=${`Delete: ${row.volume} on ${row.node}`} onClick=${() => setAct(row)}>Delete</button>`}</td></tr>`)}</tbody></table>`
      : html`<${Empty} title=${told.missing.length ? "No host that answered has a volume of it." : "It has no volume."} />`}
    ${act && html`<${Act} title=${`Delete ${act.volume} on ${act.node}?`} verb="Delete" typed=${act.volume} close=${() => { setAct(null); again(); }} start=${() => ask("DELETE", `/v1/hosts/${encodeURIComponent(act.node)}/volumes/${encodeURIComponent(name)}/${encodeURIComponent(act.volume)}`).then(() => null)}
      loss=${`All that is in it is lost: ${bytes(act.size_bytes)}. There is no way back.`}><p>No replica uses it now.</p><//>`}`;
}
