// The curves of a session's panel: cpu, memory and tokens over time, from its recorded events; pure.

const POINTS = 90;

/**
 * {cpu, memory, tokens}: at most POINTS values each, of equal stretches of [from, to]; in percent, bytes, tokens a
 * minute.
 */
export function seriesOf(events, from, to) {
  const width = Math.max(1, to - from);
  const slot = (ts) => Math.min(POINTS - 1, Math.max(0, Math.floor(((ts - from) / width) * POINTS)));
  const cpu = new Array(POINTS).fill(null);
  const memory = new Array(POINTS).fill(null);
  const tokens = new Array(POINTS).fill(0);
  const used = new Map();
  let before = null;
  for (const event of events) {
    if (event.type === "resources") {
      if (before && event.ts > before.ts && event.cpu_ms >= before.cpu_ms) {
        cpu[slot(event.ts)] = (100 * (event.cpu_ms - before.cpu_ms)) / (event.ts - before.ts);
      }
      memory[slot(event.ts)] = event.rss_bytes;
      before = event;
    } else if (
      (event.type === "usage" || event.type === "agent_ended") &&
      event.tokens > (used.get(event.agent) ?? 0)
    ) {
      tokens[slot(event.ts)] += event.tokens - (used.get(event.agent) ?? 0);
      used.set(event.agent, event.tokens);
    }
  }
  const minutes = width / POINTS / 60_000;
  return { cpu: carried(cpu), memory: carried(memory), tokens: tokens.map((value) => value / minutes) };
}

/** A value stands until the next one: samples come on change. */
function carried(values) {
  let last = null;
  return values.map((value) => (last = value ?? last));
}

/** The points of a polyline through the values, in a box of width x height; "" for less than two. */
export function polyline(values, width, height) {
  const known = values.filter((value) => value != null);
  if (known.length < 2) return "";
  const most = Math.max(...known, 1e-9);
  const points = [];
  values.forEach((value, index) => {
    if (value == null) return;
    const y = height - 1 - (value / most) * (height - 2);
    points.push(`${((index / (values.length - 1)) * width).toFixed(1)},${y.toFixed(1)}`);
  });
  return points.join(" ");
}
