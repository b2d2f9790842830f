// A frontend as somebody else would write it: oauth4webapi, unmodified, and fetch across origins.
// What happens is shown as JSON in #said, one answer after the other.
import * as oauth from '/oauth4webapi.js'

const { issuer, clientId } = await (await fetch('/config.json')).json()
// The only thing that a frontend in production does not need: plain HTTP on this machine.
const options = { [oauth.allowInsecureRequests]: true }
const client = { client_id: clientId }
const redirectUri = `${location.origin}/callback`

const discovered = await oauth.discoveryRequest(new URL(issuer), { algorithm: 'oauth2', ...options })
const server = await oauth.processDiscoveryResponse(new URL(issuer), discovered)

async function logIn() {
  const verifier = oauth.generateRandomCodeVerifier()
  const state = oauth.generateRandomState()
  sessionStorage.setItem('under-way', JSON.stringify({ verifier, state }))
  const url = new URL(server.authorization_endpoint)
  url.search = new URLSearchParams({
    client_id: clientId,
    redirect_uri: redirectUri,
    response_type: 'code',
    state,
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
  })
  location.assign(url)
}

async function comeBack() {
  const { verifier, state } = JSON.parse(sessionStorage.getItem('under-way'))
  sessionStorage.removeItem('under-way')
  const answer = oauth.validateAuthResponse(server, client, new URL(location.href), state)
  const exchanged = await oauth.authorizationCodeGrantRequest(
    server, client, oauth.None(), answer, redirectUri, verifier, options)
  keep(await oauth.processAuthorizationCodeResponse(server, client, exchanged))
  history.replaceState(null, '', '/')
  return { loggedIn: true }
}

function keep(tokens) {
  sessionStorage.setItem('before', sessionStorage.getItem('refresh') ?? '')
  sessionStorage.setItem('access', tokens.access_token)
  sessionStorage.setItem('refresh', tokens.refresh_token)
}

async function refresh(token) {
  const answer = await oauth.refreshTokenGrantRequest(server, client, oauth.None(), token, options)
  keep(await oauth.processRefreshTokenResponse(server, client, answer))
  return { refreshed: true }
}

async function logOut() {
  const token = sessionStorage.getItem('refresh')
  const answer = await oauth.revocationRequest(server, client, oauth.None(), token, options)
  await oauth.processRevocationResponse(answer)
  return { loggedOut: true }
}

async function call(method, path, body) {
  const headers = { Authorization: `Bearer ${sessionStorage.getItem('access')}` }
  if (body) {
    headers['Content-Type'] = 'application/json'
    headers['Idempotency-Key'] = crypto.randomUUID()
  }
  const answer = await fetch(issuer + path, { method, headers, body: body && JSON.stringify(body) })
  return {
    status: answer.status,
    requestId: answer.headers.get('X-Request-Id'),
    etag: answer.headers.get('ETag'),
    body: await answer.json(),
  }
}

async function bid() {
  const live = await call('GET', '/v1/auctions?status=live&limit=1')
  const auction = live.body.items[0]
  return call('POST', `/v1/auctions/${auction.id}/bids`,
    { max_amount: auction.minimum_next_bid.amount * 2 })
}

let count = 0
async function say(what) {
  let said
  try {
    said = await what()
  } catch (error) {
    said = { error: error.error ?? error.name, description: error.error_description ?? error.message }
  }
  if (said) document.querySelector('#said').textContent = JSON.stringify({ count: ++count, ...said })
}

const does = {
  login: logIn,
  me: () => call('GET', '/v1/me'),
  bid,
  refresh: () => refresh(sessionStorage.getItem('refresh')),
  replay: () => refresh(sessionStorage.getItem('before')),
  logout: logOut,
}
for (const [id, what] of Object.entries(does)) {
  document.querySelector(`#${id}`).addEventListener('click', () => say(what))
}
if (location.pathname === '/callback') await say(comeBack)
document.body.dataset.ready = 'yes'
