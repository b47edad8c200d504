'use strict'

// A real grape as a program uses it: with a verifier, which the command line cannot give it.
// Arguments: DHT port, API port, bootstrap entries separated by commas.

const crypto = require('crypto')
const { Grape } = require('grenache-grape')

// An ed25519 public key in DER is these twelve bytes and the raw key.
const PREFIX = Buffer.from('302a300506032b6570032100', 'hex')

function verify (signature, message, key) {
  const publicKey = crypto.createPublicKey({
    key: Buffer.concat([PREFIX, key]), format: 'der', type: 'spki'
  })
  return crypto.verify(null, message, publicKey, signature)
}

const [dhtPort, apiPort, bootstrap] = process.argv.slice(2)

new Grape({
  dht_port: Number(dhtPort),
  api_port: Number(apiPort),
  dht_bootstrap: bootstrap.split(',').filter(Boolean),
  verify
}).start((error) => {
  if (error) throw error
})
