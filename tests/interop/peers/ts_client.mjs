// The official TypeScript SDK as a client of the conformance fixture: `ts_client.mjs legacy|auto PREFIX URL|COMMAND...`.
// PREFIX is what stands before every tool's name, or "-". Prints what it saw as one JSON object.

import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';

const [mode, given, first, ...rest] = process.argv.slice(2);
const prefix = given === '-' ? '' : given;
const transport = first.startsWith('http')
  ? new StreamableHTTPClientTransport(new URL(first))
  : new StdioClientTransport({ command: first, args: rest });
const client = new Client(
  { name: 'interop', version: '1.0.0' },
  { capabilities: { elicitation: { form: {} } }, versionNegotiation: { mode } },
);
client.setRequestHandler('elicitation/create', async () => ({ action: 'accept', content: { name: 'Ada' } }));
await client.connect(transport);

const seen = { progress: 0 };
const call = (name, args = {}, options = undefined) =>
  client.callTool({ name: prefix + name, arguments: args }, options);
seen.revision = client.getNegotiatedProtocolVersion();
seen.tools = (await client.listTools()).tools.map(tool => tool.name).sort();
seen.resources = (await client.listResources()).resources.map(resource => resource.uri).sort();
seen.prompts = (await client.listPrompts()).prompts.map(prompt => prompt.name).sort();
seen.call = (await call('test_simple_text')).content[0].text;
seen.header = (await call('test_x_mcp_header', { region: 'Zürich' })).content[0].text;
seen.failed = (await call('test_error_handling')).isError;
await call('test_tool_with_progress', {}, { onprogress: () => { seen.progress += 1; } });
seen.asked = (await call('test_input_required_result_elicitation')).content[0].text;
seen.read = (await client.readResource({ uri: 'test://static-text' })).contents[0].text;
const prompt = await client.getPrompt({
  name: `${prefix}test_prompt_with_arguments`,
  arguments: { arg1: 'one', arg2: 'two' },
});
seen.prompt = prompt.messages[0].content.text;
await client.close();
console.log(JSON.stringify(seen));
