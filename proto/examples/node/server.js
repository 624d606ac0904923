// A complete backend for surgegate in JavaScript: the four calls of surgegate.credstore.v1.CredentialStore over a small
// store that survives a crash. Start it with:
//
//   npm install --ignore-scripts
//   node server.js 127.0.0.1:7700 ./store
//
// Replace class Store by your own database. What its comments say about order and durability is the contract.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');

const protoDir = path.join(__dirname, '../..');
const api = grpc.loadPackageDefinition(protoLoader.loadSync('surgegate/credstore/v1/credstore.proto', {
  includeDirs: [protoDir], keepCase: true, longs: String, enums: String, defaults: true, oneofs: true,
})).surgegate.credstore.v1;

const maxBatch = 256;               // items in one call of each kind
const maxCallsInside = 64;          // more calls at once are refused, and surgegate slows down
const maxMessageBytes = 16 << 20;   // what surgegate sends at most; grpc-js accepts only 4 MiB by default

// Store keeps accounts in memory and every applied change in a journal file, which it reads at the start.
class Store {
  constructor(folder) {
    fs.mkdirSync(folder, { recursive: true });
    this.accounts = new Map();      // id → account
    this.byIdentifier = new Map();  // login or address → accounts
    this.lastWrite = Promise.resolve();
    const accountsFile = path.join(folder, 'accounts.json');
    if (fs.existsSync(accountsFile)) {
      JSON.parse(fs.readFileSync(accountsFile, 'utf8')).forEach((a) => this.addAccount(a));
    }
    this.openJournal(path.join(folder, 'changes.jsonl'));
  }

  // openJournal applies the changes of earlier runs. A crash can leave half a line at the end: nobody was told that it is
  // in place, so it is cut off.
  openJournal(file) {
    const content = fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : '';
    const whole = content.slice(0, content.lastIndexOf('\n') + 1);
    this.journal = fs.openSync(file, 'a');
    fs.ftruncateSync(this.journal, Buffer.byteLength(whole));
    for (const line of whole.split('\n').filter(Boolean)) {
      const change = JSON.parse(line);
      this.apply({ ...change, sequence: BigInt(change.sequence) });
    }
  }

  addAccount({ id, login, address, locale = '', hash = '', not_resettable = false }) {
    const account = { id, address, locale, hash, not_resettable, sequence: 0n, change_id: '', sessions: [] };
    this.accounts.set(id, account);
    for (const identifier of new Set([login, address])) {
      const known = this.byIdentifier.get(identifier) ?? [];
      this.byIdentifier.set(identifier, [...known, account]);
    }
  }

  // lookup returns one list for each identifier, then one for each account id. Whatever cannot be an account is an empty
  // list, never an error: identifiers arrive as people typed them.
  lookup(identifiers, ids) {
    return [
      ...identifiers.map((identifier) => this.byIdentifier.get(identifier) ?? []),
      ...ids.map((id) => (this.accounts.has(id) ? [this.accounts.get(id)] : [])),
    ];
  }

  // setPasswords returns one outcome for each change. Batches run one after the other, so that no other change comes
  // between the decision and the write.
  setPasswords(changes) {
    const batch = this.lastWrite.then(() => this.setBatch(changes));
    this.lastWrite = batch.catch(() => {});
    return batch;
  }

  // setBatch writes and syncs before it applies and answers: surgegate erases its copy of the password when it is told
  // APPLIED. One sync carries the whole batch, which is why batches are cheap.
  async setBatch(changes) {
    const applied = [];
    const outcomes = changes.map((change) => {
      const outcome = this.decide(change);
      if (outcome === 'APPLIED') applied.push(change);
      return outcome;
    });
    if (applied.length > 0) {
      const lines = applied.map((c) => JSON.stringify({ ...c, sequence: String(c.sequence) }) + '\n').join('');
      fs.writeSync(this.journal, lines);
      await new Promise((done, fail) => fs.fdatasync(this.journal, (err) => (err ? fail(err) : done())));
      applied.forEach((change) => this.apply(change));
    }
    return outcomes;
  }

  // decide compares a change with what is in place. The order of these checks matters: a repeated delivery must be
  // ALREADY_APPLIED, not SUPERSEDED.
  decide({ account_id, hash, change_id, sequence }) {
    const account = this.accounts.get(account_id);
    if (!account) return 'UNKNOWN_ACCOUNT';
    if (!hash.startsWith('$')) return 'REFUSED';              // not a PHC string: never store a plaintext
    if (change_id === account.change_id) return 'ALREADY_APPLIED';
    if (sequence <= account.sequence) return 'SUPERSEDED';    // a newer reset is in place
    return 'APPLIED';
  }

