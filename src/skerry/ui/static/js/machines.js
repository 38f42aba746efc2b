// Pools of rented machines, live: how many, what each is at and costs; one rented, one given back, the bounds changed.
import { html, useEffect, useState } from "../vendor/htm-preact.js";
import { ask } from "./session.js";
import { natural, rows, useCloud } from "./store.js";
import { Act, begin } from "./act.js";
import { Empty, Failed, Loading, Meter, Word, age, iso, link, many, usd, useAsked } from "./parts.js";

const MOOD = { joined: "ok", failed: "bad", asked: "wait", creating: "work", booting: "work", draining: "work", returning: "work" };
const WORDS = { asked: "asked for", creating: "being rented", booting: "starting", returning: "being given back" };
const HOUR_S = 3600;

const bySlot = (a, b) => natural(a.slot, b.slot);

/** What keepers say of it, and whether operators want it empty. */
const stateOf = (machine, cloud) => (machine.state !== "joined" && machine.state !== "enrolled" ? machine.state : (cloud.hosts[machine.slot] || {}).state === "draining" ? "draining" : "joined");

/** By its price alone: what a provider rounds up is in the pool's sum, which its keepers reckon. */
const soFar = (machine) => (machine.created > 0 ? (Math.max(0, Date.now() / 1000 - machine.created) / HOUR_S) * machine.usd_hour : null);

export function Machines() {
  const cloud = useCloud();
  const [told, problem, again] = useAsked("pools", () => ask("GET", "/v1/pools?limit=1000").then((pools) => pools.items));
  const signed = Object.values(cloud.pools).map((each) => [each.pool, each.min, each.max, each.spend_usd_month]).join();
  useEffect(again, [signed]); // somebody else may have changed them
  const all = Object.values(cloud.machines);
  const hour = all.reduce((sum, each) => sum + (each.state === "enrolled" ? 0 : each.usd_hour), 0);
  const spent = Object.values(cloud.pools).filter((each) => each.spent_usd_month >= 0);
  return html`<h1 class="lead">${!told || !told.length ? "Machines" : all.length ? `${many(all.length, "machine")}, ${usd(hour)} an hour.` : "No machine is rented now."}</h1>
    <p class="under">${spent.length ? `${usd(spent.reduce((sum, each) => sum + each.spent_usd_month, 0))} this month so far. ` : ""}Hosts of this cloud rent and return them, within what operators signed.</p>
    <${Failed} problem=${problem} />
    ${!told || !cloud.seen ? !problem && html`<section><${Loading} /></section>` : told.length ? told.map((pool) => html`<${Pool} key=${pool.name} pool=${pool} cloud=${cloud} again=${again} />`)
      : html`<section><${Empty} title="There is no pool."><code>skerry machine pool add</code> makes one; hosts that people brought need none.<//></section>`}`;
}

