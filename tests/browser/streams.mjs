// Real clients of the streams: the npm package `eventsource`, and Chromium's own EventSource on a
// page of another origin. Both watch one auction, and both watch two over one stream, while the
// server is killed and started again, then stopped and started again; bids come before, between and
// after. In the end each has been told every event exactly once, in order; of two auctions over one
// stream, without a silent gap. Started by tests/browser/main.rs, which restarts the server for us.
import assert from 'node:assert/strict'
import { EventSource } from 'eventsource'
import { HOGA_URL, auction, launch, orders_of, post, serve, until } from './common.mjs'

const { SELLER, BIDDERS } = process.env
const bidders = BIDDERS.split(',')
const { restart, end } = orders_of(process.stdin)
const TYPES = ['snapshot', 'reset', 'auction.created', 'auction.scheduled', 'auction.opened', 'bid.placed']

let bids = 0
/// So many bids, each answered before the next: nothing to tell together.
async function bid(ids, count) {
  let seq
  for (let n = 0; n < count; n += 1) {
    for (const id of ids) {
      const token = bidders[bids % bidders.length]
      ;({ seq } = await post(`/auctions/${id}/bids`, token, { amount: 1_000 + bids }))
    }
    bids += 1
  }
  return seq
}

/// What a client hears, by type and id. Runs here and in the page.
function listen(Source, url, types) {
  const told = []
  const source = new Source(url)
  for (const type of types) {
    source.addEventListener(type, (event) => told.push([type, event.lastEventId]))
  }
  return { told, source }
}

const page_server = await serve((_, response) => response.end('<!doctype html><title>x</title>'))
const browser = await launch()
try {
  const [first, second] = [await auction(SELLER, '달항아리'), await auction(SELLER, '백자')]
  const paths = [`/v1/auctions/${first}/events`, `/v1/events?auctions=${first},${second}`]
  const page = await browser.newPage()
  await page.goto(`http://localhost:${page_server.address().port}`)
  await page.evaluate(`globalThis.listen = ${listen}`)
  const clients = []
  for (const path of paths) {
    const url = HOGA_URL + path
    const here = listen(EventSource, url, TYPES)
    clients.push({ who: `eventsource ${path}`, told: () => here.told, close: () => here.source.close() })
    const there = await page.evaluateHandle(
      ([url, types]) => globalThis.listen(EventSource, url, types), [url, TYPES])
    clients.push({
      who: `Chromium ${path}`,
      told: () => there.evaluate(({ told }) => told),
      close: () => there.evaluate(({ source }) => source.close()),
    })
  }
  for (const { who, told } of clients) {
    await until(`${who} has its snapshots`, async () => (await told()).some(([type]) => type === 'snapshot'))
  }

  await bid([first, second], 5)
  await restart('SIGKILL')
  // They come back after some seconds; until then they miss these.
  await bid([first, second], 10)
  for (const { who, told } of clients) {
    await until(`${who} is back`, async () => (await told()).length >= 16)
  }
  await bid([first, second], 3)
  await restart('SIGTERM')
  await bid([first, second], 10)
  const last = await bid([first, second], 1)

  for (const { who, told, close } of clients) {
    const reached = (id) => Number(id.split(':').pop()) === last
    const streams = who.includes('?') ? 2 : 1
    const ends = new Set()
    await until(`${who} has everything`, async () => {
      for (const [, id] of await told()) if (reached(id)) ends.add(id)
      return ends.size >= streams
    })
    const heard = await told()
    console.log(`${who}: ${heard.length} events`)
    for (const id of streams === 1 ? [''] : [first, second]) {
      const own = heard.filter(([, event]) => event.startsWith(id))
      assert.equal(own[0][0], 'snapshot')
      const seqs = own.map(([, event]) => Number(event.split(':').pop()))
      if (streams === 1) {
        const expected = Array.from({ length: last - seqs[0] + 1 }, (_, n) => seqs[0] + n)
        assert.deepEqual(seqs, expected, `${who} was told every event once, in order`)
        assert.ok(own.slice(1).every(([type]) => type !== 'snapshot' && type !== 'reset'), who)
        continue
      }
      // A browser sends back one id, the last: that auction goes on, and the other one begins again
      // with a snapshot, so that no gap is silent; no event is told twice.
      for (const [n, [type]] of own.entries()) {
        if (n === 0) continue
        const goes_on = seqs[n] === seqs[n - 1] + 1
        assert.ok(type === 'snapshot' ? seqs[n] >= seqs[n - 1] : goes_on, `${who}: ${seqs}`)
      }
      assert.equal(seqs.at(-1), last)
    }
    await close()
  }
  console.log('every stream went on')
} finally {
  await browser.close()
  page_server.close()
  end()
}
