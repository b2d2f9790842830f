// The code of the documentation that follows a user's notifications, as it stands there, in a Chromium
// on a page of another origin: the server is killed, then stopped, and each notification is told once,
// in order, without a new snapshot. Started by tests/browser/main.rs, which restarts the server for us.
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { launch, orders_of, post, auction, until, HOGA_URL, serve } from './common.mjs'

const { SELLER, BIDDERS } = process.env
const [minji, junho] = BIDDERS.split(',')
const { restart, end } = orders_of(process.stdin)

const document = await readFile(new URL('../../src/http/openapi.md', import.meta.url), 'utf8')
const snippets = [...document.matchAll(/```js\n([^]*?)```/g)].map(([, code]) => code)
const [snippet] = snippets.filter((code) => code.includes('function followMyEvents('))
assert.ok(snippet, 'the documentation has the code')

async function inbox() {
  const answer = await fetch(`${HOGA_URL}/v1/me/notifications?limit=100`,
    { headers: { authorization: `Bearer ${minji}` } })
  const { items } = await answer.json()
  return items.filter(({ kind }) => kind === 'outbid').map(({ id }) => id).reverse()
}

let expected = 0
/// Minji is outbid, each time in an auction of its own, and it stands in her inbox.
async function outbid(times) {
  for (let n = 0; n < times; n += 1) {
    const id = await auction(SELLER, `달항아리 ${n}`)
    await post(`/auctions/${id}/bids`, minji, { amount: 1_000 })
    await post(`/auctions/${id}/bids`, junho, { amount: 2_000 })
    expected += 1
    await until('it stands in the inbox', async () => (await inbox()).length === expected)
  }
}

const page_server = await serve((_, response) => response.end('<!doctype html><title>x</title>'))
const browser = await launch()
try {
  const page = await browser.newPage()
  await page.goto(`http://localhost:${page_server.address().port}`)
  await page.addScriptTag({ content: snippet })
  await page.evaluate(([url, minji]) => {
    globalThis.told = []
    const tell = (kind, { id }) => told.push([kind, id])
    globalThis.stop = followMyEvents({ url, token: async () => minji, kinds: ['outbid'], tell })
  }, [HOGA_URL, minji])
  const told = () => page.evaluate(() => told)
  await until('it begins', async () => (await told()).length === 1)
  await outbid(2)
  await until('both are told', async () => (await told()).length === 3)
  for (const signal of ['SIGKILL', 'SIGTERM']) {
    await restart(signal)
    // It comes back after a while, and misses these, or some of them, until then.
    await outbid(2)
    await until('what was missed is told', async () => (await told()).length === 1 + expected)
  }
  const [[first], ...rest] = await told()
  assert.equal(first, 'snapshot')
  assert.deepEqual(rest, (await inbox()).map((id) => ['outbid', id]), 'each once, in order')
  await page.evaluate(() => stop())
  await outbid(1)
  assert.equal((await told()).length, expected, 'it has stopped')
  console.log('every notification was told once')
} finally {
  await browser.close()
  page_server.close()
  end()
}
