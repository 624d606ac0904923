// Serves the example's store with a back door, for conformance_test.go: the suite has to add accounts, read passwords, and
// begin and count sessions. Prints both ports as JSON and ends when its standard input ends.
'use strict';

const http = require('node:http');
const { Store, serve } = require('./server.js');

const store = new Store(process.argv[2]);

const backDoor = {
  account: (a) => store.addAccount(a),
  password: ({ id }) => store.accounts.get(id).hash,
  session: ({ id, begun }) => store.accounts.get(id).sessions.push(BigInt(begun)),
  sessions: ({ id }) => store.accounts.get(id).sessions.length,
};

const side = http.createServer(async (request, response) => {
  try {
    let body = '';
    for await (const part of request) body += part;
    response.end(JSON.stringify(backDoor[request.url.slice(1)](JSON.parse(body)) ?? null));
  } catch (err) {
    response.writeHead(500).end(err.message);
  }
});

side.listen(0, '127.0.0.1', async () => {
  const { port } = await serve(store, '127.0.0.1:0');
  console.log(JSON.stringify({ grpc: port, http: side.address().port }));
});
process.stdin.resume().on('end', () => process.exit(0));
