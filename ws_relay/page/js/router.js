// The address bar holds the view: session, agent, moment, and whether it is the table; the pure part of it.

/** What the fragment of an address says; what makes no sense is left out. */
export function parseRoute(fragment) {
  const words = new URLSearchParams(fragment.replace(/^#/, ""));
  const at = words.get("at") ? Date.parse(words.get("at")) : NaN;
  const session = words.get("session") || null;
  return {
    session,
    agent: session ? words.get("agent") || null : null,
    moment: Number.isNaN(at) ? null : at,
    view: words.get("view") === "table" ? "table" : "graph",
  };
}

/** The fragment of a view, without "#"; "" for the view that one starts with. */
export function formatRoute({ session, agent, moment, view }) {
  const words = new URLSearchParams();
  if (session) words.set("session", session);
  if (session && agent) words.set("agent", agent);
  if (moment != null) words.set("at", new Date(moment).toISOString());
  if (view === "table") words.set("view", "table");
  return words.toString().replaceAll("%3A", ":");
}
