// The workshop in the official TypeScript SDK: `ts_server.mjs stdio|http|sessions`; the last two print their URL.
// Over HTTP it serves 2026-07-28 through the SDK's handler and older clients through sessions; or sessions only.

import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { NodeStreamableHTTPServerTransport, toNodeHandler, toWebRequest } from '@modelcontextprotocol/node';
import {
  acceptedContent,
  completable,
  createMcpHandler,
  inputRequired,
  isLegacyRequest,
  McpServer,
  ResourceTemplate,
} from '@modelcontextprotocol/server';
import { serveStdio } from '@modelcontextprotocol/server/stdio';
import { z } from 'zod';

const PIXEL = 'iVBORw0KGgo=';
const LANGUAGES = ['python', 'perl', 'rust'];
const DAYS = ['monday', 'tuesday', 'wednesday'];
const waits = new Map();
const extras = new Set();
const live = new Set();
let modern;

const say = text => ({ content: [{ type: 'text', text }] });
const startsWith = (choices, value) => choices.filter(choice => choice.startsWith(value));
const form = (message, field, type) =>
  inputRequired.elicit({
    message,
    requestedSchema: { type: 'object', properties: { [field]: { type } }, required: [field] },
  });
const answers = context => context.mcpReq.inputResponses ?? {};

function build() {
  const server = new McpServer(
    { name: 'workshop', title: 'The workshop', version: '1.2.3' },
    {
      instructions: 'Ask before you cut.',
      capabilities: {
        logging: {},
        completions: {},
        tools: { listChanged: true },
        resources: { subscribe: true, listChanged: true },
        prompts: {},
      },
    },
  );
  const strings = (...names) => z.object(Object.fromEntries(names.map(name => [name, z.string()])));
  const simple = (name, description, run) => server.registerTool(name, { description }, run);
  const taking = (name, description, inputSchema, run) => server.registerTool(name, { description, inputSchema }, run);

  server.registerTool(
    'echo',
    { title: 'Echo', description: 'Give back the text.', inputSchema: strings('text'), annotations: { readOnlyHint: true } },
    ({ text }) => say(text),
  );
  const numbers = z.object({ a: z.number().int(), b: z.number().int() });
  const output = z.object({ sum: z.number().int() });
  server.registerTool('add', { description: 'Add.', inputSchema: numbers, outputSchema: output }, ({ a, b }) => ({
    content: [{ type: 'text', text: JSON.stringify({ sum: a + b }) }],
    structuredContent: { sum: a + b },
  }));
  simple('fail', 'Fail in a way a model should see.', () => {
    throw new Error('The saw is blunt');
  });
  simple('picture', 'Give back a picture and its caption.', () => ({
    content: [
      { type: 'text', text: 'a pixel' },
      { type: 'image', data: PIXEL, mimeType: 'image/png' },
    ],
  }));
  const region = z.object({ region: z.string().meta({ 'x-mcp-header': 'Region' }) });
  taking('where', 'Take an argument which the client mirrors.', region, ({ region }) => say(`in ${region}`));
  taking('work', 'Report the progress of some steps.', z.object({ steps: z.number() }), async ({ steps }, context) => {
    const progressToken = context.mcpReq._meta?.progressToken;
    for (let step = 1; progressToken !== undefined && step <= steps; step += 1) {
      const params = { progressToken, progress: step, total: steps, message: `step ${step}` };
      await context.mcpReq.notify({ method: 'notifications/progress', params });
      await new Promise(wake => setTimeout(wake, 10));
    }
    return say('done');
  });
  simple('chat', 'Log at three levels.', async context => {
    await context.mcpReq.log('debug', 'too fine');
    await context.mcpReq.log('info', 'just right', 'workshop');
    await context.mcpReq.log('error', { text: 'too loud' });
    return say('logged');
  });

  simple('greet', 'Ask for a name.', context => {
    const got = acceptedContent(answers(context), 'name');
    return got
      ? say(`Hello, ${got.name}!`)
      : inputRequired({ inputRequests: { name: form('What is your name?', 'name', 'string') } });
  });
  simple('confirm', 'Ask something that is declined.', context => {
    const got = answers(context).sure;
    return got
      ? say(`Answer: ${got.action}`)
      : inputRequired({ inputRequests: { sure: form('Are you sure?', 'sure', 'boolean') } });
  });
  taking('order', 'Ask twice.', strings('key'), (_, context) => {
    const { city, size } = answers(context);
    if (city) {
      const next = { size: form('Which size?', 'size', 'integer') };
      return inputRequired({ inputRequests: next, requestState: city.content.city });
    }
    if (size) return say(`Size ${size.content.size} to ${context.mcpReq.requestState()}, drawn 1 time`);
    return inputRequired({ inputRequests: { city: form('Which city?', 'city', 'string') } });
  });
  taking('think', "Ask the client's model.", strings('about'), ({ about }, context) => {
    const got = answers(context).thought;
    if (got) return say(`${got.model}: ${[got.content].flat()[0].text}`);
    const messages = [{ role: 'user', content: { type: 'text', text: `Think about ${about}` } }];
    return inputRequired({ inputRequests: { thought: inputRequired.createMessage({ messages, maxTokens: 50 }) } });
  });
  simple('shelves', "Ask for the client's roots.", context => {
    const got = answers(context).roots;
    if (got) return say(got.roots.map(root => `${root.name}=${root.uri}`).join(', '));
    return inputRequired({ inputRequests: { roots: inputRequired.listRoots() } });
  });

  taking('wait', 'Wait until the client gives up.', strings('key'), async ({ key }, context) => {
    waits.set(key, 'waiting');
    await new Promise(resolve => {
      const timer = setTimeout(resolve, 30_000);
      context.mcpReq.signal.addEventListener('abort', () => {
        waits.set(key, 'cancelled');
        clearTimeout(timer);
        resolve();
      });
    });
    return say('over');
  });
  taking('outcome', 'Tell what became of a wait.', strings('key'), ({ key }) => say(waits.get(key) ?? 'unknown'));
  taking('grow', 'Add a tool.', strings('name'), ({ name }) => {
    extras.add(name);
    live.forEach(each => each.tools.set(name, extra(each.server, name)));
    modern?.toolsChanged();
    return say(`added ${name}`);
  });
  taking('shrink', 'Take a tool away.', strings('name'), ({ name }) => {
    extras.delete(name);
    live.forEach(each => each.tools.get(name)?.remove());
    modern?.toolsChanged();
    return say(`removed ${name}`);
  });
  taking('touch', 'Tell subscribers that a resource changed.', strings('uri'), async ({ uri }) => {
    for (const each of live) await each.server.server.sendResourceUpdated({ uri });
    modern?.resourceUpdated(uri);
    return say(`touched ${uri}`);
  });

  const today = { description: 'What is to do today.', mimeType: 'text/plain' };
  server.registerResource('today', 'notes://today', today, uri => ({
    contents: [{ uri: uri.href, mimeType: 'text/plain', text: 'Sharpen the saw' }],
  }));
  server.registerResource('logo', 'notes://logo', { mimeType: 'image/png' }, uri => ({
    contents: [{ uri: uri.href, mimeType: 'image/png', blob: PIXEL }],
  }));
  const complete = { day: value => startsWith(DAYS, value) };
  const template = new ResourceTemplate('notes://day/{day}', { list: undefined, complete });
  server.registerResource('note', template, { mimeType: 'text/plain' }, (uri, { day }) => ({
    contents: [{ uri: uri.href, mimeType: 'text/plain', text: `On ${decodeURIComponent(day)}: rest` }],
  }));
  const language = completable(z.string(), value => startsWith(LANGUAGES, value)).optional();
  const argsSchema = z.object({ code: z.string(), language });
  server.registerPrompt('review', { title: 'Review', argsSchema }, ({ code, language }) => ({
    messages: [
      { role: 'user', content: { type: 'text', text: `Review this ${language ?? 'python'}: ${code}` } },
      { role: 'assistant', content: { type: 'text', text: 'Let me see.' } },
    ],
  }));

  server.server.setRequestHandler('resources/subscribe', () => ({}));
  server.server.setRequestHandler('resources/unsubscribe', () => ({}));
  return server;
}

