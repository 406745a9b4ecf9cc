// A server of the official TypeScript SDK: `ts_server.mjs stdio` or `... http PORT`.
import { createServer } from 'node:http';
import { toNodeHandler } from '@modelcontextprotocol/node';
import { McpServer, ResourceTemplate, acceptedContent, createMcpHandler, inputRequired } from '@modelcontextprotocol/server';
import { serveStdio } from '@modelcontextprotocol/server/stdio';
import { z } from 'zod';

const text = (value) => ({ content: [{ type: 'text', text: value }] });
const form = { type: 'object', properties: { name: { type: 'string', default: 'Ann' } } };
let handler;

function make({ era } = {}) {
  const server = new McpServer({ name: 'ts-sdk', version: '1' }, { instructions: 'Typed.' });
  const numbers = z.object({ a: z.number(), b: z.number() });
  server.registerTool('add', { inputSchema: numbers, outputSchema: z.object({ result: z.number() }) }, async ({ a, b }) => ({
    ...text(String(a + b)),
    structuredContent: { result: a + b },
  }));
  server.registerTool('greet', {}, async (ctx) => {
    if (era !== 'modern') {
      const answer = await ctx.mcpReq.elicitInput({ message: 'Who is it?', requestedSchema: form });
      return text(`Hello ${answer.content.name}`);
    }
    const content = acceptedContent(ctx.mcpReq.inputResponses, 'who');
    if (content) return text(`Hello ${content.name}`);
    return inputRequired({ inputRequests: { who: inputRequired.elicit({ message: 'Who is it?', requestedSchema: form }) } });
  });
  server.registerTool('work', {}, async (ctx) => {
    const token = ctx.mcpReq._meta?.progressToken;
    for (const [progress, message] of [[1, 'half'], [2, undefined]]) {
      const params = { progressToken: token, progress, total: 2, message };
      if (token !== undefined) await ctx.mcpReq.notify({ method: 'notifications/progress', params });
    }
    return text('done');
  });
  server.registerTool('grow', {}, async () => {
    handler?.notify.toolsChanged();
    return text('grown');
  });
  server.registerTool('fail', {}, async () => {
    throw new Error('the disk is full');
  });
  server.registerResource('memo', new ResourceTemplate('memo://{name}', { list: undefined }), {}, async (uri, { name }) => ({
    contents: [{ uri: uri.href, text: `memo ${name}` }],
  }));
  server.registerPrompt('review', { argsSchema: z.object({ code: z.string() }) }, ({ code }) => ({
    messages: [{ role: 'user', content: { type: 'text', text: `Review ${code}` } }],
  }));
  return server;
}

if (process.argv[2] === 'stdio') {
  serveStdio(make);
} else {
  handler = createMcpHandler(make);
  createServer(toNodeHandler(handler)).listen(Number(process.argv[3]), '127.0.0.1');
}
