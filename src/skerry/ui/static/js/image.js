// Images in this machine's store: what is in one, what it is made of, and what differs between two.
import { html, useState } from "../vendor/htm-preact.js";
import { ask } from "./session.js";
import { Empty, Failed, Loading, Tabs, age, bytes, link, many, save, short, useAsked } from "./parts.js";

export function Images({ route: [digest, tab = "", other = ""] }) {
  const [told, problem] = useAsked("images", () => ask("GET", "/v1/images?limit=1000"));
  if (digest) return html`<${Image} digest=${digest} tab=${tab} other=${other} known=${told ? told.items : []} />`;
  return html`<h1 class="lead">Images</h1><p class="under">In the store of this machine: hosts get theirs by deploys.</p>
    <section>${problem ? html`<${Failed} problem=${problem} />` : !told ? html`<${Loading} />` : told.items.length ? html`<table class="cards"><thead><tr><th>Name</th><th>Digest</th><th class="right">Size</th><th class="right">Came</th><th>Runs as</th></tr></thead>
      <tbody>${told.items.map((each) => html`<tr key=${each.name + each.digest}><td class="name"><a href=${link.image(each.digest)}>${each.name || html`<span class="quiet">no name</span>`}</a></td><td class="mono quiet tight">${short(each.digest)}</td>
        <td class="right tight">${each.size_bytes === null ? html`<span class="word bad">not whole</span>` : bytes(each.size_bytes)}</td><td class="right tight quiet" data-is="came">${each.when_s ? `${age(each.when_s)} ago` : "unknown"}</td><td class="wide" data-is="runs as">${each.used_by.join(", ") || html`<span class="quiet">nothing</span>`}</td></tr>`)}</tbody></table>`
      : html`<${Empty} title="No image yet."><code>skerry image build</code> makes one, <code>skerry image pull</code> brings one.<//>`}</section>`;
}

const TABS = [["", "Contents"], ["packages", "Packages"], ["files", "Files"], ["compare", "Compare"]];

function Image({ digest, tab, other, known }) {
  const [told, problem] = useAsked(`image ${digest}`, () => ask("GET", `/images/${encodeURIComponent(digest)}`));
  if (problem) return html`<p class="crumb"><a href="#/images">Images</a> / image</p><h1 class="lead mono">${short(digest)}</h1><${Failed} problem=${problem} />`;
  if (!told) return html`<p class="crumb"><a href="#/images">Images</a> / image</p><h1 class="lead mono">${short(digest)}</h1><${Loading} />`;
  return html`<p class="crumb"><a href="#/images">Images</a> / image</p><h1 class="lead">${told.names.join(", ") || short(digest)}</h1>
    <p class="under">${bytes(told.tree.size_bytes)} in ${many(told.tree.files, "file")}; ${told.shells.length ? `it has ${many(told.shells.length, "shell")}: ${told.shells.slice(0, 3).join(", ")}` : "no shell in it"}; ${told.origin ? `${told.origin.how} ${age(told.origin.when_s)} ago` : "where it came from isn't known"}</p>
    <${Tabs} tabs=${TABS} now=${tab} to=${(key) => `${link.image(digest)}${key ? `/${key}` : ""}`} />
    <section>${tab === "packages" ? html`<${Packages} digest=${digest} told=${told} />` : tab === "files" ? html`<${Files} digest=${digest} />`
      : tab === "compare" ? html`<${Compare} digest=${digest} other=${other} known=${known} />` : html`<${Contents} told=${told} />`}</section>`;
}

function Contents({ told }) {
  const { config } = told;
  const most = told.biggest.length ? told.biggest[0].size_bytes : 1;
  return html`<div class="columns"><div><div class="head"><h2>How it wants to be run</h2></div><dl class="facts">
      <dt>Digest</dt><dd class="mono">${told.digest}</dd>
      <dt>Command</dt><dd class="mono">${[...(config.entrypoint || []), ...(config.cmd || [])].join(" ") || "none"}</dd>
      <dt>User</dt><dd class="mono">${config.user || "root"}</dd><dt>Folder</dt><dd class="mono">${config.working_dir || config.workdir || "/"}</dd>
      <dt>Environment</dt><dd>${Object.keys(config.env || {}).length ? html`<span class="tags">${Object.entries(config.env).map(([key, value]) => html`<span class="tag mono">${key}=${value}</span>`)}</span>` : html`<span class="quiet">none</span>`}</dd>
      <dt>Runs as</dt><dd>${told.used_by.join(", ") || html`<span class="quiet">nothing that was deployed from here</span>`}</dd></dl></div>
    <div><div class="head"><h2>Biggest files</h2></div><table class="cards"><tbody>${told.biggest.map((each) => html`<tr key=${each.path}><td class="mono">${each.path}<span class="meter" aria-hidden="true"><i style=${{ width: `${(100 * each.size_bytes) / (most || 1)}%` }}></i></span></td><td class="right tight">${bytes(each.size_bytes)}</td></tr>`)}</tbody></table></div></div>
    <div class="head gap"><h2>Programs (${told.executables.length})</h2></div><p class="tags">${told.executables.slice(0, 200).map((path) => html`<span class="tag mono">${path}</span>`)}${told.executables.length > 200 ? ` and ${told.executables.length - 200} more` : ""}${!told.executables.length ? "none" : ""}</p>`;
}

