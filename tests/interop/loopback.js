'use strict'

// Preloaded with `node -r`: keeps a real grape, and the Node.js peers of the tests, on 127.0.0.1.
// The grape's own `-b` does not cover its UDP socket, and `ws` and `http` servers listen everywhere.

const dgram = require('dgram')
const net = require('net')

const LOOPBACK = '127.0.0.1'

const bind = dgram.Socket.prototype.bind
dgram.Socket.prototype.bind = function (...args) {
  const callback = args.find((arg) => typeof arg === 'function')
  const first = args[0]
  const port = first !== null && typeof first === 'object' ? first.port : first
  return bind.call(this, { port: typeof port === 'number' ? port : 0, address: LOOPBACK }, callback)
}

const listen = net.Server.prototype.listen
net.Server.prototype.listen = function (...args) {
  const callback = args.find((arg) => typeof arg === 'function')
  const first = args[0]
  const port = first !== null && typeof first === 'object' ? first.port : first
  return listen.call(this, { port: Number(port) || 0, host: LOOPBACK }, callback)
}
