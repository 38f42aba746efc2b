// The frame around all pages: the bar, the theme, the keyboard, and which page an address means.
import { html, render, useEffect, useErrorBoundary, useState } from "../vendor/htm-preact.js";
import { enter } from "./session.js";
import { begin, useCloud } from "./store.js";
import { Empty, Modal } from "./parts.js";
import { AppPage } from "./app.js";
import { Deploy } from "./deploy.js";
import { HostPage } from "./host.js";
import { Images } from "./image.js";
import { EventsPage } from "./lines.js";
import { Machines } from "./machines.js";
import { Overview } from "./overview.js";
import { SlotPage } from "./slot.js";

const NAV = [["", "Overview", "o"], ["events", "Events", "e"], ["images", "Images", "i"], ["machines", "Machines", "m"], ["deploy", "Deploy", "d"]];
const PAGES = { "": Overview, apps: AppPage, hosts: HostPage, events: EventsPage, images: Images, machines: Machines, deploy: Deploy, slots: SlotPage };

const STATES = { connecting: ["work", "connecting"], live: ["ok", "live"], broken: ["wait", "reconnecting"], over: ["bad", "session over"] };

function useRoute() {
  const read = () => location.hash.replace(/^#\/?/, "").split("/").map((part) => { try { return decodeURIComponent(part); } catch { return part; } });
  const [route, set] = useState(read);
  useEffect(() => {
    const changed = () => { set(read()); window.scrollTo(0, 0); };
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return route;
}

function turnTheme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  localStorage.setItem("skerry.theme", root.dataset.theme);
  dispatchEvent(new Event("themechange"));
}

function Frame() {
  const cloud = useCloud();
  const route = useRoute();
  const [help, setHelp] = useState(false);
  const Page = Object.hasOwn(PAGES, route[0]) ? PAGES[route[0]] : null;
  const [broken, mend] = useErrorBoundary();
  useEffect(() => { if (broken) mend(); }, [route.join("/")]);
  useEffect(() => {
    let waits = 0;
    const pressed = (event) => {
      const typing = event.target.closest("input, textarea, select, .xterm, dialog");
      if (event.ctrlKey || event.metaKey || event.altKey || typing) return;
      if (event.key === "?") { setHelp(true); event.preventDefault(); }
      else if (event.key === "/") { const found = document.querySelector("input[type=search]"); if (found) { found.focus(); event.preventDefault(); } }
      else if (event.key === "g") waits = Date.now() + 1500;
      else if (event.key === "t") turnTheme();
      else if (waits > Date.now()) {
        const found = NAV.find(([, , letter]) => letter === event.key);
        if (found) location.hash = `#/${found[0]}`;
        waits = 0;
      }
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, []);
  useEffect(() => {
    const named = route[1] ? `${route[1]} · ` : (NAV.find(([key]) => key === route[0]) || [])[1] ? `${NAV.find(([key]) => key === route[0])[1]} · ` : "";
    document.title = `${named}${cloud.name || "Skerry"}`;
  }, [route.join("/"), cloud.name]);
  const [mood, word] = STATES[cloud.state];
  return html`
    <a class="skip" href="#main" onClick=${(event) => { event.preventDefault(); document.getElementById("main").focus(); }}>To the page</a>
    <header class="bar"><a class="brand" href="#/"><img src="/static/icon.svg" alt="" width="22" height="22" />Skerry <span class="quiet">${cloud.name}</span></a>
      <nav aria-label="Pages">${NAV.map(([key, label]) => html`<a href=${`#/${key}`} aria-current=${route[0] === key ? "page" : undefined}>${label}</a>`)}</nav>
      <span class="tools"><span class="state" role="status"><span class=${`mark ${mood}`} aria-hidden="true"></span>${word}</span>
        <button class="icon" type="button" title="Light or dark (t)" aria-label="Light or dark" onClick=${turnTheme}><svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.8"><circle cx="12" cy="12" r="8"/><path d="M12 4a8 8 0 0 1 0 16z" fill="currentColor"/></svg></button>
        <button class="icon" type="button" title="Keyboard (?)" aria-label="Keyboard" onClick=${() => setHelp(true)}>?</button></span></header>
    <main class="sheet" id="main" tabindex="-1">${broken ? html`<${Broken} error=${broken} />` : cloud.state === "over" ? html`<${Over} />` : Page ? html`<${Page} route=${route.slice(1)} key=${route[1] || ""} />` : html`<${Empty} title="There is no such page."><a class="link" href="#/">The overview</a> leads on.<//>`}</main>
    ${help && html`<${Help} close=${() => setHelp(false)} />`}`;
}

const Broken = ({ error }) => html`<h1 class="lead">This page could not be drawn.</h1><p class="under">It is a bug of Skerry, or a host told what no host tells: <code>${String(error.message)}</code>. Other pages go on.</p>`;

const Over = () => html`<h1 class="lead">This session is over.</h1><p class="under">It ended with the <code>skerry ui</code> that began it, or was never begun in this browser. Run <code>skerry ui</code> and use the link that it prints: each is good once.</p>`;

const Help = ({ close }) => html`<${Modal} title="Keyboard" close=${close}><dl class="short">
  ${NAV.map(([, label, letter]) => html`<dt><kbd>g</kbd> <kbd>${letter}</kbd></dt><dd>${label}</dd>`)}
  <dt><kbd>/</kbd></dt><dd>Filter</dd><dt><kbd>t</kbd></dt><dd>Light or dark</dd><dt><kbd>?</kbd></dt><dd>This help</dd><dt><kbd>Esc</kbd></dt><dd>Close what lies over the page</dd></dl>
  <div class="actions"><button class="do" type="button" onClick=${close}>Close</button></div><//>`;

await enter();
begin();
const page = document.getElementById("page");
page.replaceChildren();
render(html`<${Frame} />`, page);
