// The overview as it is now: kept up to date by what changes, and sorted into what pages show. No element is made here.
import { connect, watch } from "./session.js";
import { cleanedAll } from "./text.js";
import { useEffect, useState } from "../vendor/htm-preact.js";

export const cloud = { name: "", hosts: {}, slots: {}, figures: {}, machines: {}, pools: {}, warnings: [], alerts: [], unknown: {}, trouble: "", state: "connecting", seen: false, changed: 0, refused: null };
const TABLES = ["hosts", "slots", "figures", "machines", "pools"];
const listeners = new Set();

function tell() {
  cloud.changed += 1;
  for (const each of listeners) each(cloud.changed);
}

function merge(table, rows) {
  const merged = { ...table };
  for (const [name, row] of Object.entries(rows)) {
    if (row === null) delete merged[name];
    else merged[name] = row;
  }
  return merged;
}

export function begin() {
  watch("overview", {}, (told) => {
    for (const [key, value] of Object.entries(cleanedAll(told))) {
      if (TABLES.includes(key)) cloud[key] = merge(cloud[key], value);
      else if (key === "cloud") cloud.name = value;
      else cloud[key] = value;
    }
    cloud.seen = true;
    tell();
  }, { failed: (problem) => { cloud.refused = problem; cloud.seen = true; tell(); },
    began: () => { for (const each of TABLES) cloud[each] = {}; } });
  connect((state) => { cloud.state = state; tell(); });
}

/** The cloud, in a component that is drawn again whenever it changes. */
export function useCloud() {
  const [, set] = useState(0);
  useEffect(() => {
    listeners.add(set);
    return () => listeners.delete(set);
  }, []);
  return cloud;
}

// -- what it means

/** ok, work (on its way), bad, wait (nobody runs it), done, asleep */
export function mood(slot) {
  if (slot.finished) return "done";
  if (slot.state === "asleep") return "asleep";
  if (slot.healthy) return slot.outdated ? "work" : "ok";
  if (slot.state === "waiting" || !slot.node) return "wait";
  return COMING.includes(slot.state) ? "work" : "bad";
}

const COMING = ["fetching", "initialising", "starting", "stopping"];

export const MOODS = {
  ok: "healthy", work: "on its way", bad: "not healthy", wait: "waiting for a host", done: "finished", asleep: "asleep until it is called",
};
const ORDER = ["bad", "wait", "work", "ok", "done", "asleep"];

export function natural(a, b) {
  return a.localeCompare(b, "en", { numeric: true });
}

export function rows(slots) {
  return Object.entries(slots).map(([name, row]) => ({ slot: name, mood: mood(row), ...row })).sort((a, b) => natural(a.slot, b.slot));
}

export function count(list) {
  const counts = { ok: 0, work: 0, bad: 0, wait: 0, done: 0, asleep: 0 };
  for (const each of list) counts[each.mood] += 1;
  return counts;
}

/** The worst mood of a list, "" of none. */
export function worst(list) {
  return ORDER.find((each) => list.some((row) => row.mood === each)) || "";
}

export function by(list, key) {
  const groups = new Map();
  for (const each of list) {
    const name = key(each);
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(each);
  }
  return groups;
}

/** Whether it tells of itself now: of one that does not, nothing is known but what others say. */
export const isHeard = (host) => host.state !== "down" && !host.silent;

export function hostMood(host) {
  if (host.state === "up" && host.silent) return "wait";
  return { up: "ok", draining: "work", down: "bad" }[host.state] || "wait";
}

/** What is known of a figure of these: [sum, of how many it is not known]; null for a sum of nothing. */
export function total(cloud, subjects, name) {
  const known = subjects.map((each) => (cloud.figures[each] || {})[name]).filter((value) => value !== undefined);
  return [known.length ? known.reduce((sum, value) => sum + value, 0) : null, subjects.length - known.length];
}
