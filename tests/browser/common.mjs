// What the browser tests share: a real Chromium, and pages on an origin of their own.
import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { createInterface } from 'node:readline'
import { chromium } from 'playwright-core'

export const { HOGA_URL, CHROMIUM } = process.env

/// A Chromium for one test file.
export const launch = () => chromium.launch({
  executablePath: CHROMIUM,
  args: [
    '--no-sandbox',
    '--disable-dev-shm-usage',
    // The embedded default lets every page of this machine call: a stranger has a name.
    '--host-resolver-rules=MAP stranger.test 127.0.0.1',
  ],
})

/// An HTTP server of the test's own, once it listens.
export async function serve(answer, port = 0, host = 'localhost') {
  const server = createServer(answer)
  await new Promise((listening) => server.listen(port, host, listening))
  return server
}

/// After a shutdown viewers are asked to come back within ten seconds; and machines are slow.
const PATIENCE_MS = 60_000

export async function post(path, token, body) {
  const answer = await fetch(`${HOGA_URL}/v1${path}`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${token}`,
      'content-type': 'application/json',
      'idempotency-key': crypto.randomUUID(),
    },
    body: JSON.stringify(body),
  })
  const text = await answer.text()
  assert.equal(answer.status, 201, text)
  return JSON.parse(text)
}

export async function until(what, holds) {
  const deadline = Date.now() + PATIENCE_MS
  while (!(await holds())) {
    assert.ok(Date.now() < deadline, `waited in vain: ${what}`)
    await new Promise((later) => setTimeout(later, 50))
  }
}

/// A live auction for an hour; its id.
export async function auction(seller, title) {
  const ends_at = new Date(Date.now() + 3_600_000).toISOString()
  const { id } = await post('/auctions', seller, {
    title, opening_price: 1_000, increment: { kind: 'fixed', step: 1 }, ends_at })
  await until('the auction opens', async () =>
    (await (await fetch(`${HOGA_URL}/v1/auctions/${id}`)).json()).status === 'live')
  return id
}

/// Asks whoever started the script for restarts of the server, until `end` lets the script end.
export function orders_of(input) {
  const orders = createInterface({ input })[Symbol.asyncIterator]()
  return {
    async restart(signal) {
      console.log(`restart ${signal}`)
      await orders.next()
    },
    end: () => input.destroy(),
  }
}
