// Drives a real Chromium through the login: the test frontend on its own origin, Hoga, the stand-in
// for Kakao, and back. Started by tests/browser/main.rs, which says where everything is.
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { HOGA_URL, launch, serve } from './common.mjs'

const { CLIENT_ID, FRONTEND_PORT } = process.env
const frontend = `http://localhost:${FRONTEND_PORT}`
const files = {
  '/': ['frontend/index.html', 'text/html'],
  '/callback': ['frontend/index.html', 'text/html'],
  '/app.js': ['frontend/app.js', 'text/javascript'],
  '/oauth4webapi.js': ['node_modules/oauth4webapi/build/index.js', 'text/javascript'],
}

const server = await serve(async (request, response) => {
  const { pathname } = new URL(request.url, frontend)
  if (pathname === '/config.json') {
    response.setHeader('Content-Type', 'application/json')
    return response.end(JSON.stringify({ issuer: HOGA_URL, clientId: CLIENT_ID }))
  }
  const [path, type] = files[pathname] ?? []
  if (!path) return response.writeHead(404).end()
  response.setHeader('Content-Type', type)
  response.end(await readFile(new URL(path, import.meta.url)))
}, FRONTEND_PORT)

const browser = await launch()

let heard = 0
/// Presses a button and waits for what the frontend says of it.
async function press(page, id) {
  await page.click(`#${id}`)
  return hears(page)
}

async function hears(page) {
  await page.waitForFunction(
    (heard) => JSON.parse(document.querySelector('#said')?.textContent || '{}').count > heard, heard)
  const said = JSON.parse(await page.textContent('#said'))
  heard = said.count
  console.log('  heard', said.status ?? '', said.error ?? Object.keys(said).join(' '))
  return said
}

async function open(page) {
  await page.goto(frontend)
  await page.waitForSelector('body[data-ready]')
  heard = 0
}

async function logIn(page, who) {
  await page.click('#login')
  await page.waitForSelector('text=여기는 카카오가 아닙니다')
  assert.equal(new URL(page.url()).origin, HOGA_URL, 'the stand-in is on the port of Hoga')
  heard = 0
  await page.click(`button:has-text("${who}")`)
  await page.waitForURL(`${frontend}/**`)
  return hears(page)
}

async function test(name, body) {
  const context = await browser.newContext({ locale: 'ko-KR' })
  context.setDefaultTimeout(20_000)
  const page = await context.newPage()
  page.on('pageerror', (error) => console.log('  page error:', error.message))
  page.on('console', (message) => console.log('  console:', message.text()))
  console.log(name)
  try {
    await open(page)
    await body(page, context)
  } finally {
    await context.close()
  }
}

try {
  await test('a user logs in, bids, refreshes and logs out, across origins', async (page, context) => {
    assert.equal((await press(page, 'me')).status, 401, 'nobody is logged in yet')
    assert.equal((await logIn(page, '민지')).loggedIn, true)
    assert.equal(new URL(page.url()).search, '', 'the code does not stay in the address bar')

    const me = await press(page, 'me')
    assert.equal(me.status, 200)
    assert.ok(me.requestId && me.etag, 'exposed headers can be read across origins')
    const bid = await press(page, 'bid')
    assert.ok([201, 409].includes(bid.status), JSON.stringify(bid))
    assert.ok(bid.body.seq > 0)

    assert.equal((await press(page, 'refresh')).refreshed, true)
    assert.equal((await press(page, 'me')).status, 200)
    assert.equal((await press(page, 'logout')).loggedOut, true)
    const refused = await press(page, 'refresh')
    assert.equal(refused.error, 'invalid_grant', 'a login that ended gives no more tokens')

    for (const cookie of await context.cookies(HOGA_URL)) {
      assert.ok(cookie.name.startsWith('__Host-'), cookie.name)
      assert.ok(cookie.secure && cookie.httpOnly && cookie.path === '/')
      assert.equal(cookie.sameSite, 'Lax')
    }
  })

  await test('the same user comes back as the same user', async (page) => {
    await logIn(page, '민지')
    const first = await press(page, 'me')
    await open(page)
    await logIn(page, '민지')
    const second = await press(page, 'me')
    assert.equal(first.body.id, second.body.id)
  })

  await test('a refresh token that was used before ends the whole login', async (page) => {
    await logIn(page, '준호')
    await press(page, 'refresh')
    assert.equal((await press(page, 'replay')).error, 'invalid_grant')
    assert.equal((await press(page, 'refresh')).error, 'invalid_grant')
  })

  await test('a user who refuses comes back with a reason', async (page) => {
    const said = await logIn(page, '동의하지 않고 돌아가기')
    assert.equal(said.error, 'access_denied')
  })

  await test('a callback that another browser began is refused', async (page, context) => {
    // The redirect back to Hoga is caught on its way and opened by somebody who did not begin it.
    const caught = new Promise((catches) => {
      context.route('**/demo/kakao/**', async (route) => {
        if (route.request().method() !== 'POST') return route.continue()
        const answer = await route.fetch({ maxRedirects: 0 })
        await route.abort()
        catches(answer.headers().location)
      })
    })
    await page.click('#login')
    await page.click('button:has-text("민지")')
    const victim = await browser.newContext()
    try {
      const elsewhere = await victim.newPage()
      const answer = await elsewhere.goto(await caught)
      assert.equal(answer.status(), 400)
      assert.equal(new URL(elsewhere.url()).origin, HOGA_URL, 'nobody is sent on')
    } finally {
      await victim.close()
    }
  })

  await test('a page of an unregistered origin cannot read the API', async (page) => {
    const stranger = await serve(
      (_, response) => response.end('<!doctype html><title>x</title>'), 0, '127.0.0.1')
    try {
      await page.goto(`http://stranger.test:${stranger.address().port}`)
      const read = await page.evaluate(
        (url) => fetch(url).then(() => 'read', () => 'refused'), `${HOGA_URL}/v1/auctions`)
      assert.equal(read, 'refused')
    } finally {
      stranger.close()
    }
  })
  console.log('every browser test passed')
} finally {
  await browser.close()
  server.close()
}
