// The pages that Hoga itself serves, as a real Chromium shows them: in both languages, on a phone and
// on a desk, light and dark, nothing is refused by their own policy, nothing comes from elsewhere,
// nothing sticks out, and every text can be read. Started by tests/browser/main.rs.
import assert from 'node:assert/strict'
import { HOGA_URL, launch } from './common.mjs'

const PATHS = ['/?lang=en', '/?lang=ko', '/docs?lang=en', '/docs?lang=ko#place_bid']
const SIZES = [{ width: 360, height: 800 }, { width: 1280, height: 900 }]
/// As WCAG 2.2 wants it for text (AA).
const CONTRAST_MIN = 4.5

/// Runs in the page: texts whose colour is too near to what is behind them.
function faintTexts(least) {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true })
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1)
    canvas.fillStyle = colour
    canvas.fillRect(0, 0, 1, 1)
    return canvas.getImageData(0, 0, 1, 1).data
  }
  const luminance = (colour) => {
    const [r, g, b] = [...rgba(colour)].map((part) => {
      const share = part / 255
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4
    })
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
  }
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = getComputedStyle(e).backgroundColor
      if (rgba(colour)[3] === 255) return colour
    }
    return 'white'
  }
  const faint = new Map()
  for (const element of document.querySelectorAll('body *')) {
    const text = [...element.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE)
      .map((node) => node.data.trim()).join('')
    if (!text) continue
    const [a, b] = [luminance(getComputedStyle(element).color), luminance(behind(element))]
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)
    if (contrast < least) faint.set(`${element.className || element.tagName}`, contrast.toFixed(2))
  }
  return [...faint]
}

/// A page that writes down what is wrong with it.
async function opened(browser, path, options) {
  const context = await browser.newContext(options)
  const page = await context.newPage()
  const wrong = []
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) wrong.push(message.text())
  })
  page.on('pageerror', (error) => wrong.push(String(error)))
  page.on('requestfailed', (request) => wrong.push(`${request.url()} failed`))
  page.on('response', (response) => {
    if (response.status() >= 400) wrong.push(`${response.url()} answered ${response.status()}`)
  })
  page.on('request', (request) => {
    if (new URL(request.url()).origin !== HOGA_URL) wrong.push(`${request.url()} is elsewhere`)
  })
  await page.goto(HOGA_URL + path, { waitUntil: 'load' })
  return { context, page, wrong }
}

const browser = await launch()
try {
  for (const path of PATHS) {
    for (const viewport of SIZES) {
      for (const colorScheme of ['light', 'dark']) {
        const what = `${path} at ${viewport.width} px, ${colorScheme}`
        const { context, page, wrong } = await opened(browser, path, { viewport, colorScheme })
        // What is folded has to be right, too.
        await page.evaluate(() => document.querySelectorAll('details').forEach((d) => (d.open = true)))
        const width = await page.evaluate(() => document.documentElement.scrollWidth)
        assert.ok(width <= viewport.width, `${what} is ${width} px wide`)
        assert.deepEqual(await page.evaluate(faintTexts, CONTRAST_MIN), [], what)
        assert.equal(await page.evaluate(() => document.fonts.status), 'loaded')
        assert.ok(await page.evaluate(() => document.styleSheets[0].cssRules.length > 10), what)
        assert.deepEqual(wrong, [], what)
        console.log(`  ${what}: ${await page.title()}`)
        await context.close()
      }
    }
  }

  const phone = { viewport: SIZES[0] }
  {
    const { context, page, wrong } = await opened(browser, '/?lang=en', phone)
    const sizes = await page.evaluate(() => [...document.querySelectorAll('main *')].map((element) =>
      [element.className, parseFloat(getComputedStyle(element).fontSize)]))
    const inCard = await page.evaluate(() => Math.max(...[...document.querySelectorAll('.card *:not(.price)')]
      .map((element) => parseFloat(getComputedStyle(element).fontSize))))
    const price = sizes.find(([name]) => name === 'price')
    assert.ok(price && price[1] > inCard, 'the price is the largest of a card')
    await page.click('text=한국어')
    assert.equal(await page.getAttribute('html', 'lang'), 'ko')
    await page.click('text=API 문서 보기')
    await page.waitForURL(`${HOGA_URL}/docs?lang=ko`)
    assert.deepEqual(wrong, [])
    await context.close()
  }
  {
    const { context, page, wrong } = await opened(browser, '/docs?lang=en#place_bid', phone)
    const open = () => page.locator('details.entry[open]').evaluateAll((all) => all.map((e) => e.id))
    assert.deepEqual(await open(), ['place_bid'], 'an address with an operation opens it')
    assert.ok(await page.locator('#place_bid').evaluate((e) => e.getBoundingClientRect().top < innerHeight))
    await page.keyboard.press('/')
    await page.keyboard.type('post bids retract')
    const shown = await page.locator('details.entry:visible').evaluateAll((all) => all.map((e) => e.id))
    assert.deepEqual(shown, ['retract_bid'])
    assert.equal(await page.textContent('#search output'), '1 found')
    assert.ok(await page.locator('.contents details').evaluate((e) => e.open), 'the contents are open')
    await page.fill('#search input', '')
    assert.equal(await page.locator('.contents details').evaluate((e) => e.open), false, 'as they were')
    assert.ok(await page.locator('details.entry:visible').count() > 50, 'everything is back')
    assert.deepEqual(wrong, [])
    await context.close()
  }
  {
    const { context, page, wrong } = await opened(browser, '/docs', { ...phone, javaScriptEnabled: false })
    assert.equal(await page.locator('#search').isVisible(), false, 'nothing to press that does nothing')
    await page.click('#place_bid > summary')
    assert.ok(await page.locator('#place_bid').getByText('Who may call').isVisible())
    assert.deepEqual(wrong, [])
    await context.close()
  }
  console.log('every page is as it should be')
} finally {
  await browser.close()
}
