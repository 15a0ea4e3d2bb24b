// The authorization server of the tests: oidc-provider, set up as strictly as any provider is.
//
//   node server.mjs PORT ACCESS_TOKEN_SECONDS [KEYS.json]
//
// KEYS.json tells, in PEM, the certificate of the client `daemon` (`client`), by which it signs assertions with PS256,
// and the key of the service account (`service`: email, kid, public), which may act for the users of ovh.test.
//
// Refresh tokens rotate at each use, and one that is shown twice ends its whole grant. What a person's consent would
// make is made by POST /lab/grant?account=ADDRESS[&client=ID], which answers with the refresh token; /lab/revoke takes all grants of
// an account back. A person who signs in by /auth may have any name and password; /lab/device?user_code=CODE&account=ADDRESS
// answers a device's code as that person does, or declines it without an account; /lab/lenient has old refresh tokens
// stay valid; /lab/refreshes tells how many refresh tokens were shown, and how many of them were refused.
import { createHash, createPublicKey, verify, webcrypto, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';

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

const [port, seconds] = process.argv.slice(2, 4).map(Number);
const keys = process.argv[4] ? JSON.parse(readFileSync(process.argv[4], 'utf8')) : {};
const DEVICE = 'urn:ietf:params:oauth:grant-type:device_code';
// Of the tenant: its client may open all mailboxes of this domain, and its service account act for their owners.
const DOMAIN = 'ovh.test';
const CLIENT = 'bridge';
const SCOPE = 'openid offline_access mail';

// What Microsoft knows of a certificate: the key, by the thumbprint that x5t#S256 says.
function certified(pem) {
  const certificate = new X509Certificate(pem);
  const kid = createHash('sha256').update(certificate.raw).digest('base64url');
  return { keys: [{ ...certificate.publicKey.export({ format: 'jwk' }), kid, use: 'sig', alg: 'PS256' }] };
}

const client = (client_id, client_secret, token_endpoint_auth_method, grant_types) => ({
  client_id, client_secret, token_endpoint_auth_method, grant_types,
  redirect_uris: grant_types.includes('authorization_code') ? ['https://bridge.test/callback'] : [],
  response_types: grant_types.includes('authorization_code') ? ['code'] : [],
});

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [
    client(CLIENT, 'bridgesecret', 'client_secret_post', ['authorization_code', 'refresh_token']),
    client('proxy', 'of-another-program-9', 'client_secret_post', ['authorization_code', 'refresh_token']),
    client('tenant', 'open-sesame-7', 'client_secret_post', ['client_credentials']),
    { ...client('device', undefined, 'none', [DEVICE, 'refresh_token']), application_type: 'native' },
    // Browsers come back to this machine, on any port (RFC 8252 section 7.3).
    {
      ...client('browser', 'keep-it-quiet-8', 'client_secret_post', ['authorization_code', 'refresh_token']),
      application_type: 'native',
      redirect_uris: ['firm', '127.0.0.1'].map((name) => `http://localhost/oauth/callback/${name}`),
    },
    ...(keys.client
      ? [{ ...client('daemon', undefined, 'private_key_jwt', ['client_credentials']), jwks: certified(keys.client) }]
      : []),
    client('dovecot', 'dovesecret', 'client_secret_basic', []),
  ],
  claims: { openid: ['sub'], email: ['email'] },
  conformIdTokenClaims: false,
  cookies: { keys: ['lab'] },
  pkce: { required: () => true },
  findAccount: (_, sub) => ({ accountId: sub, claims: () => ({ sub, email: sub }) }),
  scopes: ['openid', 'offline_access', 'mail'],
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: true },
    deviceFlow: { enabled: true },
    introspection: { enabled: true },
    revocation: { enabled: true },
  },
  extraTokenClaims: (_, token) => ({ email: token.accountId ?? `tenant@${DOMAIN}` }),
  issueRefreshToken: () => true,
  rotateRefreshToken: () => true,
  ttl: { AccessToken: seconds, RefreshToken: 86400, Grant: 86400, IdToken: 60 },
});

let refreshes = 0;
let refused = 0;
const grants = new Map();