function Packages({ digest, told }) {
  const [problem, fail] = useState(null);
  const keep = async () => {
    try {
      const document_ = await ask("GET", `/images/${encodeURIComponent(digest)}/sbom`);
      save(JSON.stringify(document_, null, 2), `${told.names[0] || short(digest)}.cdx.json`, "application/vnd.cyclonedx+json");
    } catch (error) { fail(error); }
  };
  return html`<div class="head"><h2>Packages (${told.packages.length})</h2><span class="quiet">${told.origin ? told.origin.complete ? "the list is complete" : "there may be more in it than is known" : "nobody noted where it came from"}</span><span class="grow"></span><button class="do" type="button" onClick=${keep}>Save the SBOM (CycloneDX)</button></div>
    <${Failed} problem=${problem} />
    ${told.packages.length ? html`<table class="cards"><thead><tr><th>Package</th><th>Version</th><th>From</th><th>Licences</th><th class="right">Files</th></tr></thead><tbody>${told.packages.map((each) => html`<tr key=${each.kind + each.name + each.version}><td class="name">${each.name}</td><td class="mono">${each.version}</td><td>${each.kind}</td><td class="wide">${each.licences.join(", ") || html`<span class="quiet">not said</span>`}</td><td class="right">${each.files}</td></tr>`)}</tbody></table>`
      : html`<${Empty} title="No package is known in it.">It holds files of its own alone, or came from elsewhere without a list.<//>`}`;
}

const KINDS = { f: "", d: "folder", l: "link" };

function Files({ digest }) {
  const [wanted, set] = useState("");
  const [told, problem] = useAsked(`files ${digest} ${wanted}`, () => ask("GET", `/images/${encodeURIComponent(digest)}/files?with=${encodeURIComponent(wanted)}`));
  return html`<div class="head"><label class="hidden" for="files-filter">Filter by path</label><input id="files-filter" type="search" placeholder="Part of a path  ( / )" value=${wanted} onInput=${(event) => set(event.target.value)} /></div>
    <${Failed} problem=${problem} />${!told ? !problem && html`<${Loading} />` : html`<table class="cards"><thead><tr><th>Path</th><th>Mode</th><th class="right">Size</th></tr></thead><tbody>${told.files.map((each) => html`<tr key=${each.path}><td class="mono">/${each.path}${each.kind === "l" ? html` <span class="quiet">→ ${each.link}</span>` : null}</td><td class="mono quiet">${each.mode}</td><td class="right tight">${each.kind === "f" ? bytes(each.size_bytes) : html`<span class="quiet">${KINDS[each.kind]}</span>`}</td></tr>`)}</tbody></table>
    ${told.more > 0 && html`<p class="quiet">and ${told.more} more: filter by a part of their path</p>`}${!told.files.length && html`<${Empty} title="No path has this in it." />`}`}`;
}

const WHAT = { added: "ok", removed: "bad", changed: "work" };

function Compare({ digest, other, known }) {
  const others = known.filter((each) => each.digest !== digest && each.size_bytes !== null);
  const to = (event) => { location.hash = `${link.image(digest)}/compare/${encodeURIComponent(event.target.value)}`; };
  return html`<div class="head"><label for="other">With the image before it:</label> <select id="other" value=${other} onChange=${to}><option value="">choose one</option>${others.map((each) => html`<option value=${each.digest}>${each.name || "no name"} (${short(each.digest)})</option>`)}</select></div>
    ${other ? html`<${Between} key=${other} old=${other} now=${digest} />` : !others.length ? html`<${Empty} title="There is no other image here." />` : null}`;
}

function Between({ old, now }) {
  const [told, problem] = useAsked(`${old} ${now}`, () => ask("GET", `/images/${encodeURIComponent(old)}/to/${encodeURIComponent(now)}`));
  if (problem) return html`<${Failed} problem=${problem} />`;
  if (!told) return html`<${Loading} />`;
  const grew = told.new_size_bytes - told.old_size_bytes;
  return html`<p>A host that has the one before is sent <strong>${bytes(told.travels.bytes)}</strong> (${told.travels.how}). ${grew ? `It is ${bytes(Math.abs(grew))} ${grew > 0 ? "larger" : "smaller"}.` : "It is as large as before."}</p>
    ${told.packages && told.packages.length > 0 && html`<div class="head gap"><h2>Packages</h2></div><table class="cards"><thead><tr><th>Package</th><th>Before</th><th>Now</th></tr></thead><tbody>${told.packages.map((each) => html`<tr><td class="name">${each.name} <span class="quiet">${each.kind}</span></td><td class="mono">${each.old ? html`<span class="was">${each.old}</span>` : "not there"}</td><td class="mono">${each.new ? html`<span class="is">${each.new}</span>` : "gone"}</td></tr>`)}</tbody></table>`}
    ${told.config.length > 0 && html`<div class="head gap"><h2>How it wants to be run</h2></div><table class="cards"><tbody>${told.config.map((each) => html`<tr><td class="name">${each.field}</td><td class="mono"><span class="was">${JSON.stringify(each.old)}</span></td><td class="mono"><span class="is">${JSON.stringify(each.new)}</span></td></tr>`)}</tbody></table>`}
    <div class="head gap"><h2>Files (${told.files.length})</h2></div>
    ${told.files.length ? html`<table class="cards"><thead><tr><th>Path</th><th></th><th class="right">Before</th><th class="right">Now</th></tr></thead><tbody>${told.files.slice(0, 1000).map((each) => html`<tr key=${each.path}><td class="mono">/${each.path}</td><td class="tight"><span class=${`word ${WHAT[each.what]}`}>${each.what}</span></td><td class="right tight">${each.old_bytes === null ? "" : bytes(each.old_bytes)}</td><td class="right tight">${each.new_bytes === null ? "" : bytes(each.new_bytes)}</td></tr>`)}</tbody></table>${told.files.length > 1000 ? html`<p class="quiet">and ${told.files.length - 1000} more</p>` : null}` : html`<p class="quiet">The same files.</p>`}`;
}
