// The official TypeScript client signs in and calls tools: `ts_sign_in.mjs MODE URL`; MODE is a revision or `legacy`.
import { Client, StreamableHTTPClientTransport, UnauthorizedError } from '@modelcontextprotocol/client';

const [mode, url] = process.argv.slice(2);
const home = 'http://127.0.0.1:9/callback';
const pages = [];
let back;

// Follows the provider's pages, as a person's browser would, until they lead back to the program.
async function browse(page) {
  pages.push(Object.fromEntries(new URL(page).searchParams));
  const jar = new Map();
  while (!String(page).startsWith(home)) {
    const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join('; ');
    const response = await fetch(page, { redirect: 'manual', headers: { cookie } });
    for (const set of response.headers.getSetCookie()) {
      const [name, value] = set.split(';')[0].split(/=(.*)/s);
      jar.set(name, value);
    }
    page = new URL(response.headers.get('location'), page);
  }
  back = new URL(page).searchParams;
}

const kept = {};
const provider = {
  redirectUrl: home,
  clientMetadata: { client_name: 'ts', redirect_uris: [home], token_endpoint_auth_method: 'none' },
  clientInformation: () => kept.client,
  saveClientInformation: client => void (kept.client = client),
  tokens: () => kept.tokens,
  saveTokens: tokens => void (kept.tokens = tokens),
  redirectToAuthorization: browse,
  saveCodeVerifier: verifier => void (kept.verifier = verifier),
  codeVerifier: () => kept.verifier,
};

const versionNegotiation = { mode: mode === 'legacy' ? 'legacy' : { pin: mode } };
let client, transport;

async function connect() {
  transport = new StreamableHTTPClientTransport(new URL(url), { authProvider: provider });
  client = new Client({ name: 'interop', version: '1.0.0' }, { versionNegotiation });
  await client.connect(transport);
}

// Tries, signs in where that is asked for, and tries again.
async function signedIn(attempt) {
  try {
    return await attempt();
  } catch (error) {
    if (!(error instanceof UnauthorizedError) && !back) throw error;
    await transport.finishAuth(back);
    back = undefined;
    await connect();
    return await attempt();
  }
}

const seen = {};
await signedIn(async () => client?.transport ?? (await connect()));
for (const tool of ['who', 'write_file']) {
  const result = await signedIn(() => client.callTool({ name: tool, arguments: {} }));
  seen[tool] = result.content[0].text;
}
seen.scopes = pages.map(page => page.scope);
seen.resources = pages.map(page => page.resource);
console.log(JSON.stringify(seen));
process.exit(0);
