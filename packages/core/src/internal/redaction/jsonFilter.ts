/** Takes known secrets out of JSON texts: tools inherit them from the agent or hold them, and may print them. */
import * as Redacted from "effect/Redacted"
import { replacement } from "./spans.ts"
import { minLength } from "./values.ts"

export const make = (secrets: Iterable<Redacted.Redacted<string>>): (text: string) => string => {
  const words = new Set<string>()
  for (const secret of secrets) {
    let word = Redacted.value(secret)
    // A short one would be found in the words of the protocol itself.
    if (word.length < minLength) continue
    for (let depth = 0; depth < 3 && word !== ""; depth++) {
      words.add(word)
      word = JSON.stringify(word).slice(1, -1)
    }
  }
  // The longest first: a secret inside of another would leave the rest of that one.
  const all = [...words].toSorted((a, b) => b.length - a.length)
  return (text) => {
    let clean = text
    for (const word of all) if (clean.includes(word)) clean = clean.replaceAll(word, replacement)
    return clean
  }
}
