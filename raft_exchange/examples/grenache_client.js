// Trades from Node.js: finds a node through any grape of the DHT and calls it.
//   node grenache_client.js http://127.0.0.1:30001
'use strict'

const { randomUUID } = require('crypto')
const Link = require('grenache-nodejs-link')
const { PeerRPCClient } = require('grenache-nodejs-http')

const SERVICE = 'raft_exchange:exchange' // raft_exchange:<cluster>

const link = new Link({ grape: process.argv[2] || 'http://127.0.0.1:30001' })
link.start()
const peer = new PeerRPCClient(link, {})
peer.init()

const call = (payload) => new Promise((resolve, reject) => {
  // Without a timeout a node that hangs would hang us.
  peer.request(SERVICE, payload, { timeout: 10000 }, (error, result) => {
    if (error) reject(error)
    else resolve(result)
  })
})

const place = (side, price, quantity) => call({
  op: 'place',
  idempotency_key: randomUUID(), // the same key again is the same order, at any node
  order: { market: 'BTC-USD', side, type: 'limit', price, quantity }
})

const main = async () => {
  const maker = await place('sell', '100.25', '0.5')
  const taker = await place('buy', '100.25', '0.2')
  const best = await call({ op: 'best_price' })
  console.log(JSON.stringify({ maker: maker.order, trades: taker.trades, ask: best.ask }))
}

main().catch((error) => {
  console.error(error.message)
  process.exitCode = 1
}).finally(() => process.exit()) // the peer keeps timers of its own
