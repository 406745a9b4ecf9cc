// The first TypeScript SDK as a client of the workshop: `ts1_client.mjs REVISION KEY PREFIX URL|COMMAND...`.
// It offers the newest revision it knows; REVISION is what the tests expect it to get.

import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ListRootsRequestSchema,
  LoggingMessageNotificationSchema,
  ResourceUpdatedNotificationSchema,
  ToolListChangedNotificationSchema,
} from '@modelcontextprotocol/sdk/types.js';
import { Ear, run } from './scenario.mjs';

const [, key, given, first, ...rest] = process.argv.slice(2);
const prefix = given === '-' ? '' : given;
const transport = first.startsWith('http')
  ? new StreamableHTTPClientTransport(new URL(first))
  : new StdioClientTransport({ command: first, args: rest });
let revision;
const negotiated = transport.setProtocolVersion?.bind(transport);
transport.setProtocolVersion = version => {
  revision = version;
  negotiated?.(version);
};
const client = new Client(
  { name: 'interop', version: '1.0.0' },
  { capabilities: { elicitation: {}, sampling: {}, roots: {} } },
);
const ear = new Ear();
client.setRequestHandler(ElicitRequestSchema, request => ear.elicited(request.params));
client.setRequestHandler(CreateMessageRequestSchema, request => ear.sampled(request.params));
client.setRequestHandler(ListRootsRequestSchema, () => ear.rooted());
client.setNotificationHandler(LoggingMessageNotificationSchema, message => void ear.logged(message.params));
client.setNotificationHandler(ToolListChangedNotificationSchema, () => ear.changed('tools'));
client.setNotificationHandler(ResourceUpdatedNotificationSchema, message => ear.changed(message.params.uri));
await client.connect(transport);

await run({
  client,
  ear,
  key,
  prefix,
  modern: false,
  call: (name, args = {}, options = {}) => client.callTool({ name, arguments: args }, undefined, options),
  revision: () => revision,
  watch: async uri => {
    await client.subscribeResource({ uri });
    return () => client.unsubscribeResource({ uri });
  },
});
