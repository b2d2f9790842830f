// What the browser tests share: a real Chromium, and pages on an origin of their own.
import { createServer } from 'node:http'
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
