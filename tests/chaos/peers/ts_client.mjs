// The official TypeScript client under chaos: `ts_client.mjs modern|legacy URL SEED PAUSE UPSTREAMS`.
// A caller and a listener until standard input ends, as in sdk_client.py.

import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { createInterface } from 'node:readline';

const [mode, url, seed, pause, upstreams] = process.argv.slice(2);
const modern = mode === 'modern';
const ours = upstreams.split(',').filter(name => name !== 'everything');
const options = { timeout: 20000, resetTimeoutOnProgress: true };
let stopped = false;

// mulberry32: a seeded generator in three lines.
let state = [...`${seed} typescript ${mode}`].reduce((sum, one) => (Math.imul(sum, 31) + one.charCodeAt(0)) | 0, 7);
function random() {
  state = (state + 0x6d2b79f5) | 0;
  let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
  mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
  return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
}

const say = record => console.log(JSON.stringify(record));
const sleep = seconds => new Promise(resolve => setTimeout(resolve, seconds * 1000));

// The SDK gives a stream up for ever after `maxRetries` attempts that failed one after the other; its transport's
// `onerror` is all it says of it.
const GIVEN_UP = /^Maximum reconnection attempts \(\d+\) exceeded/;

async function connected(onChange, onGivenUp) {
  const client = new Client(
    { name: 'chaos', version: '1.0.0' },
    {
      capabilities: { elicitation: { form: {} } },
      versionNegotiation: { mode: modern ? { pin: '2026-07-28' } : 'legacy' },
    },
  );
  client.setRequestHandler('elicitation/create', async request => {
    await sleep(0.1 + random() / 2);
    const content = 'name' in (request.params.requestedSchema?.properties ?? {}) ? { name: 'Ada' } : {};
    return { action: 'accept', content };
  });
  if (onChange) {
    client.setNotificationHandler('notifications/tools/list_changed', onChange);
    client.setNotificationHandler('notifications/resources/updated', onChange);
  }
  client.onerror = error => {
    if (!GIVEN_UP.test(error?.message)) return;
    say({ gave_up: error.message, when: Date.now() / 1000, caller: !onGivenUp });
    onGivenUp?.();
  };
  await client.connect(new StreamableHTTPClientTransport(new URL(url)));
  return client;
}

function retriable(error) {
  const told = error?.data?.['dev.trunkline/retry'];
  if (told !== undefined) return told === true;
  if (error?.data?.status >= 500) return true;
  return /fetch failed|terminated|stream|ECONN|socket|closed|timed out|502|503/i.test(`${error?.message} ${error?.cause}`);
}

async function made(what, send, id = '') {
  const began = Date.now() / 1000;
  let why = '';
  let again = false;
  try {
    const result = await send();
    if (result?.isError) throw new Error(`isError: ${JSON.stringify(result.content)}`);
  } catch (error) {
    why = `${error?.constructor?.name}: ${error?.message}${error?.data?.status ? ` HTTP ${error.data.status}` : ''}`;
    again = retriable(error);
  }
  say({ what, began, ended: Date.now() / 1000, why, retriable: again, id });
  return why;
}

function next(client, number) {
  const where = ours[Math.floor(random() * ours.length)];
  const tool = (name, args) => client.callTool({ name, arguments: args }, options);
  const sends = [
    [6, `look ${where}`, () => tool(`${where}__look`, { n: number })],
    [5, `count ${where}`, () => tool(`${where}__count`, { id: `typescript-${mode}-${number}` })],
    [3, `slow ${where}`, () =>
      client.callTool({ name: `${where}__slow`, arguments: { seconds: 1.0 } }, { ...options, onprogress: () => {} })],
    [2, `greet ${where}`, () => tool(`${where}__greet`, {})],
    [1, 'list', () => client.listTools(undefined, options)],
    [1, 'read', () => client.readResource({ uri: `chaos://${where}/state` }, options)],
  ];
  if (upstreams.includes('everything')) {
    sends.push([1, 'held', () => tool('everything__trigger-elicitation-request', {})]);
  }
  let point = random() * sends.reduce((sum, [weight]) => sum + weight, 0);
  for (const [weight, what, send] of sends) {
    point -= weight;
    if (point <= 0) return [what, send];
  }
  return sends[0].slice(1);
}

async function call() {
  let client;
  const connect = async () => {
    client = await connected();
  };
  while (await made('connect', connect)) await sleep(0.3);
  for (let number = 1; !stopped; number++) {
    const [what, send] = next(client, number);
    const counts = what.startsWith('count');
    const why = await made(what, send, counts ? `typescript-${mode}-${number}` : '');
    if (why && !counts) await made(`${what} again`, send);
    await sleep(random() * 2 * Number(pause));
  }
}

// A listener until its client gives its stream up; a client that did is of no use, and its user makes another.
async function listen() {
  let stale = false;
  let looking = false;
  let over = false;
  let end;
  const given = new Promise(resolve => {
    end = () => {
      over = true;
      resolve();
    };
  });
  async function look() {
    stale = true;
    if (looking) return;
    looking = true;
    while (stale && !over) {
      stale = false;
      try {
        const { tools } = await client.listTools(undefined, { ...options, cacheMode: 'refresh' });
        const states = {};
        for (const where of ours) {
          const read = await client.readResource({ uri: `chaos://${where}/state` }, { ...options, cacheMode: 'refresh' });
          states[where] = read.contents[0].text;
        }
        say({ tools: tools.map(tool => tool.name).filter(name => name.includes('__extra_')).sort(), states });
      } catch {
        stale = true;
        await sleep(0.3);
      }
    }
    looking = false;
  }
  const client = await connected(look, end);
  const uris = ours.map(where => `chaos://${where}/state`);
  try {
    if (!modern) {
      for (const uri of uris) await client.subscribeResource({ uri });
      look();
      await given;
    }
    while (modern && !over) {
      try {
        const subscription = await client.listen({ toolsListChanged: true, resourceSubscriptions: uris });
        look();
        await subscription.closed;
        say({ note: 'listening ended' });
      } catch (error) {
        say({ note: `listening ended: ${error?.message}` });
      }
      await sleep(0.3);
    }
  } finally {
    end();
    await client.close();
  }
}

async function listenOn() {
  for (;;) {
    await listen().catch(error => say({ note: `the listener ended: ${error?.message}` }));
    await sleep(0.3);
  }
}

// What the SDK leaves unhandled would end this process, and with it what is to be counted.
process.on('unhandledRejection', error => say({ note: `unhandled: ${error?.stack}` }));

const calling = call();
listenOn();
let lines = 0;
const input = createInterface({ input: process.stdin });
input.on('line', async () => {
  lines += 1;
  stopped = true;
  await calling;
  say({ done: true });
});
input.on('close', () => process.exit(0));
