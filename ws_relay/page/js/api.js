// What the relay answers over HTTP: the list of sessions, one session, its recorded events, the tail of its log; and the
// viewer's token, which it may ask for: taken from the page's address once, kept for this tab, never left in the address
// bar.

const TOKEN = "hive-token";
const ROWS_AT_ONCE = 1000;
const CHUNK_BYTES = 1 << 20;

/** The relay's answer was no; `status` says which. */
export class Refused extends Error {
  constructor(status) {
    super(`the relay answered ${status}`);
    this.status = status;
  }
}

async function get(path, query = {}) {
  const url = new URL(`api/${path}`, document.baseURI);
  url.hash = "";
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
  const token = currentToken();
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const answer = await fetch(url, { headers, cache: "no-store" });
  if (!answer.ok) throw new Refused(answer.status);
  return answer.json();
}

/** All sessions as rows, page after page. */
export async function getSessions() {
  const rows = [];
  let cursor = null;
  do {
    const page = await get("sessions", { limit: ROWS_AT_ONCE, ...(cursor ? { cursor } : {}) });
    rows.push(...page.sessions);
    cursor = page.next_cursor ?? null;
  } while (cursor);
  return rows;
}

/** One session: {row, agents}. */
export async function getSession(id) {
  const { agents, session, ...rest } = await get(`sessions/${id}`);
  return {
    row: session ?? { ...rest, ...(Array.isArray(agents) ? {} : { agents }) },
    agents: Array.isArray(agents) ? agents : null,
  };
}

/** Events from a byte offset on: {from, to, end, events}. */
export function getEvents(id, from) {
  return get(`sessions/${id}/events`, { from, limit_bytes: CHUNK_BYTES });
}

/** The last lines of a session's log. */
export async function getLog(id, tail) {
  return (await get(`sessions/${id}/log`, { tail })).lines;
}

/** False when the relay wants a token that we do not have; true also when it cannot be reached. */
export async function isAllowed() {
  try {
    await get("sessions", { limit: 1 });
    return true;
  } catch (problem) {
    return !(problem instanceof Refused && (problem.status === 401 || problem.status === 403));
  }
}

/** The token of this tab; "" for none. */
export function currentToken() {
  return sessionStorage.getItem(TOKEN) ?? "";
}

export function keepToken(token) {
  sessionStorage.setItem(TOKEN, token.trim());
}

/** Move a token from the address (fragment or query) to where it is kept; the rest of the address stays. */
export function takeTokenFromAddress() {
  const url = new URL(location.href);
  const fragment = new URLSearchParams(url.hash.slice(1));
  const token = fragment.get("token") ?? url.searchParams.get("token");
  if (token == null) return;
  keepToken(token);
  fragment.delete("token");
  url.searchParams.delete("token");
  url.hash = fragment.toString();
  history.replaceState(null, "", url);
}
