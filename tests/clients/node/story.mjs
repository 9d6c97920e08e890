// What both programs print, and wait for.
import { createInterface } from 'node:readline'

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()

export const PORT = Number(process.env.PORT)
export const TLS_PORT = Number(process.env.TLS_PORT)
export const CA = process.env.CA

export function say(...words) {
  console.log('-', ...words)
}

// An entry's fields as the lines have them.
export function shown(fields) {
  return Object.entries(fields).map(([name, data]) => `${name}=${data}`).join(' ')
}

// The same of what `read` has answered.
export function shownEvents(events) {
  return events.map(([, , , , name, data]) => `${name}=${data}`).join(' ')
}

// Prints an outage's line; comes back once `ask` works again.
export async function outage(ask) {
  say('ready for an outage')
  await lines.next()
  for (let tries = 0; tries < 600; tries++) {
    try {
      await ask()
      return say('reconnected')
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
  }
}
