/**
 * Known secrets in the encodings they travel in.
 *
 * All encodings of all values are looked for in one pass: an index on the first characters says which could begin at a
 * position. The work is at most the text's length times the length of the values that share a beginning.
 */
import * as Base64 from "effect/encoding/Base64"
import type { Span } from "./spans.ts"

/** Values shorter than this are not looked for: they would be found in ordinary words. */
export const minLength = 6

/** Characters that needles are indexed by; each needle is at least this long. */
const head = 4

interface Needle {
  readonly text: string
  /** Neighbours, in characters, that carry some bits of the value when they are of the Base64 alphabet. */
  readonly before: number
  readonly after: number
}

const utf8 = new TextEncoder()

const unreserved = "A-Za-z0-9\\-_.~"
const uriKeeps = [
  unreserved, // RFC 3986
  `${unreserved}!*'()`, // encodeURIComponent
  `${unreserved}!*'();/?:@&=+$,#`, // encodeURI
  `${unreserved}!*'()$&+,%`, // user and password of a URL
  "A-Za-z0-9*\\-._ " // forms, where the space becomes a plus sign
].map((keeps) => new RegExp(`[^${keeps}]+`, "gu"))

const percent = (text: string, others: RegExp, lower: boolean): string =>
  text.replace(others, (chars) => {
    let out = ""
    for (const byte of utf8.encode(chars)) {
      const hex = byte.toString(16).padStart(2, "0")
      out += `%${lower ? hex : hex.toUpperCase()}`
    }
    return out
  })

const uri = (text: string): Array<string> =>
  uriKeeps.flatMap((others, index) =>
    [false, true].map((lower) => {
      const encoded = percent(text, others, lower)
      return index === uriKeeps.length - 1 ? encoded.replaceAll(" ", "+") : encoded
    })
  )

const quoted = (text: string): string => JSON.stringify(text).slice(1, -1)

const asciiOnly = (text: string, lower: boolean): string =>
  text.replace(/[^\x20-\x7e]/g, (char) => {
    const hex = char.charCodeAt(0).toString(16).padStart(4, "0")
    return `\\u${lower ? hex : hex.toUpperCase()}`
  })

/** As a JSON string, with and without the escapes that are optional, and as a JSON string inside of another. */
const json = (text: string): Array<string> => {
  const plain = quoted(text)
  const once = [
    plain,
    plain.replaceAll("/", "\\/"),
    asciiOnly(plain, true),
    asciiOnly(plain, false),
    plain.replace(/[<>&']/g, (char) => `\\u00${char.charCodeAt(0).toString(16)}`)
  ]
  return [...once, ...once.map(quoted)]
}

/**
 * The part of the Base64 form that depends on the value alone, for each of the three ways it can lie behind other
 * bytes. So the password is found in `base64(user:password)` whatever the user is called.
 */
const base64 = (bytes: Uint8Array): Array<Needle> => {
  const needles: Array<Needle> = []
  for (const offset of [0, 1, 2]) {
    const padded = new Uint8Array(offset + bytes.length)
    padded.set(bytes, offset)
    const skip = offset === 0 ? 0 : offset + 1
    const whole = Math.floor((padded.length * 8) / 6)
    const core = Base64.encode(padded).slice(skip, whole)
    const sides = { before: offset === 0 ? 0 : 1, after: padded.length % 3 === 0 ? 0 : 1 }
    const url = core.replaceAll("+", "-").replaceAll("/", "_")
    for (const text of [core, url, core.replaceAll("/", "\\/"), ...uri(core)]) needles.push({ text, ...sides })
  }
  return needles
}

const encodings = (value: string): Array<Needle> => {
  const bytes = utf8.encode(value)
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")
  const literal = [value, ...json(value), ...uri(value), hex, hex.toUpperCase()]
  return [...literal.map((text) => ({ text, before: 0, after: 0 })), ...base64(bytes)]
}

const isBase64 = (code: number): boolean =>
  (code >= 48 && code <= 57) || (code >= 65 && code <= 90) || (code >= 97 && code <= 122) ||
  code === 43 || code === 45 || code === 47 || code === 95

/** The known values, and the search for them. */
export interface Values {
  readonly add: (value: string) => void
  readonly find: (text: string, found: Array<Span>) => void
  /** Adds the beginning of a value, of `minLength` characters or more, that stands at the end of the text. */
  readonly findGrowing: (text: string, found: Array<Span>) => void
  /** Length of the longest needle, in characters. */
  readonly longest: () => number
}

export const make = (): Values => {
  const index = new Map<string, Array<Needle>>()
  const known = new Set<string>()
  const begins = new Uint8Array(256)
  let longest = 0

  const insert = (needle: Needle) => {
    if (needle.text.length < minLength || known.has(needle.text)) return
    known.add(needle.text)
    longest = Math.max(longest, needle.text.length)
    begins[needle.text.charCodeAt(0) & 255] = 1
    const key = needle.text.slice(0, head)
    const bucket = index.get(key)
    if (bucket === undefined) {
      index.set(key, [needle])
    } else {
      bucket.push(needle)
      bucket.sort((a, b) => b.text.length - a.text.length)
    }
  }

  const add = (value: string) => {
    // A value read from a file or the environment often has a line break that is not part of it.
    for (const text of new Set([value, value.trim()])) {
      if (text.length >= minLength) encodings(text).forEach(insert)
    }
  }

  const find = (text: string, found: Array<Span>) => {
    if (index.size === 0) return
    for (let at = 0; at + head <= text.length; at++) {
      if (begins[text.charCodeAt(at) & 255] === 0) continue
      const needle = index.get(text.slice(at, at + head))?.find((needle) => text.startsWith(needle.text, at))
      if (needle === undefined) continue
      let start = at
      let end = at + needle.text.length
      if (needle.before > 0 && start > 0 && isBase64(text.charCodeAt(start - 1))) start--
      if (needle.after > 0 && end < text.length && isBase64(text.charCodeAt(end))) end++
      found.push({ start, end })
    }
  }

  const findGrowing = (text: string, found: Array<Span>) => {
    for (let at = Math.max(0, text.length - longest); at + minLength <= text.length; at++) {
      const bucket = index.get(text.slice(at, at + head))
      if (bucket === undefined) continue
      const rest = text.slice(at)
      const needle = bucket.find((needle) => needle.text.startsWith(rest))
      if (needle === undefined) continue
      const before = needle.before > 0 && at > 0 && isBase64(text.charCodeAt(at - 1)) ? 1 : 0
      found.push({ start: at - before, end: text.length })
      return
    }
  }

  return { add, find, findGrowing, longest: () => longest }
}
