// The viewer's token: taken from the page's address once, kept for this tab, never left in the address bar.

const KEY = "hive-token";

/** The token of this tab; "" for none. */
export function currentToken() {
  return sessionStorage.getItem(KEY) ?? "";
}

export function keepToken(token) {
  sessionStorage.setItem(KEY, token.trim());
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
