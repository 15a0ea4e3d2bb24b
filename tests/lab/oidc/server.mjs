// The authorization server of the tests: oidc-provider, set up as strictly as any provider is.
//
//   node server.mjs PORT ACCESS_TOKEN_SECONDS
//
// Refresh tokens rotate at each use, and one that is shown twice ends its whole grant. What a person's consent would
// make is made by POST /lab/grant?account=ADDRESS, which answers with the refresh token; /lab/revoke takes all grants of
// an account back; /lab/refreshes tells how many refresh tokens were shown, and how many of them were refused.
import { webcrypto } from 'node:crypto';

// Debian 12 has node 18, which lacks what oidc-provider asks of it.
URL.parse ??= (text, base) => {
  try {
    return new URL(text, base);
  } catch {
    return null;
  }
};
globalThis.crypto ??= webcrypto;
const { Provider } = await import('oidc-provider');

const [port, seconds] = process.argv.slice(2).map(Number);
const CLIENT = 'bridge';
const SCOPE = 'openid offline_access mail';

const client = (client_id, client_secret, token_endpoint_auth_method, grant_types) => ({
  client_id, client_secret, token_endpoint_auth_method, grant_types,
  redirect_uris: grant_types.includes('authorization_code') ? ['https://bridge.test/callback'] : [],
  response_types: grant_types.includes('authorization_code') ? ['code'] : [],
});

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [
    client(CLIENT, 'bridgesecret', 'client_secret_post', ['authorization_code', 'refresh_token']),
    client('dovecot', 'dovesecret', 'client_secret_basic', []),
  ],
  cookies: { keys: ['lab'] },
  findAccount: (_, sub) => ({ accountId: sub, claims: () => ({ sub, email: sub }) }),
  scopes: ['openid', 'offline_access', 'mail'],
  features: {
    devInteractions: { enabled: false },
    introspection: { enabled: true },
    revocation: { enabled: true },
  },
  extraTokenClaims: (_, token) => ({ email: token.accountId }),
  issueRefreshToken: () => true,
  rotateRefreshToken: () => true,
  ttl: { AccessToken: seconds, RefreshToken: 86400, Grant: 86400, IdToken: 60 },
});

let refreshes = 0;
let refused = 0;
const grants = new Map();

async function consent(account) {
  const grant = new provider.Grant({ accountId: account, clientId: CLIENT });
  grant.addOIDCScope(SCOPE);
  const grantId = await grant.save();
  grants.set(account, [...(grants.get(account) ?? []), grant]);
  const token = new provider.RefreshToken({
    accountId: account, client: await provider.Client.find(CLIENT), grantId, scope: SCOPE, gty: 'authorization_code',
  });
  return token.save();
}

async function revoke(account) {
  for (const grant of grants.get(account) ?? []) {
    await provider.RefreshToken.adapter.revokeByGrantId(grant.jti);
    await provider.AccessToken.adapter.revokeByGrantId(grant.jti);
    await grant.destroy();
  }
  return 'revoked';
}

provider.use(async (ctx, next) => {
  const account = ctx.query.account;
  if (ctx.path === '/lab/grant') ctx.body = await consent(account);
  else if (ctx.path === '/lab/revoke') ctx.body = await revoke(account);
  else if (ctx.path === '/lab/refreshes') ctx.body = `${refreshes} ${refused}`;
  else {
    await next();
    if (ctx.path === '/token') {
      refreshes += 1;
      if (ctx.status !== 200) refused += 1;
      // For the tests, which look for them where they must not stand.
      for (const kind of ['access_token', 'refresh_token']) if (ctx.body?.[kind]) console.log(`issued ${ctx.body[kind]}`);
    }
  }
});

provider.on('server_error', (_, error) => console.error(error));
provider.listen(port, '127.0.0.1', () => console.log('ready'));
