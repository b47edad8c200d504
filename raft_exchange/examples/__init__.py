"""Small programs that trade: `python -m raft_exchange.examples.market_maker URL…`.

`grenache_client.js` is one for Node.js; it needs `npm install grenache-nodejs-link
grenache-nodejs-http`.
"""
