// The official TypeScript client as a client of server-everything: `everything_client.mjs MODE URL`.
// MODE is `modern` or the handshake revision to offer. Prints what the client saw as one JSON object.

import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';

const [mode, url] = process.argv.slice(2);
const modern = mode === 'modern';
const URI = 'demo://resource/dynamic/text/1';
const sleep = ms => new Promise(wake => setTimeout(wake, ms));
const client = new Client(
  { name: 'interop', version: '1.0.0' },
  {
    capabilities: { elicitation: { form: {} }, sampling: {}, roots: {} },
    versionNegotiation: { mode: modern ? { pin: '2026-07-28' } : 'legacy' },
    ...(modern ? {} : { supportedProtocolVersions: [mode] }),
  },
);
let updated = false;
client.setRequestHandler('elicitation/create', () => ({ action: 'accept', content: { name: 'Ada' } }));
client.setRequestHandler('sampling/createMessage', () => ({
  role: 'assistant',
  content: { type: 'text', text: 'Paris' },
  model: 'tiny',
}));
client.setRequestHandler('roots/list', () => ({ roots: [{ uri: 'file:///home/ada', name: 'home' }] }));
client.setNotificationHandler('notifications/resources/updated', message => {
  if (message.params.uri === URI) updated = true;
});
await client.connect(new StreamableHTTPClientTransport(new URL(url)));

const text = async (name, args = {}, options = {}) => {
  const result = await client.callTool({ name: `everything__${name}`, arguments: args }, options);
  return result.content.map(block => block.text).join(' ');
};
const LONG = 'trigger-long-running-operation';
const steps = {
  elicitation: () => text('trigger-elicitation-request'),
  sampling: () => text('trigger-sampling-request', { prompt: 'x', maxTokens: 5 }),
  roots: () => text('get-roots-list'),
  progress: async () => {
    const seen = [];
    await text(LONG, { duration: 0.4, steps: 4 }, { onprogress: got => seen.push([got.progress, got.total]) });
    return seen;
  },
  subscription: async () => {
    if (modern) await client.listen({ resourceSubscriptions: [URI] });
    else await client.subscribeResource({ uri: URI });
    // The server tells of it every other time the tool is called.
    for (let tries = 0; tries < 40 && !updated; tries += 1) {
      await text('toggle-subscriber-updates');
      await sleep(300);
    }
    return updated;
  },
  cancellation: async () => {
    const stop = new AbortController();
    const waiting = text(LONG, { duration: 60, steps: 60 }, { signal: stop.signal }).catch(() => undefined);
    await sleep(400);
    stop.abort('enough');
    await waiting;
    return text('echo', { message: 'still here' });
  },
};
const seen = { revision: client.getNegotiatedProtocolVersion() };
for (const [name, step] of Object.entries(steps)) {
  const late = sleep(15000).then(() => Promise.reject(new Error('took too long')));
  late.catch(() => undefined);
  seen[name] = await Promise.race([step(), late]).catch(error => `${error.name}: ${error.message}`);
}
console.log(JSON.stringify(seen));
process.exit(0);
