// Figures and times as people read them; pure. The same words as the terminal: see docs of `hive-session ls`.

export const NONE = "–";
const DAY_MS = 86_400_000;

/** "45 s", "3 m 12 s", "2 h 5 m"; "–" where it is not known. */
export function duration(ms) {
  if (ms == null || !Number.isFinite(ms)) return NONE;
  const seconds = Math.floor(Math.max(0, ms) / 1000);
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} m ${seconds % 60} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} m`;
}

/** How long before `now` it was, and the date from a day on. */
export function ago(ms, now) {
  if (ms == null || !Number.isFinite(ms)) return NONE;
  return now - ms < DAY_MS ? `${duration(now - ms)} ago` : date(ms);
}

/** "2026-11-22 14:02", in the time zone of the reader. */
export function date(ms) {
  const at = new Date(ms);
  const day = [at.getFullYear(), two(at.getMonth() + 1), two(at.getDate())].join("-");
  return `${day} ${two(at.getHours())}:${two(at.getMinutes())}`;
}

/** "14:02:09", in the time zone of the reader. */
export function clock(ms) {
  const at = new Date(ms);
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

/** "842", "12.4 k", "3.1 M". */
export function count(value) {
  if (value == null || !Number.isFinite(value)) return NONE;
  if (value < 1000) return String(Math.round(value));
  if (value < 999_950) return `${(value / 1000).toFixed(1)} k`;
  return `${(value / 1_000_000).toFixed(1)} M`;
}

/** "$0.042" below ten cents, "$1.27" above. */
export function money(usd) {
  if (usd == null || !Number.isFinite(usd)) return NONE;
  return usd > 0 && usd < 0.1 ? `$${usd.toFixed(3)}` : `$${usd.toFixed(2)}`;
}

/** "512 B", "8.2 MB". */
export function bytes(value) {
  if (value == null || !Number.isFinite(value)) return NONE;
  if (value < 1000) return `${Math.round(value)} B`;
  if (value < 1_000_000) return `${(value / 1000).toFixed(1)} kB`;
  return value < 1e9 ? `${(value / 1e6).toFixed(1)} MB` : `${(value / 1e9).toFixed(2)} GB`;
}

/** The 8 characters by which people know a session. */
export function shortId(id) {
  return id.slice(0, 8);
}

/** Cut to so many characters, with an ellipsis. */
export function cut(text, length) {
  const line = String(text ?? "")
    .replace(/\s+/g, " ")
    .trim();
  return line.length > length ? `${line.slice(0, length - 1).trimEnd()}…` : line;
}

/** The beginning of a text, at most so many characters of it, with its line breaks. */
export function excerpt(text, length) {
  const whole = String(text ?? "").trim();
  return whole.length > length ? `${whole.slice(0, length - 1).trimEnd()}…` : whole;
}

/** "1 agent", "2 agents". */
export function plural(number, word) {
  return `${number} ${word}${number === 1 ? "" : "s"}`;
}

/** Unix milliseconds of an RFC 3339 time; null where there is none. */
export function instant(text) {
  const ms = text ? Date.parse(text) : NaN;
  return Number.isNaN(ms) ? null : ms;
}

function two(number) {
  return String(number).padStart(2, "0");
}
