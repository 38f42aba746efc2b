// Text that others wrote: cleaned of what would steer a terminal, turn a line around, or not be seen at all.

const CSI = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|[@-_])/g;
const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

const shown = (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`;

/** The content of a file: all of it, with every character that would not be seen made visible. */
export const visible = (text) => text.replace(/\r\n/g, "\n").replace(HIDDEN, shown);

/** Foreign text without colours and with every character that would not be seen made visible. */
export function cleaned(text) {
  return String(text).replace(CSI, "").replace(HIDDEN, shown);
}

/** All texts of a value that a host told, names included. */
export function cleanedAll(value) {
  if (typeof value === "string") return cleaned(value);
  if (Array.isArray(value)) return value.map(cleanedAll);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [cleaned(key), cleanedAll(inner)]));
}

/** Why a host did not answer, where it is named already. */
export function reasonOf(host, why) {
  const text = cleaned(why);
  const rest = text.startsWith(`${host} could not be reached: `) ? text.slice(host.length + 23) : text;
  return rest.startsWith(`${host}: `) ? rest.slice(host.length + 2) : rest;
}
