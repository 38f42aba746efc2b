// The session with the server of this page: the token for a key, requests that bear it, and one socket for all that is live.

const KEY = "skerry.key";
const AGAIN_MS = [200, 500, 1000, 2000];

export class Problem extends Error {
  constructor(told, status) {
    super(told.title || "something failed");
    Object.assign(this, { title: this.message, detail: "", fix: "", code: "", mistakes: [] }, told, { status });
  }
}

let key = "";

/** Turn the token in the address into a session, once; else go on with the one that this browser has. */
export async function enter() {
  const found = location.hash.match(/^#enter=([\w-]+)$/);
  if (found) {
    history.replaceState(null, "", location.pathname + "#/");
    const answer = await fetch("/enter", {
      method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ token: found[1] }),
    });
    if (answer.ok) localStorage.setItem(KEY, (await answer.json()).key);
  }
  key = localStorage.getItem(KEY) || "";
}

/** What is no JSON comes as bytes. */
export async function ask(method, path, body, headers = {}) {
  const sent = { "x-skerry-key": key, ...headers };
  if (body !== undefined) sent["content-type"] = "application/json";
  const send = () => fetch(path, { method, headers: sent, body: body === undefined ? undefined : JSON.stringify(body) });
  let answer;
  try {
    // A browser gives up what it was asking when a network of the machine comes or goes: reading again harms nobody.
    answer = await send().catch((error) => { if (method === "GET") return send(); throw error; });
  } catch {
    throw new Problem({ title: "skerry ui does not answer", detail: "it was ended, or the tunnel to it was", fix: "start it again", code: "gone" }, 0);
  }
  const kind = answer.headers.get("content-type") || "";
  const told = kind.includes("json") ? await answer.json() : kind.includes("octet-stream") ? await answer.arrayBuffer() : {};
  if (!answer.ok) throw new Problem(told, answer.status);
  return told;
}

/** A websocket of this server; its first message has the key. */
export function socket(path) {
  const made = new WebSocket(`ws://${location.host}${path}`);
  made.addEventListener("open", () => made.send(JSON.stringify({ key })));
  return made;
}

// -- what is live

const watching = new Map();
let line = null;
let open = false;
let next = 1;
let failures = 0;
let onState = () => {};

function say(message) {
  if (open) line.send(JSON.stringify(message));
}

/** Follow a stream: `told` gets each piece, `failed` a Problem, `began` is called whenever it begins anew. Gives what ends it. */
export function watch(kind, args, told, { failed = () => {}, ended = () => {}, began = () => {} } = {}) {
  const id = next++;
  watching.set(id, { kind, args, told, failed, ended, began });
  say({ id, watch: kind, args });
  return () => { watching.delete(id); say({ id, stop: true }); };
}

/** `state` hears "live", "broken" (it is tried again) and "over" (there is no session any more). */
export function connect(state) {
  onState = state;
  dial();
}

function dial() {
  line = socket("/live");
  line.addEventListener("open", () => {
    open = true;
    failures = 0;
    onState("live");
    for (const [id, each] of watching) {
      each.began();
      say({ id, watch: each.kind, args: each.args });
    }
  });
  line.addEventListener("message", (event) => {
    const told = JSON.parse(event.data);
    const each = watching.get(told.id);
    if (!each) return;
    if ("data" in told) { each.told(told.data); return; }
    watching.delete(told.id);
    if (told.error) each.failed(new Problem(told.error, told.error.status));
    else each.ended();
  });
  line.addEventListener("close", async () => {
    open = false;
    try {
      await ask("GET", "/v1/whoami");
      onState("broken");
    } catch (problem) {
      onState(problem.status === 403 ? "over" : "broken");
      if (problem.status === 403) return;
    }
    setTimeout(dial, AGAIN_MS[Math.min(failures++, AGAIN_MS.length - 1)]);
  });
}
