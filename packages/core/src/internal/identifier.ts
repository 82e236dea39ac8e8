/** Identifiers that sort by the time of their making: 12 hex digits of time and count, 14 random base-62 digits. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"

const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

let lastTime = 0
let count = 0

/** `time` in epoch milliseconds; calls within one millisecond still ascend. */
export const timePart = (time: number): string => {
  if (time > lastTime) {
    lastTime = time
    count = 0
  } else {
    count++
  }
  return ((BigInt(time) * 0x1000n + BigInt(count & 0xfff)) & 0xffffffffffffn).toString(16).padStart(12, "0")
}

const randomPart = Effect.map(Random.Random, (random) => {
  let text = ""
  for (let i = 0; i < 14; i++) text += alphabet[Math.floor(random.nextDoubleUnsafe() * alphabet.length)]
  return text
})

export const next = (prefix: string): Effect.Effect<string> =>
  Effect.gen(function*() {
    const now = yield* Clock.currentTimeMillis
    return `${prefix}_${timePart(now)}${yield* randomPart}`
  })
