// The Node client of `bittorrent-tracker` against our tracker: `node announce.mjs URL…`, one announce URL a family.
// Counts include the announcer, a farewell's reply leaves the leaver out, and `left` decides who is a seeder.
import Client from 'bittorrent-tracker/client'
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'

const PATIENCE = 10_000

function client (announce, infoHash, port) {
  const peerId = Buffer.concat([Buffer.from('-KWTEST-'), randomBytes(12)])
  const client = new Client({ infoHash, peerId, announce, port })
  client.peers = new Set()
  client.on('peer', address => client.peers.add(address))
  client.on('error', error => { throw error })
  return client
}

// Does one thing and waits for what the tracker says to it; a warning is the client's word for a failure.
function answer (client, event, act) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no ${event} within ${PATIENCE} ms`)), PATIENCE)
    const done = settle => value => {
      clearTimeout(timer)
      client.removeAllListeners(event)
      client.removeAllListeners('warning')
      settle(value)
    }
    client.once(event, done(resolve))
    client.once('warning', done(reject))
    act()
  })
}

async function counts (client, verb, options, complete, incomplete) {
  const data = await answer(client, 'update', () => client[verb](options))
  assert.deepEqual([data.complete, data.incomplete], [complete, incomplete], verb)
  assert.ok(data.interval > 0, 'interval')
}

async function scrape (client, complete, incomplete, downloaded) {
  const data = await answer(client, 'scrape', () => client.scrape())
  assert.deepEqual([data.complete, data.incomplete, data.downloaded], [complete, incomplete, downloaded], 'scrape')
}

const checks = {
  async 'three clients come, complete and go' (url, host) {
    const infoHash = randomBytes(20).toString('hex')
    const [first, second, third] = [6881, 6882, 6883].map(port => client(url, infoHash, port))
    await counts(first, 'start', { left: 1000 }, 0, 1)
    await counts(first, 'update', { left: 500, downloaded: 500 }, 0, 1)
    await scrape(first, 0, 1, 0)
    await counts(first, 'complete', { left: 0, downloaded: 1000 }, 1, 0)
    await scrape(first, 1, 0, 1)
    await counts(second, 'start', { left: 1000 }, 1, 1)
    await counts(third, 'start', { left: 1000 }, 1, 2)
    await counts(second, 'stop', { left: 1000 }, 1, 1)
    await counts(third, 'stop', { left: 1000 }, 1, 0)
    await counts(first, 'stop', { left: 0 }, 0, 0)
    await scrape(first, 0, 0, 1)
    assert.deepEqual([...first.peers], [], 'a lone client finds nobody, itself least of all')
    assert.deepEqual([...second.peers], [`${host}:6881`])
    assert.deepEqual([...third.peers].sort(), [`${host}:6881`, `${host}:6882`])
    for (const one of [first, second, third]) one.destroy()
  },

  async 'a client that arrives with everything is a seeder and completes nothing' (url) {
    const one = client(url, randomBytes(20).toString('hex'), 6881)
    await counts(one, 'start', { left: 0 }, 1, 0)
    await counts(one, 'complete', { left: 0 }, 1, 0)
    await scrape(one, 1, 0, 0)
    await counts(one, 'stop', { left: 0 }, 0, 0)
    one.destroy()
  },

  async 'several torrents are scraped at once' (url) {
    // The client reads the keys of a scrape as text, so only hashes that are text come out of it unharmed.
    const hashes = [0, 1, 2].map(() => Buffer.from(randomBytes(10).toString('hex')).toString('hex'))
    const seeder = client(url, hashes[1], 6881)
    await counts(seeder, 'start', { left: 0 }, 1, 0)
    const data = await new Promise((resolve, reject) => {
      Client.scrape({ infoHash: hashes, announce: url }, (error, data) => error ? reject(error) : resolve(data))
    })
    assert.deepEqual(hashes.map(hash => data[hash].complete), [0, 1, 0])
    seeder.destroy()
  }
}

const verdicts = { passed: 0, failed: 0 }
for (const url of process.argv.slice(2)) {
  for (const [name, check] of Object.entries(checks)) {
    try {
      await check(url, new URL(url).hostname)
      verdicts.passed += 1
      console.log(`ok      ${name}, ${url}`)
    } catch (error) {
      verdicts.failed += 1
      console.log(`FAILED  ${name}, ${url}\n${error.stack}`)
    }
  }
}
console.log(`${verdicts.passed} passed, ${verdicts.failed} failed`)
// Clients that a failed check left behind would announce for ever.
process.exit(verdicts.failed > 0 || verdicts.passed === 0 ? 1 : 0)
