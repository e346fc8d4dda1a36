// Lines of a log as people read them: Claude Code's stream-json becomes sentences, other lines stay as they are; pure.

import { cut, excerpt } from "./format.js";

const MOST = 400; // characters of one sentence
const BRIEF = 90; // of what a tool is used on
const TELLING = [
  "description",
  "file_path",
  "path",
  "command",
  "pattern",
  "query",
  "url",
  "subject",
  "prompt",
  "status",
];
const LONG_NAME = 30; // characters; the directory of a session has more
const PATHS = new Set(["file_path", "path"]);
const FOR_PROGRAMS = /^agentId: .*$|<usage>[^]*?<\/usage>/gm; // what Claude Code adds to a sub-agent's answer

/**
 * What a line says: [{who, text, mark}], none for what only programs need; `nameOf(agent id)` gives the name people
 * know, or nothing.
 */
export function logWords(line, nameOf) {
  const said = parsed(line);
  if (!said) return line.trim() ? [{ who: "", text: line, mark: null }] : [];
  const who = said.parent_tool_use_id ? nameOf(said.parent_tool_use_id) || said.subagent_type || "agent" : "queen";
  const tell = TELLERS[said.type];
  return tell ? tell(said, who, nameOf) : [sentence("", said.type.replaceAll("_", " "))];
}

/** The object of a stream-json line; null for any other line. */
function parsed(line) {
  if (!line.startsWith("{")) return null;
  try {
    const said = JSON.parse(line);
    return typeof said.type === "string" ? said : null;
  } catch {
    return null;
  }
}

function sentence(who, text, mark = null) {
  return { who, text: excerpt(text, MOST), mark };
}

const SYSTEM = {
  init: (said, who) => sentence(who, said.model ? `started on ${said.model}` : "started"),
  task_notification: (said, _who, nameOf) =>
    said.status === "completed" // its answer is a line of its own
      ? null
      : sentence(nameOf(said.tool_use_id) || "agent", `${said.status}: ${said.summary ?? ""}`, "failed"),
  api_retry: (said, who) =>
    sentence(who, `the model's server refused (${said.error_status ?? said.error}); tries again`, "starting"),
  compact_boundary: (_said, who) => sentence(who, "shortened what it remembers"),
};

const BLOCKS = {
  text: (block, who) => sentence(who, block.text),
  thinking: (block, who) => sentence(who, `thinks: ${block.thinking}`),
  tool_use: (block, who) => sentence(who, [`uses ${block.name}`, brief(block.input)].filter(Boolean).join(": ")),
  tool_result: (block) => sentence("", `→ ${plain(block.content)}`, block.is_error ? "failed" : null),
};

const TELLERS = {
  system: (said, who, nameOf) => [SYSTEM[said.subtype]?.(said, who, nameOf)].filter(Boolean),
  assistant: (said, who) => blocks(said, who),
  user: (said, who) => blocks(said, who, { ...BLOCKS, text: ({ text }) => sentence(who, `is told: ${text}`) }),
  result: ({ result, subtype, is_error: failed }) => [
    sentence("result", result || String(subtype ?? "").replaceAll("_", " "), failed ? "failed" : "done"),
  ],
};

function blocks({ message }, who, tellers = BLOCKS) {
  const content = typeof message?.content === "string" ? [{ type: "text", text: message.content }] : message?.content;
  return (Array.isArray(content) ? content : []).map((block) => tellers[block?.type]?.(block, who)).filter(Boolean);
}

/** What a tool is used on, in a few words. */
function brief(input) {
  const name = TELLING.find((each) => typeof input?.[each] === "string" && input[each]);
  if (!name) return "";
  return cut(PATHS.has(name) ? endOfPath(input[name]) : input[name], BRIEF);
}

/** A file, and the directory that it is in where that has a name for people. */
function endOfPath(path) {
  const parts = path.split("/").slice(-2);
  return parts[0].length > LONG_NAME ? parts.at(-1) : parts.join("/");
}

/** The text of a tool's answer. */
function plain(content) {
  const texts = Array.isArray(content) ? content.map((block) => block?.text).filter(Boolean) : [content ?? ""];
  return texts.join("\n").replace(FOR_PROGRAMS, "").trim() || "(no text)";
}
