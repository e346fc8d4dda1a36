// The peer in Node: newline-delimited JSON-RPC on a `net` server, no validation, one ready-made answer of about 330 bytes.
"use strict";

const net = require("node:net");

const STATUS = {
  status: "running",
  agents: 4,
  active_agents: 3,
  tokens: 55152,
  cost_usd: 0.19211,
  headline: "coder: Bash",
  task: "Build the importer and show that it keeps every byte",
};
const INFO = {
  protocolVersion: "2025-11-25",
  capabilities: { tools: {} },
  serverInfo: { name: "node-peer", version: "1" },
};
const TOOL = { name: "session_status", inputSchema: { type: "object" } };

function resultOf(request) {
  switch (request.method) {
    case "initialize":
      return INFO;
    case "tools/list":
      return { tools: [TOOL] };
    default: {
      const figures = { session_id: request.params.arguments.session_id, ...STATUS };
      return { content: [{ type: "text", text: JSON.stringify(figures) }], isError: false };
    }
  }
}

function answer(socket, line) {
  const request = JSON.parse(line);
  if (request.id === undefined) return;
  socket.write(JSON.stringify({ jsonrpc: "2.0", id: request.id, result: resultOf(request) }) + "\n");
}

const server = net.createServer({ noDelay: true }, (socket) => {
  let rest = "";
  socket.setEncoding("utf8");
  socket.on("error", () => socket.destroy());
  socket.on("data", (chunk) => {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop();
    for (const line of lines) answer(socket, line);
  });
});
server.listen(0, "127.0.0.1", () => console.error(`listening on 127.0.0.1:${server.address().port}`));
