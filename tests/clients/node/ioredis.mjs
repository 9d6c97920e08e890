// ioredis, with the settings that it has by default.
import { CA, PORT, TLS_PORT, outage, say, shown, shownEvents } from './story.mjs'
let handled = 0 // [test]

// [paste
import { Redis } from 'ioredis'

const redis = new Redis(PORT)
await redis.call('publish', 'orders', 'created', 'one')
await redis.call('append', 'orders', '0', 'paid', 'two', '', '') // if event 0 is its last one
const [next, events] = await redis.call('read', 'stream', 'orders', '0', '100') // from 0 on, at most 100
console.log(events)

const reader = redis.duplicate() // what waits has a connection of its own
let last = '0'                   // '$': what comes from now on
for (;;) {
  const [[, entries]] = await reader.xread('BLOCK', 0, 'STREAMS', 'orders', last)
  for (const [id, fields] of entries) {
    console.log(id, fields)      // 1790000000000-0 [ 'created', 'one' ]
    last = id
    say('xread', fields.join('=')) // [test]
    handled += 1 // [test]
  }
  if (handled === 3) break // [test]
}
// paste]

say('read', shownEvents(events))

const patterns = redis.duplicate()
const matched = new Promise((resolve) => patterns.on('pmessage', (pattern, ...message) => resolve(message)))
await patterns.psubscribe('ord*')
say('psubscribed')
say('psubscribe', ...await matched)
patterns.disconnect()

const channels = redis.duplicate({ db: 1 })
const arrived = new Promise((resolve) => channels.on('message', (...message) => resolve(message)))
await channels.subscribe('orders')
say('subscribed')
say('subscribe', ...await arrived)
channels.disconnect()

const receivers = await redis.publish('news:1', 'hello')
say('published', receivers, ...(await redis.xrange('news:1', '-', '+')).map(([, fields]) => fields.join('=')))

say('xadd', (await redis.xadd('orders', '*', 'closed', 'six')).split('-')[1])
await redis.xgroup('CREATE', 'orders', 'billing', '0')
const [[, entries]] = await redis.xreadgroup('GROUP', 'billing', 'ann', 'COUNT', 2, 'STREAMS', 'orders', '>')
say('xreadgroup', ...entries.map(([, fields]) => fields.join('=')))
say('xack', await redis.xack('orders', 'billing', ...entries.map(([id]) => id)))
say('xpending', (await redis.xpending('orders', 'billing'))[0])

// Bob takes what ann was given and didn't finish, and an operator sees that.
await redis.xreadgroup('GROUP', 'billing', 'ann', 'COUNT', 1, 'STREAMS', 'orders', '>')
const [, claimed] = await redis.xautoclaim('orders', 'billing', 'bob', 0, '0')
say('xautoclaim', ...claimed.map(([, fields]) => fields.join('=')))
const [[, consumer, , deliveries]] = await redis.xpending('orders', 'billing', '-', '+', 10)
say('waits for', consumer, deliveries)
const valueOf = (pairs, name) => pairs[pairs.indexOf(name) + 1]
const [billing] = await redis.xinfo('GROUPS', 'orders')
const consumers = await redis.xinfo('CONSUMERS', 'orders', 'billing')
say('xinfo', valueOf(await redis.xinfo('STREAM', 'orders'), 'length'), valueOf(billing, 'name'),
  valueOf(billing, 'pending'), ...consumers.map((consumer) => valueOf(consumer, 'name')))

const pipeline = redis.pipeline()
for (let number = 0; number < 100; number++) pipeline.xadd('batch:1', '*', 'counted', number)
const ids = await pipeline.exec()
say('pipelined', ids.filter(([error]) => !error).length, 'stored', await redis.xlen('batch:1'))
const pair = await redis.multi().xadd('pair', '*', 'debited', 1).xadd('pair', '*', 'credited', 1).exec()
say('multi', pair.filter(([error]) => !error).length)
try {
  await redis.multi().xadd('pair', '*', 'debited', 2).xlen('pair').exec()
} catch {
  say('multi refused', await redis.xlen('pair'))
}

// The same client and the same subscription go on.
const listener = redis.duplicate()
const seven = new Promise((resolve) => listener.on('pmessage', (pattern, ...message) => resolve(message)))
await listener.psubscribe('ord*')
await outage(() => redis.ping())
say('psubscribe', ...await seven)

const { readFileSync } = await import('node:fs')
const secure = new Redis({
  port: TLS_PORT, username: 'ann', password: 'correct horse', tls: { ca: readFileSync(CA) },
})
say('secure', await secure.call('acl', 'whoami'))
process.exit()
