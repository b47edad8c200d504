'use strict'

// A stock Grenache peer that does what it is told: one JSON command on each line of standard input,
// one JSON answer on a line of standard output, and an event for all that happens by itself.

const fs = require('fs')
const readline = require('readline')
const Link = require('grenache-nodejs-link')
const http = require('grenache-nodejs-http')
const ws = require('grenache-nodejs-ws')

const libraries = { http, ws }
const link = new Link({ grape: process.argv[2] })
link.start()

const clients = new Map()
const services = []
let publisher = null

const say = (message) => process.stdout.write(JSON.stringify(message) + '\n')

// The paths of a key, a certificate and an authority become what `secure` takes.
const secureOf = (files) => files && {
  key: fs.readFileSync(files.key),
  cert: fs.readFileSync(files.cert),
  ca: fs.readFileSync(files.ca),
  requestCert: true,
  rejectUnauthorized: true,
  verifyClient: (info, done) => done(true)
}

const clientOf = ({ transport, secure }) => {
  const name = transport + (secure ? '+tls' : '')
  if (!clients.has(name)) {
    const peer = new libraries[transport].PeerRPCClient(link, { secure: secureOf(secure) })
    peer.init()
    clients.set(name, peer)
  }
  return clients.get(name)
}

const whenListening = (service, done) => {
  // Over TLS the `ws` library listens on a server that it keeps to itself.
  const server = service.socket._server || service.socket
  if (server.listening) done(server.address().port)
  else server.once('listening', () => done(server.address().port))
}

const announce = (key, service, done) => {
  whenListening(service, (port) => {
    const once = () => link.announce(key, port, {}, (error, answer) => {
      if (error || !Number.isInteger(answer)) setTimeout(once, 100)
      else done(null, port)
    })
    once()
  })
}

const handle = (rid, key, payload, handler, cert) => {
  if (payload && payload.fail) handler.reply(new Error(payload.fail), { x: 1 })
  else if (payload === 'forget') say({ event: 'forgotten', data: rid })
  else handler.reply(null, { echo: payload, key, fingerprint: cert ? cert.fingerprint : null })
}

const commands = {
  request: (command, done) => {
    clientOf(command).request(command.key, command.payload, command.opts || {}, done)
  },
  map: (command, done) => {
    clientOf(command).map(command.key, command.payload, command.opts || {}, done)
  },
  serve: (command, done) => {
    const peer = new libraries[command.transport].PeerRPCServer(link, {
      secure: secureOf(command.secure)
    })
    peer.init()
    const service = peer.transport('server')
    service.listen(0)
    service.on('request', handle)
    services.push(service)
    announce(command.key, service, done)
  },
  publisher: (command, done) => {
    const peer = new ws.PeerPub(link, {})
    peer.init()
    publisher = peer.transport('server')
    publisher.listen(0)
    publisher.socket.on('connection', () => say({ event: 'subscriber' }))
    announce(command.key, publisher, done)
  },
  publish: (command, done) => {
    publisher.pub(command.hex === undefined ? command.message : Buffer.from(command.hex, 'hex'))
    done(null, null)
  },
  subscribe: (command, done) => {
    const peer = new ws.PeerSub(link, {})
    peer.init()
    peer.on('error', (error) => say({ event: 'error', data: error.message }))
    peer.on('connected', () => say({ event: 'connected' }))
    peer.on('disconnected', () => say({ event: 'disconnected' }))
    peer.on('message', (data) => {
      if (Buffer.isBuffer(data)) say({ event: 'binary', data: data.toString('hex') })
      else say({ event: 'text', data })
    })
    peer.sub(command.key, { timeout: 10000 })
    done(null, null)
  },
  lookup: (command, done) => link.lookup(command.key, done)
}

readline.createInterface({ input: process.stdin }).on('line', (line) => {
  const command = JSON.parse(line)
  commands[command.do](command, (error, result) => {
    say({ id: command.id, error: error ? error.message : null, result })
  })
}).on('close', () => process.exit(0))
