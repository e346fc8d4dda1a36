// The peer in Node: a `ws` server that follows a file and sends each whole line to every client as one message.
//
//     NODE_PATH=.../node_modules node relay_node.js FILE [--deflate]
"use strict";

const fs = require("node:fs");
const { WebSocketServer } = require("ws");

const file = process.argv[2];
const perMessageDeflate = process.argv.includes("--deflate") ? { threshold: 0 } : false;
const server = new WebSocketServer({ host: "127.0.0.1", port: 0, perMessageDeflate });
const fd = fs.openSync(file, "r");
const chunk = Buffer.allocUnsafe(1 << 18);
let offset = fs.fstatSync(fd).size;
let rest = "";

function send(line) {
  for (const client of server.clients) {
    if (client.readyState === 1) client.send(line);
  }
}

function follow() {
  let size;
  while ((size = fs.readSync(fd, chunk, 0, chunk.length, offset)) > 0) {
    offset += size;
    const lines = (rest + chunk.toString("utf8", 0, size)).split("\n");
    rest = lines.pop();
    lines.forEach(send);
  }
}

server.on("connection", (client) => client.on("error", () => client.terminate()));
server.on("listening", () => {
  fs.watch(file, follow);
  console.error(`listening on 127.0.0.1:${server.address().port}`);
});
process.on("SIGTERM", () => process.exit(0));
