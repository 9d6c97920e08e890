// node-redis, with the settings that it has by default.
import { CA, PORT, TLS_PORT, outage, say, shown, shownEvents } from './story.mjs'
let handled = 0 // [test]

// [paste
import { createClient } from 'redis'

const client = await createClient({ socket: { port: PORT } }).on('error', console.error).connect()
await client.sendCommand(['publish', 'orders', 'created', 'one'])
await client.sendCommand(['append', 'orders', '0', 'paid', 'two', '', '']) // if event 0 is its last one
const [next, events] = await client.sendCommand(['read', 'stream', 'orders', '0', '100']) // from 0 on, at most 100
console.log(events)

const reader = await client.duplicate().on('error', console.error).connect() // what waits has its own
let last = '0' // '$': what comes from now on
for (;;) {
  const [{ messages }] = await reader.xRead({ key: 'orders', id: last }, { BLOCK: 0 })
  for (const { id, message } of messages) {
    console.log(id, message) // 1790000000000-0 { created: 'one' }
    last = id
    say('xread', shown(message)) // [test]
    handled += 1 // [test]
  }
  if (handled === 3) break // [test]
}
// paste]

say('read', shownEvents(events))

// One message of a subscription, once that is there.
async function message(client, kind, channel) {
  let arrived
  const message = new Promise((resolve) => { arrived = resolve })
  await client[kind](channel, (data, channel) => arrived([channel, data]))
  say(`${kind.toLowerCase()}d`)
  say(kind.toLowerCase(), ...await message)
  client.destroy()
}

await message(await client.duplicate().connect(), 'pSubscribe', 'ord*')
await message(await client.duplicate({ database: 1 }).connect(), 'subscribe', 'orders')

const receivers = await client.publish('news:1', 'hello')
say('published', receivers, ...(await client.xRange('news:1', '-', '+')).map(({ message }) => shown(message)))

say('xadd', (await client.xAdd('orders', '*', { closed: 'six' })).split('-')[1])
await client.xGroupCreate('orders', 'billing', '0')
const [{ messages }] = await client.xReadGroup('billing', 'ann', { key: 'orders', id: '>' }, { COUNT: 2 })
say('xreadgroup', ...messages.map(({ message }) => shown(message)))
say('xack', await client.xAck('orders', 'billing', messages.map(({ id }) => id)))
say('xpending', (await client.xPending('orders', 'billing')).pending)

// Bob takes what ann was given and didn't finish, and an operator sees that.
await client.xReadGroup('billing', 'ann', { key: 'orders', id: '>' }, { COUNT: 1 })
const claimed = await client.xAutoClaim('orders', 'billing', 'bob', 0, '0')
say('xautoclaim', ...claimed.messages.map(({ message }) => shown(message)))
const [waiting] = await client.xPendingRange('orders', 'billing', '-', '+', 10)
say('waits for', waiting.consumer, waiting.deliveriesCounter)
const [billing] = await client.xInfoGroups('orders')
const consumers = await client.xInfoConsumers('orders', 'billing')
const { length } = await client.xInfoStream('orders')
say('xinfo', length, billing.name, billing.pending, ...consumers.map(({ name }) => name))

const numbers = Array.from({ length: 100 }, (_, number) => String(number))
const ids = await Promise.all(numbers.map((counted) => client.xAdd('batch:1', '*', { counted }))) // one pipeline
say('pipelined', ids.length, 'stored', await client.xLen('batch:1'))
const pair = await client.multi().xAdd('pair', '*', { debited: '1' }).xAdd('pair', '*', { credited: '1' }).exec()
say('multi', pair.length)
try {
  await client.multi().xAdd('pair', '*', { debited: '2' }).xLen('pair').exec()
} catch {
  say('multi refused', await client.xLen('pair'))
}

// The same client and the same subscription go on.
let again
const seven = new Promise((resolve) => { again = resolve })
const listener = await client.duplicate().on('error', console.error).connect()
await listener.pSubscribe('ord*', (data, channel) => again([channel, data]))
await outage(() => client.ping())
say('psubscribe', ...await seven)

const { readFileSync } = await import('node:fs')
const secure = await createClient({
  username: 'ann', password: 'correct horse',
  socket: { port: TLS_PORT, tls: true, ca: readFileSync(CA) },
}).connect()
say('secure', await secure.sendCommand(['acl', 'whoami']))
process.exit()