function extra(server, name) {
  return server.registerTool(name, { description: 'A tool that was not here before.' }, () => say(`I am ${name}`));
}

/** A server with the tools that were added since; one that lives longer than a request hears of the next ones too. */
function make(lives) {
  const server = build();
  const each = { server, tools: new Map([...extras].map(name => [name, extra(server, name)])) };
  if (lives) live.add(each);
  server.server.onclose = () => live.delete(each);
  return server;
}

const how = process.argv[2];
if (how === 'stdio') {
  serveStdio(() => make(true));
} else {
  const handler = createMcpHandler(() => make(false), { legacy: 'reject' });
  modern = handler.notify;
  const serveModern = toNodeHandler(handler);
  const sessions = new Map();
  const http = createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = chunks.length > 0 ? JSON.parse(Buffer.concat(chunks).toString()) : undefined;
    if (how !== 'sessions' && !(await isLegacyRequest(await toWebRequest(request, body), body))) {
      return serveModern(request, response, body);
    }
    let transport = sessions.get(request.headers['mcp-session-id']);
    if (!transport) {
      transport = new NodeStreamableHTTPServerTransport({
        sessionIdGenerator: randomUUID,
        onsessioninitialized: id => void sessions.set(id, transport),
      });
      await make(true).connect(transport);
    }
    return transport.handleRequest(request, response, body);
  });
  http.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${http.address().port}/mcp`));
}
