// The official TypeScript client as a client of the workshop: `ts_client.mjs MODE KEY PREFIX URL|COMMAND...`.
// MODE is `modern`, `auto`, or the handshake revision to offer. PREFIX stands before names ("-": none).

import { Client, LOG_LEVEL_META_KEY, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';
import { Ear, run } from './scenario.mjs';

const [mode, key, given, first, ...rest] = process.argv.slice(2);
const prefix = given === '-' ? '' : given;
const modern = mode === 'modern' || mode === 'auto';
const transport = first.startsWith('http')
  ? new StreamableHTTPClientTransport(new URL(first))
  : new StdioClientTransport({ command: first, args: rest });
const client = new Client(
  { name: 'interop', version: '1.0.0' },
  {
    capabilities: { elicitation: { form: {} }, sampling: {}, roots: {} },
    versionNegotiation: { mode: mode === 'modern' ? { pin: '2026-07-28' } : mode === 'auto' ? 'auto' : 'legacy' },
    ...(modern ? {} : { supportedProtocolVersions: [mode] }),
  },
);
const ear = new Ear();
client.setRequestHandler('elicitation/create', request => ear.elicited(request.params));
client.setRequestHandler('sampling/createMessage', request => ear.sampled(request.params));
client.setRequestHandler('roots/list', () => ear.rooted());
client.setNotificationHandler('notifications/message', message => void ear.logged(message.params));
client.setNotificationHandler('notifications/tools/list_changed', () => ear.changed('tools'));
client.setNotificationHandler('notifications/resources/updated', message => ear.changed(message.params.uri));
await client.connect(transport);

const _meta = modern ? { [LOG_LEVEL_META_KEY]: 'info' } : undefined;
await run({
  client,
  ear,
  key,
  prefix,
  modern,
  call: (name, args = {}, options = {}) => client.callTool({ name, arguments: args, ...(_meta && { _meta }) }, options),
  revision: () => client.getNegotiatedProtocolVersion(),
  watch: async uri => {
    if (modern) {
      const subscription = await client.listen({ toolsListChanged: true, resourceSubscriptions: [uri] });
      return () => subscription.close();
    }
    await client.subscribeResource({ uri });
    return () => client.unsubscribeResource({ uri });
  },
});
