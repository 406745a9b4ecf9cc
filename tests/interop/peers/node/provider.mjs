// A real OpenID provider whose one person agrees to everything: `provider.mjs PORT KEYS FORMAT SECONDS`.
// KEYS is a file with a private JWK set; FORMAT is what access tokens are, `jwt` or `opaque`; SECONDS is how long they
// hold.
import { readFileSync } from 'node:fs';
import Provider from 'oidc-provider';

const [port, keys, format, seconds] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;
const scopes = ['mcp', 'files.write'];
const machine = { grant_types: ['client_credentials'], redirect_uris: [], response_types: [] };

const provider = new Provider(issuer, {
  jwks: JSON.parse(readFileSync(keys)),
  cookies: { keys: ['for tests alone'] },
  scopes: ['openid', 'offline_access', ...scopes],
  clients: [
    { client_id: 'robot', client_secret: 'robots-secret', scope: scopes.join(' '), ...machine },
    { client_id: 'gateway', client_secret: 'gateways-secret', ...machine },
  ],
  clientDefaults: { id_token_signed_response_alg: 'ES256' },
  enabledJWA: { idTokenSigningAlgValues: ['ES256'], dPoPSigningAlgValues: ['ES256'] },
  findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
  rotateRefreshToken: true,
  issueRefreshToken: () => true,
  ttl: { AccessToken: Number(seconds), ClientCredentials: 300, Grant: 3600, Session: 3600, Interaction: 600, RefreshToken: 3600 },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    registration: { enabled: true },
    revocation: { enabled: true },
    introspection: { enabled: true, allowedPolicy: (ctx, client) => client.clientId === 'gateway' },
    dPoP: { enabled: true },
    resourceIndicators: {
      enabled: true,
      useGrantedResource: () => true,
      getResourceServerInfo: (ctx, resource) => ({
        scope: scopes.join(' '),
        audience: resource,
        accessTokenFormat: format,
        jwt: { sign: { alg: 'ES256' } },
      }),
    },
  },
});

// The official Python SDK registers with the scopes of its first challenge, which would keep it from stepping up.
provider.use(async (ctx, next) => {
  if (ctx.path === '/reg' && ctx.method === 'POST') {
    const parts = [];
    for await (const part of ctx.req) parts.push(part);
    const { scope, ...body } = JSON.parse(Buffer.concat(parts));
    ctx.req.body = body;
  }
  return next();
});

provider.use(async (ctx, next) => {
  if (!ctx.path.startsWith('/interaction/')) return next();
  const { prompt, params, session, grantId } = await provider.interactionDetails(ctx.req, ctx.res);
  if (prompt.name === 'login') {
    ctx.respond = false;
    return provider.interactionFinished(ctx.req, ctx.res, { login: { accountId: 'ada' } });
  }
  const owner = { accountId: session.accountId, clientId: params.client_id };
  const grant = grantId ? await provider.Grant.find(grantId) : new provider.Grant(owner);
  const { missingOIDCScope = [], missingResourceScopes = {} } = prompt.details;
  grant.addOIDCScope(missingOIDCScope.join(' '));
  for (const [resource, missing] of Object.entries(missingResourceScopes)) {
    grant.addResourceScope(resource, missing.join(' '));
  }
  const result = { consent: { grantId: await grant.save() } };
  ctx.respond = false;
  return provider.interactionFinished(ctx.req, ctx.res, result, { mergeWithLastSubmission: true });
});

provider.listen(Number(port), '127.0.0.1', () => console.log(`provider at ${issuer}`));
process.on('SIGTERM', () => process.exit(0));
