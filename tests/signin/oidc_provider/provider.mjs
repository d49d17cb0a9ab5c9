// A certified OpenID provider (npm oidc-provider) on loopback, for tests. Settings come as JSON in SETTINGS:
// { port, clients, keys (private JWKs), accounts: { name: { email, groups, … } }, audience }
import { Provider } from "oidc-provider";

const settings = JSON.parse(process.env.SETTINGS);
const issuer = `http://127.0.0.1:${settings.port}`;
const WEEK = 7 * 24 * 3600;

const provider = new Provider(issuer, {
  clients: settings.clients,
  jwks: { keys: settings.keys },
  cookies: { keys: ["only for tests"] },
  scopes: ["openid", "profile", "email", "groups"],
  claims: {
    openid: ["sub"],
    profile: ["name", "preferred_username"],
    email: ["email", "email_verified"],
    groups: ["groups"],
  },
  conformIdTokenClaims: false, // the claims are in the ID token, as most providers have it
  pkce: { required: () => true },
  findAccount: (ctx, id) =>
    settings.accounts[id] && {
      accountId: id,
      claims: () => ({ sub: id, name: id, email_verified: true, ...settings.accounts[id] }),
    },
  extraTokenClaims: (ctx, token) => ({ groups: settings.accounts[token.accountId]?.groups }),
  ttl: { AccessToken: settings.lifetime ?? 600, IdToken: 600, Session: WEEK, Grant: WEEK, Interaction: 600 },
  features: {
    devInteractions: { enabled: true },
    rpInitiatedLogout: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => undefined,
      getResourceServerInfo: (ctx, resource) => ({
        scope: "openid",
        audience: resource,
        accessTokenFormat: "jwt",
        accessTokenTTL: settings.lifetime ?? 600,
        jwt: { sign: { alg: "RS256" } },
      }),
      useGrantedResource: () => true,
    },
  },
});
provider.listen(settings.port, "127.0.0.1", () => console.log(`listening on ${issuer}`));
