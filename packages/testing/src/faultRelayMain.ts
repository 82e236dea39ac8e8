/**
 * The command `reins-fault-relay`: it runs an agent and stands between it and whoever speaks to it.
 *
 * Its arguments are read by hand: what follows `--` belongs to the agent, and a relay has to start as fast as it can.
 */
import * as Effect from "effect/Effect"
import * as faultRelay from "./internal/faultRelay.ts"
import * as faultWire from "./internal/faultWire.ts"

const usage = `Usage: reins-fault-relay [--control <socket>] [--at <stream>:<n>:<fault>]... -- command [args...]

Relays stdin, stdout and stderr of a command, with faults.

  --control  Unix socket to take commands from, one JSON object a line
  --at       Fault after the n-th line: stdout:5:cut, stdin:1:delay:200, stderr:2:noise:text
             (cut, halfClose, stall, duplicate, kill, delay:<ms>, noise:<text>)
`

const leave = (code: number, text: string): Effect.Effect<never> =>
  Effect.sync(() => {
    const out = code === 0 ? process.stdout : process.stderr
    out.write(text)
    process.exit(code)
  })

const main = Effect.gen(function*() {
  const args = process.argv.slice(2)
  const split = args.indexOf("--")
  const own = split === -1 ? args : args.slice(0, split)
  if (own.includes("--help")) return yield* leave(0, usage)
  const [command, ...rest] = split === -1 ? [] : args.slice(split + 1)
  if (command === undefined) return yield* leave(2, usage)
  let control: string | undefined
  const rules: Array<faultWire.Rule> = []
  for (let index = 0; index < own.length; index += 2) {
    const value = own[index + 1]
    if (value === undefined) return yield* leave(2, usage)
    switch (own[index]) {
      case "--control":
        control = value
        break
      case "--at":
        rules.push(
          yield* faultWire.parseRule(value).pipe(Effect.catch(() => leave(2, `No rule: ${value}\n\n${usage}`)))
        )
        break
      default:
        return yield* leave(2, usage)
    }
  }
  return yield* faultRelay.run({ control, rules, command, args: rest })
})

Effect.runFork(main)
