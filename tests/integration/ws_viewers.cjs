// Many viewers by Node's `ws` in one process. A line on stdin is one command, and each is answered by a line on stdout:
// {"open": name, "url", "deflate": options of ws, "say": text}   {"pause": name}   {"resume": name}   {"close": name}
// {"tell": name}: what it has heard since the last time: {"texts", "compressed", "errors"}
'use strict';
const { WebSocket } = require('ws');
const viewers = new Map();

function open({ open: name, url, deflate, say }, answer) {
  const socket = new WebSocket(url, { perMessageDeflate: deflate });
  const heard = { texts: [], compressed: 0, errors: [] };
  viewers.set(name, { socket, heard });
  socket.on('open', () => {
    // RSV1 of the first byte of a frame says that it is compressed; ws keeps it while it takes the frame apart.
    const receiver = socket._receiver;
    const getInfo = receiver.getInfo;
    receiver.getInfo = function (...words) {
      getInfo.apply(this, words);
      if (this._compressed) heard.compressed += 1;
    };
    socket.send(say);
    answer({ extensions: socket.extensions });
  });
  socket.on('message', (data, binary) => (binary ? heard.errors.push('binary') : heard.texts.push(data.toString())));
  socket.on('error', (error) => heard.errors.push(`${error.code}: ${error.message}`));
}

function tell(name, answer) {
  const { heard } = viewers.get(name);
  answer({ texts: heard.texts.splice(0), compressed: heard.compressed, errors: heard.errors });
}

function obey(command) {
  const answer = (document) => console.log(JSON.stringify(document));
  const [verb] = Object.keys(command);
  const name = command[verb];
  if (verb === 'open') return open(command, answer);
  if (verb === 'tell') return tell(name, answer);
  viewers.get(name).socket[verb === 'close' ? 'terminate' : verb]();
  return answer({});
}

require('node:readline')
  .createInterface({ input: process.stdin })
  .on('line', (line) => obey(JSON.parse(line)))
  .on('close', () => process.exit(0));