function Pool({ pool, cloud, again }) {
  const [act, setAct] = useState(null);
  const now = cloud.pools[pool.name] || { spent_usd_month: -1, wanted: -1, why: "" };
  const its = Object.values(cloud.machines).filter((each) => each.slot.startsWith(`${pool.name}/`)).sort(bySlot);
  const close = () => { setAct(null); again(); };
  const hour = its.reduce((sum, each) => sum + (each.state === "enrolled" ? 0 : each.usd_hour), 0);
  return html`<section><div class="head"><h2 class="strong">${pool.name}</h2><span class="quiet">${[pool.provider, ...pool.others.map((each) => each.name)].join(", ")}${pool.regions.length ? ` in ${pool.regions.join(", ")}` : ""}</span><span class="grow"></span>
      <div class="actions"><button class="do" type="button" onClick=${() => setAct("bounds")}>Bounds</button><button class="do" type="button" disabled=${its.length >= pool.max && !pool.keepers.length} onClick=${() => setAct("rent")}>Rent one</button></div></div>
    <div class="columns"><dl class="facts"><dt>Machines</dt><dd>${its.length}${now.wanted >= 0 ? `, ${now.wanted} wanted` : ""}; at least ${pool.min}, at most ${pool.max}</dd>
      <dt>Size</dt><dd>${pool.size || `the cheapest with ${pool.cpus || 1} CPUs or more`}</dd><dt>Kept by</dt><dd>${pool.keepers.length ? pool.keepers.map((name, n) => html`${n ? ", " : ""}<a href=${link.host(name)}>${name}</a>`) : html`<span class="quiet">nobody: people rent</span>`}</dd></dl>
    <dl class="facts"><dt>Now</dt><dd>${usd(hour)} an hour</dd><dt>This month</dt><dd>${now.spent_usd_month < 0 ? html`<span class="quiet">${pool.keepers.length ? "the host that was asked keeps no account of it" : "not known: no host keeps it"}</span>` : html`${usd(now.spent_usd_month)} of ${usd(pool.spend_usd_month)} at most<${Meter} share=${pool.spend_usd_month ? now.spent_usd_month / pool.spend_usd_month : 0} />`}</dd></dl></div>
    ${now.why && html`<div class="note wait" role="status"><p>${now.why}</p></div>`}
    ${its.length ? html`<div class="scroll gap"><table class="cards"><thead><tr><th>Machine</th><th>State</th><th>Size</th><th>Region</th><th class="right">An hour</th><th class="right" title="by its price an hour; what a provider rounds up is in the pool's sum">So far</th><th class="right">Rented</th><th><span class="hidden">Acts</span></th></tr></thead><tbody>
      ${its.map((each) => html`<${Machine} key=${each.slot} machine=${each} cloud=${cloud} back=${() => setAct(each)} />`)}</tbody></table></div>` : html`<p class="quiet gap">None is rented now${now.wanted > 0 ? `; ${now.wanted} wanted` : ""}.</p>`}
    ${act === "rent" && !pool.keepers.length ? html`<${ByHand} pool=${pool} close=${close} />` : act === "rent" || act === "bounds" ? html`<${Bounds} pool=${pool} have=${its.length} more=${act === "rent"} close=${close} />`
      : act && html`<${Back} pool=${pool} now=${now} machine=${act} have=${its.length} cloud=${cloud} close=${close} />`}</section>`;
}

function Machine({ machine, cloud, back }) {
  const state = stateOf(machine, cloud);
  const cost = soFar(machine);
  return html`<tr><td class="name">${cloud.hosts[machine.slot] ? html`<a href=${link.host(machine.slot)}>${machine.slot}</a>` : machine.slot}<div class="why mono">${machine.address}</div></td>
    <td><${Word} mood=${state === "joined" && !machine.up ? "bad" : MOOD[state] || "wait"}>${state === "joined" && !machine.up ? "silent" : WORDS[state] || state}<//>${machine.why && html`<div class="why">${machine.why}</div>`}${machine.asks && html`<div class="why">asked of you: <code>${machine.asks}</code></div>`}</td>
    <td class="tight">${machine.size}</td><td class="tight">${machine.region}</td><td class="right tight" data-is="an hour">${machine.state === "enrolled" ? html`<span class="quiet" title="no keeper says anything of it">–</span>` : usd(machine.usd_hour)}</td>
    <td class="right tight" data-is="so far">${cost === null ? html`<span class="quiet" title="not known">–</span>` : cost < 0.01 ? "under 0.01 USD" : usd(cost)}</td><td class="right tight quiet" data-is="rented">${machine.created > 0 ? html`<time title=${iso(machine.created)}>${age(machine.created)} ago</time>` : ""}</td>
    <td class="right tight"><button class="do" type="button" aria-label=${`Give back: ${machine.slot}`} disabled=${state === "returning"} onClick=${back}>Give back</button></td></tr>`;
}

/** What a machine costs, as its provider says now. */
function Price({ pool, count }) {
  const [told, problem] = useAsked(`prices ${pool}`, () => ask("GET", `/prices/${encodeURIComponent(pool)}`));
  if (problem) return html`<p class="quiet">What one costs is not known now: ${problem.title}${problem.detail ? `: ${problem.detail}` : ""}.</p>`;
  if (!told) return html`<p class="quiet">Asking the provider what one costs…</p>`;
  const one = told.sizes[0];
  if (!one) return html`<p class="quiet">The provider has no size that fits just now.</p>`;
  return html`<p>One more costs <strong>${usd(one.usd_hour)} an hour</strong>, ${usd(one.usd_month)} a month: <span class="mono">${one.name}</span> of ${one.provider}.${count > 1 ? ` All ${count}: ${usd(count * one.usd_month)} a month.` : ""}</p>`;
}

