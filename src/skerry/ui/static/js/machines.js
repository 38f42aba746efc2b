// Pools of rented machines: how many, what they cost, what each is at; one given back.
import { html, useState } from "../vendor/htm-preact.js";
import { ask } from "./session.js";
import { Act, begin } from "./act.js";
import { cleaned } from "./text.js";
import { Empty, Failed, Loading, Meter, Word, age, link, many, usd, useAsked } from "./parts.js";

const MOOD = { joined: "ok", failed: "bad", asked: "wait", creating: "work", booting: "work", draining: "work", returning: "work" };

export function Machines() {
  const [told, problem, again] = useAsked("pools", async () => {
    const [pools, costs] = await Promise.all([ask("GET", "/v1/pools?limit=1000"), ask("GET", "/v1/costs")]);
    const machines = await Promise.all(pools.items.map((pool) => ask("GET", `/v1/pools/${encodeURIComponent(pool.name)}/machines?limit=1000`)));
    return pools.items.map((pool, n) => ({ pool, machines: machines[n].items, cost: costs.items.find((each) => each.pool === pool.name) }));
  });
  const paid = (told || []).reduce((sum, each) => sum + (each.cost ? each.cost.usd_hour : 0), 0);
  const count = (told || []).reduce((sum, each) => sum + (each.cost ? each.cost.machines : 0), 0);
  return html`<div class="title"><div><h1 class="lead">Machines</h1><p class="under">${!told ? "Rented by hosts of this cloud, within what operators signed." : told.length ? `${many(count, "machine")} rented, ${usd(paid)} an hour.` : "Rented by hosts of this cloud, within what operators signed."}</p></div>
      <div class="actions"><button class="do" type="button" onClick=${again}>Look again</button></div></div>
    <${Failed} problem=${problem} />
    ${!told ? !problem && html`<section><${Loading} /></section>` : told.length ? told.map((each) => html`<${Pool} key=${each.pool.name} ...${each} again=${again} />`)
      : html`<section><${Empty} title="There is no pool."><code>skerry machine pool add</code> makes one; hosts that people brought need none.<//></section>`}`;
}

function Pool({ pool, machines, cost, again }) {
  const [act, setAct] = useState(null);
  const spent = cost && cost.spent_usd_month >= 0 ? cost.spent_usd_month : null;
  return html`<section><div class="head"><h2 class="strong">${pool.name}</h2><span class="quiet">${[pool.provider, ...pool.others.map((each) => each.name)].join(", ")}</span></div>
    <div class="columns"><dl class="facts"><dt>Machines</dt><dd>${cost ? cost.machines : machines.length} of ${pool.min} to ${pool.max}${cost && cost.wanted >= 0 ? `, ${cost.wanted} wanted` : ""}</dd>
      <dt>Size</dt><dd>${pool.size || `at least ${pool.cpus} CPUs`}</dd><dt>Keepers</dt><dd>${pool.keepers.length ? pool.keepers.join(", ") : html`<span class="quiet">none: people rent</span>`}</dd></dl>
    <dl class="facts"><dt>Now</dt><dd>${cost ? `${usd(cost.usd_hour)} an hour` : "unknown"}</dd><dt>This month</dt><dd>${spent === null ? "no keeper has said" : html`${usd(spent)} of ${usd(pool.spend_usd_month)}<${Meter} share=${pool.spend_usd_month ? spent / pool.spend_usd_month : 0} />`}</dd>${cost && cost.why && html`<dt>Why</dt><dd>${cleaned(cost.why)}</dd>`}</dl></div>
    ${machines.length ? html`<div class="scroll" style=${{ marginTop: "18px" }}><table class="cards"><thead><tr><th>Machine</th><th>State</th><th>Size</th><th>Region</th><th class="right">An hour</th><th class="right">Since</th><th><span class="hidden">Acts</span></th></tr></thead><tbody>
      ${machines.map((each) => html`<tr key=${each.slot}><td class="name"><a href=${link.host(each.slot)}>${each.slot}</a></td><td><${Word} mood=${MOOD[each.state] || "wait"}>${each.state}<//>${each.why && html`<div class="why">${cleaned(each.why)}</div>`}${each.asks && html`<div class="why mono">${each.asks}</div>`}</td>
        <td class="tight">${each.size}</td><td class="tight">${each.region}</td><td class="right tight">${usd(each.usd_hour)}</td><td class="right tight quiet">${each.since ? age(each.since) : ""}</td><td class="right tight"><button class="do" type="button" onClick=${() => setAct(each)}>Give back</button></td></tr>`)}</tbody></table></div>` : html`<p class="quiet" style=${{ marginTop: "14px" }}>None is rented now.</p>`}
    ${act && html`<${Act} title=${`Give ${act.slot} back?`} verb="Give back" close=${() => { setAct(null); again(); }} start=${() => begin("DELETE", `/v1/pools/${act.slot.split("/").map(encodeURIComponent).join("/machines/")}`)}
      loss=${`Its disk is deleted at the provider, with every volume on it.`}><p>It is drained first: its replicas start elsewhere before they stop here. Where load wants it, its keeper rents another one.</p><//>`}</section>`;
}
