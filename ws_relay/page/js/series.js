// The curves of a session's panel: cpu, memory and tokens over time, from its recorded events; pure.

const POINTS = 90;
const MINUTE_MS = 60_000;

/**
 * {cpu, memory, tokens}: at most POINTS values each, of equal stretches of [from, to]; in percent, bytes, tokens a
 * minute.
 */
export function seriesOf(events, from, to) {
  const width = Math.max(1, to - from);
  const slot = (ts) => Math.min(POINTS - 1, Math.max(0, Math.floor(((ts - from) / width) * POINTS)));
  const cpu = new Array(POINTS).fill(null);
  const memory = new Array(POINTS).fill(null);
  const used = new Map();
  const uses = []; // {ts, tokens}
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
      uses.push({ ts: event.ts, tokens: event.tokens - (used.get(event.agent) ?? 0) });
      used.set(event.agent, event.tokens);
    }
  }
  return { cpu: carried(cpu), memory: carried(memory), tokens: lastMinutes(uses, from, width / POINTS) };
}

/** At the end of each stretch, the tokens of the minute before it; undefined before the first ones. */
function lastMinutes(uses, from, stretchMs) {
  let [first, next, sum] = [0, 0, 0];
  return Array.from({ length: POINTS }, (_, index) => {
    const end = from + (index + 1) * stretchMs;
    while (next < uses.length && uses[next].ts <= end) sum += uses[next++].tokens;
    while (first < next && uses[first].ts < end - MINUTE_MS) sum -= uses[first++].tokens;
    return next ? sum : undefined;
  });
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
