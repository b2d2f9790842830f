// What Chromium's own cache makes of answers that depend on who asks: a page of another origin reads
// an auction with the seller's token and without one, in either order, by plain fetches that may use
// the cache. Started by tests/browser/main.rs.
import assert from 'node:assert/strict'
import { HOGA_URL, launch, serve } from './common.mjs'

const { SELLER, BIDDER } = process.env

const inHours = (hours) => new Date(Date.now() + hours * 3_600_000).toISOString()

async function auction() {
  const made = await fetch(`${HOGA_URL}/v1/auctions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${SELLER}`, 'content-type': 'application/json' },
    body: JSON.stringify({ title: 'a bowl', opening_price: 1_000, reserve_price: 70_000, ends_at: inHours(1) }),
  })
  assert.equal(made.status, 201)
  return (await made.json()).id
}

const server = await serve((_, response) => {
  response.setHeader('Content-Type', 'text/html')
  response.end('<!doctype html><title>a page</title>')
})
const browser = await launch()
const page = await browser.newPage()
await page.goto(`http://localhost:${server.address().port}/`)

/// What the page sees, with or without a token.
const reads = (path, token) => page.evaluate(async ([url, token]) => {
  const headers = token ? { authorization: `Bearer ${token}` } : {}
  return (await fetch(url, { headers })).json()
}, [`${HOGA_URL}/v1${path}`, token])

for (const path of [(id) => `/auctions/${id}`, () => '/auctions?status=live&limit=100&q=bowl']) {
  const one = (id, body) => body.items ? body.items.find((item) => item.id === id) : body
  const [first, second] = [await auction(), await auction()]
  for (const id of [first, second]) {
    while (one(id, await reads(path(id)))?.status !== 'live') await page.waitForTimeout(50)
  }
  // The seller first, then somebody else in the same browser.
  assert.equal(one(first, await reads(path(first), SELLER)).reserve_price.amount, 70_000)
  assert.equal(one(first, await reads(path(first))).reserve_price ?? null, null, 'without a token')
  assert.equal(one(first, await reads(path(first), BIDDER)).reserve_price ?? null, null, 'a bidder')
  // And the other way round.
  assert.equal(one(second, await reads(path(second))).reserve_price ?? null, null)
  assert.equal(one(second, await reads(path(second), SELLER)).reserve_price.amount, 70_000, 'the seller')
  assert.equal(one(second, await reads(path(second))).reserve_price ?? null, null, 'once more')
}
await browser.close()
server.close()
console.log('nobody saw what another had read')