async function consent(account, clientId) {
  const grant = new provider.Grant({ accountId: account, clientId });
  grant.addOIDCScope(SCOPE);
  const grantId = await grant.save();
  grants.set(account, [...(grants.get(account) ?? []), grant]);
  const token = new provider.RefreshToken({
    accountId: account, client: await provider.Client.find(clientId), grantId, scope: SCOPE, gty: 'authorization_code',
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

// What a person does on another device.
async function device(user_code, account) {
  const code = await provider.DeviceCode.findByUserCode(user_code.replace(/[^A-Z0-9]/gi, '').toUpperCase());
  if (!code) return 'unknown';
  if (account) {
    const grant = new provider.Grant({ accountId: account, clientId: code.clientId });
    grant.addOIDCScope(code.params.scope);
    Object.assign(code, { accountId: account, grantId: await grant.save(), scope: code.params.scope, claims: {} });
  } else {
    Object.assign(code, { error: 'access_denied', errorDescription: 'the person declined' });
  }
  await code.save();
  return 'answered';
}

// Google's token endpoint for service accounts (RFC 7523 section 2.1), which oidc-provider has not: the signature is
// looked at, and what else Google looks at.
async function service(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const form = new URLSearchParams(Buffer.concat(chunks).toString());
  const refuse = (error, error_description) => [error === 'unauthorized_client' ? 401 : 400, { error, error_description }];
  if (form.get('grant_type') !== 'urn:ietf:params:oauth:grant-type:jwt-bearer') return refuse('unsupported_grant_type');
  if (form.has('client_id') || form.has('client_secret')) return refuse('invalid_request', 'two clients');
  const [head, claims, signature] = (form.get('assertion') ?? '').split('.');
  let header, said;
  try {
    [header, said] = [head, claims].map((part) => JSON.parse(Buffer.from(part, 'base64url')));
  } catch {
    return refuse('invalid_grant', 'Invalid JWT: Failed to decode.');
  }
  const key = createPublicKey(keys.service.public);
  const signed = header.alg === 'RS256' && header.kid === keys.service.kid
    && verify('RSA-SHA256', Buffer.from(`${head}.${claims}`), key, Buffer.from(signature ?? '', 'base64url'));
  if (!signed) return refuse('invalid_grant', 'Invalid JWT Signature.');
  const now = Date.now() / 1000;
  if (said.iss !== keys.service.email || said.aud !== `http://127.0.0.1:${port}/service/token`) {
    return refuse('invalid_grant', 'Invalid JWT: wrong issuer or audience');
  }
  if (!(said.iat <= now && now < said.exp && said.exp - said.iat <= 3600)) {
    return refuse('invalid_grant', 'Invalid JWT: Token must be a short-lived token (60 minutes)');
  }
  if (said.scope !== 'mail') return refuse('unauthorized_client', 'not authorized for any of the scopes requested');
  if (!said.sub?.endsWith(`@${DOMAIN}`)) return refuse('invalid_grant', 'Invalid email or User ID');
  const grant = new provider.Grant({ accountId: said.sub, clientId: CLIENT });
  grant.addOIDCScope('mail');
  const token = new provider.AccessToken({
    accountId: said.sub, client: await provider.Client.find(CLIENT), grantId: await grant.save(), scope: 'mail',
    gty: 'jwt_bearer',
  });
  return [200, { access_token: await token.save(), expires_in: seconds, token_type: 'Bearer' }];
}

provider.use(async (ctx, next) => {
  const account = ctx.query.account;
  if (ctx.path === '/lab/grant') ctx.body = await consent(account, ctx.query.client ?? CLIENT);
  else if (ctx.path === '/lab/revoke') ctx.body = await revoke(account);
  else if (ctx.path === '/lab/device') ctx.body = await device(ctx.query.user_code, account);
  else if (ctx.path === '/lab/lenient') {
    // As Microsoft has it: what was replaced goes on working for a while.
    provider.RefreshToken.adapter.consume = async () => {};
    ctx.body = 'lenient';
  } else if (ctx.path === '/lab/refreshes') ctx.body = `${refreshes} ${refused}`;
  else {
    const assertion = ctx.path === '/service/token';
    if (assertion) [ctx.status, ctx.body] = await service(ctx.req);
    else await next();
    const [, code] = /[?&]code=([^&]+)/.exec(ctx.response.get('location') ?? '') ?? [];
    if (code) console.log(`issued ${code}`);
    if (ctx.path === '/token' || assertion) {
      refreshes += 1;
      if (ctx.status !== 200) refused += 1;
      // For the tests, which look for them where they must not stand.
      for (const kind of ['access_token', 'refresh_token']) if (ctx.body?.[kind]) console.log(`issued ${ctx.body[kind]}`);
    }
  }
});

provider.on('server_error', (_, error) => console.error(error));
provider.listen(port, '127.0.0.1', () => console.log('ready'));