  apply({ account_id, hash, change_id, sequence }) {
    const account = this.accounts.get(account_id);
    if (account && sequence > account.sequence) Object.assign(account, { hash, change_id, sequence });
  }

  // revoke ends the sessions that began before a moment, in microseconds since 1970. A revocation can arrive hours late
  // and more than once, so later sessions stay. Sessions are in memory only here.
  revoke(accountID, before) {
    const account = this.accounts.get(accountID);
    if (!account) return { known: false, ended: 0 };
    const kept = account.sessions.filter((begun) => begun >= before);
    const ended = account.sessions.length - kept.length;
    account.sessions = kept;
    return { known: true, ended };
  }

  close() {
    fs.closeSync(this.journal);
  }
}

// microseconds converts a google.protobuf.Timestamp.
function microseconds(timestamp) {
  return BigInt(timestamp?.seconds ?? 0) * 1000000n + BigInt(Math.trunc((timestamp?.nanos ?? 0) / 1000));
}

// handlers returns the four calls. An error is for the whole call: RESOURCE_EXHAUSTED or UNAVAILABLE make surgegate slow
// down. What is wrong with one item goes into that item's result.
function handlers(store) {
  let inside = 0;
  const call = (work) => async ({ request }, callback) => {
    if (inside >= maxCallsInside) {
      callback({ code: grpc.status.RESOURCE_EXHAUSTED, details: 'too many calls at once' });
      return;
    }
    inside++;
    try {
      callback(null, await work(request));
    } catch (err) {
      console.error('call failed:', err.message); // never log requests: they hold passwords
      callback({ code: grpc.status.INTERNAL, details: 'the store failed' });
    } finally {
      inside--;
    }
  };
  return {
    Describe: call(() => ({
      password_form: 'PASSWORD_FORM_HASH', hash_schemes: ['argon2id', '2b'],
      max_lookup_batch: maxBatch, max_set_batch: maxBatch, max_revoke_batch: maxBatch,
    })),
    Lookup: call(({ identifiers, account_ids }) => ({
      results: store.lookup(identifiers, account_ids).map((accounts) => ({
        // current_hash is optional. With it, surgegate refuses a reset to the password that is in place.
        accounts: accounts.map(({ hash, ...account }) => ({ ...account, current_hash: hash })),
      })),
    })),
    SetPasswords: call(async ({ changes }) => {
      const outcomes = await store.setPasswords(changes.map((c) => ({
        account_id: c.account_id, hash: c.hash ?? '', change_id: c.change_id, sequence: BigInt(c.sequence),
      })));
      return { results: outcomes.map((outcome) => ({ outcome: 'SET_PASSWORD_OUTCOME_' + outcome })) };
    }),
    RevokeSessions: call(({ revocations }) => ({
      results: revocations.map((r) => store.revoke(r.account_id, microseconds(r.sessions_before))),
    })),
  };
}

// serve returns a promise of the server and its port. TLS_CERT and TLS_KEY name PEM files; without them it is plain text,
// which is for loopback only.
function serve(store, address) {
  const server = new grpc.Server({ 'grpc.max_receive_message_length': maxMessageBytes });
  server.addService(api.CredentialStore.service, handlers(store));
  const { TLS_CERT, TLS_KEY } = process.env;
  const credentials = TLS_CERT
    ? grpc.ServerCredentials.createSsl(null, [{ cert_chain: fs.readFileSync(TLS_CERT), private_key: fs.readFileSync(TLS_KEY) }])
    : grpc.ServerCredentials.createInsecure();
  return new Promise((done, fail) => {
    server.bindAsync(address, credentials, (err, port) => (err ? fail(err) : done({ server, port })));
  });
}

async function main() {
  const [address = '127.0.0.1:7700', folder = './store'] = process.argv.slice(2);
  const store = new Store(folder);
  const { server } = await serve(store, address);
  console.log(`CredentialStore on ${address}: ${store.accounts.size} accounts from ${folder}/accounts.json`);
  process.on('SIGTERM', () => server.tryShutdown(() => store.close()));
}

if (require.main === module) {
  main().catch((err) => {
    console.error(err.message);
    process.exitCode = 1;
  });
}

module.exports = { Store, serve };