/** How few and how many; keepers rent and return what this asks for. `more`: it is one more that is wanted. */
function Bounds({ pool, have, more, close }) {
  const [least, setLeast] = useState(more ? have + 1 : pool.min);
  const [most, setMost] = useState(Math.max(pool.max, more ? have + 1 : 0));
  const [spend, setSpend] = useState(pool.spend_usd_month);
  const change = { ...(least !== pool.min && { min: least }), ...(most !== pool.max && { max: most }), ...(spend !== pool.spend_usd_month && { spend_usd_month: spend }) };
  const start = () => begin("PATCH", `/v1/pools/${encodeURIComponent(pool.name)}`, change, { "if-match": `"${pool.etag}"` });
  const field = (label, value, set, step = 1) => html`<label class="field">${label}<input type="number" min="0" max="1000000" step=${step} required value=${value} onInput=${(event) => set(Number(event.target.value))} /></label>`;
  return html`<${Act} title=${more ? `Rent one more of ${pool.name}?` : `How many of ${pool.name}`} verb=${more ? "Rent one more" : "Sign this"} close=${close} start=${start} off=${!Object.keys(change).length || least > most}
      loss=${most < have ? `${many(have - most, "machine")} of ${have} will be drained and given back; what has its data there loses it.` : ""}>
    ${more ? html`<p>From now on at least ${least} ${least === 1 ? "is" : "are"} held, not ${pool.min}${most > pool.max ? `, and at most ${most}, not ${pool.max}` : ""}.</p>` : html`<div class="row">${field("At least", least, setLeast)}${field("At most", most, setMost)}${field("USD a month, at most", spend, setSpend, 0.01)}</div>`}
    ${least > have ? html`<${Price} pool=${pool.name} count=${least - have} /><p class="quiet">Its keepers rent ${many(least - have, "machine")} at once, which ${least - have === 1 ? "takes" : "take"} replicas when joined. To have fewer again, lower the bounds.</p>`
      : html`<p class="quiet">${have} are there. ${least < pool.min ? "Those that no load needs are given back by themselves." : "Between the two, the load decides."}</p>`}
    ${least > most && html`<p class="word bad">At least ${least} can't be more than at most ${most}.</p>`}<//>`;
}

function ByHand({ pool, close }) {
  return html`<${Act} title=${`Rent one of ${pool.name}?`} verb="Rent one" close=${close} start=${() => begin("POST", `/v1/pools/${encodeURIComponent(pool.name)}/machines`)}>
    <${Price} pool=${pool.name} count=${1} /><p class="quiet">No host keeps this pool: it is rented from this machine, with the provider's token in the environment of <code>skerry ui</code>, and costs until somebody gives it back.</p><//>`;
}

function Back({ pool, now, machine, have, cloud, close }) {
  const its = rows(cloud.slots).filter((row) => row.node === machine.slot);
  const [stays, moves] = [its.filter((row) => row.pinned), its.filter((row) => !row.pinned)];
  const wanted = Math.max(pool.min, now.wanted);
  const names = (list) => list.map((row) => row.slot).join(", ");
  return html`<${Act} title=${`Give ${machine.slot} back?`} verb="Give back" close=${close} start=${() => begin("DELETE", `/v1/pools/${machine.slot.split("/").map(encodeURIComponent).join("/machines/")}`)} typed=${stays.length ? machine.slot : ""}
      loss=${stays.length ? `The data of ${names(stays)} is on it and nowhere else: it is lost, as its disk is deleted at the provider.` : "Its disk is deleted at the provider, with every volume on it."}>
    <p>${moves.length ? `${many(moves.length, "replica moves", "replicas move")} to other hosts first, each started there before it stops here: ${names(moves)}.` : "Nothing that could move runs on it."}</p>
    ${pool.keepers.length > 0 && have <= wanted && html`<p>${wanted === 1 ? "One is" : `${wanted} are`} wanted: its keepers rent another one in its place. To have fewer, lower the bounds first.</p>`}<//>`;
}
