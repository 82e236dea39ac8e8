/**
 * Takes secrets out of text: known values in the encodings they travel in, then credentials that are known by form.
 *
 * It is a best effort: a secret that was compressed, encrypted, reversed or wrapped over several lines is not found.
 * Everything is pure and synchronous, and takes time in proportion to the length of the text.
 *
 * @since 0.1.0
 */
import * as Redacted from "effect/Redacted"
import * as filter from "./internal/redaction/jsonFilter.ts"
import * as patterns from "./internal/redaction/patterns.ts"
import * as spans from "./internal/redaction/spans.ts"
import * as tail from "./internal/redaction/tail.ts"
import * as values from "./internal/redaction/values.ts"

/**
 * What stands in the place of a secret.
 *
 * @category constants
 * @since 0.1.0
 */
export const replacement: string = spans.replacement

/**
 * Shortest known value that is looked for, in characters; a shorter one would be found in ordinary words.
 *
 * @category constants
 * @since 0.1.0
 */
export const minLength: number = values.minLength

/**
 * A place in a text, `end` exclusive, in UTF-16 units.
 *
 * @category models
 * @since 0.1.0
 */
export interface Span {
  readonly start: number
  readonly end: number
}

/**
 * Replaces secrets.
 *
 * @category models
 * @since 0.1.0
 */
export interface Redactor {
  /** The text with every secret replaced. Redacting twice changes nothing more. */
  readonly redact: (text: string) => string
  /**
   * A copy of a JSON value with secrets replaced in strings and in keys, and with the strings under the name of a
   * secret (`password`, `apiKey`, …) replaced whole.
   */
  readonly redactJson: <A>(value: A) => A
  /** Learns one more value; values shorter than `minLength` are ignored. */
  readonly add: (value: Redacted.Redacted<string> | string) => void
  /**
   * Where the secrets are, in order and without overlap. In a text that is still `growing`, also the beginning of a known
   * value at its end.
   */
  readonly find: (text: string, options?: { readonly growing?: boolean | undefined }) => ReadonlyArray<Span>
  /** Length of the longest form of a known value, in characters. */
  readonly longest: () => number
}

/** Deepest value that `redactJson` looks into. */
const maxDepth = 256

/**
 * Makes a redactor. Its `values` are looked for as they are, escaped as JSON (once and twice), URI-encoded, as Base64
 * and Base64url behind any other bytes (`user:` of Basic authorization included), and in hexadecimal. Values shorter than
 * `minLength` are ignored. The built-in patterns always apply; `patterns` adds to them, and each has to be linear.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: {
  readonly values: Iterable<Redacted.Redacted<string> | string>
  readonly patterns?: Iterable<RegExp> | undefined
}): Redactor => {
  const known = values.make()
  const add: Redactor["add"] = (value) => known.add(Redacted.isRedacted(value) ? Redacted.value(value) : value)
  for (const value of options.values) add(value)
  const own = Array.from(
    options.patterns ?? [],
    (pattern) => new RegExp(pattern.source, `${pattern.flags.replace(/[gy]/g, "")}g`)
  )

  const find: Redactor["find"] = (text, options) => {
    const found: Array<Span> = []
    known.find(text, found)
    if (options?.growing === true) known.findGrowing(text, found)
    patterns.find(text, found)
    for (const pattern of own) {
      for (const match of text.matchAll(pattern)) {
        if (match[0] !== "") found.push({ start: match.index, end: match.index + match[0].length })
      }
    }
    return spans.union(found)
  }

  const redact = (text: string): string => spans.replace(text, find(text))

  const leaf = (name: string | undefined, value: unknown, depth: number): unknown =>
    typeof value === "string" && value !== "" && name !== undefined && patterns.isSecretName(name)
      ? replacement
      : walk(value, depth + 1)

  const walk = (value: unknown, depth: number): unknown => {
    if (typeof value === "string") return redact(value)
    if (typeof value !== "object" || value === null) return value
    if (depth > maxDepth) return replacement
    if (Array.isArray(value)) return value.map((item) => walk(item, depth + 1))
    // Headers and variables are often written as `{ name, value }`.
    const named = "name" in value && typeof value.name === "string" ? value.name : undefined
    const out = new Map<string, unknown>()
    for (const [key, item] of Object.entries(value)) {
      let safe = redact(key)
      // Two keys that become the same keep both of their values.
      for (let count = 2; out.has(safe); count++) safe = `${redact(key)} ${count}`
      out.set(safe, leaf(key === "value" ? named : key, item, depth))
    }
    return Object.fromEntries(out)
  }

  return { redact, redactJson: <A>(value: A) => walk(value, 0) as A, add, find, longest: known.longest }
}

/**
 * Takes known values out of texts of JSON, as they are and once and twice escaped, and leaves JSON that can be read. For the
 * messages of an agent: it costs one look for each value, and knows no other forms. Values shorter than `minLength` are
 * ignored.
 *
 * @category constructors
 * @since 0.1.0
 */
export const jsonFilter = (secrets: Iterable<Redacted.Redacted<string>>): (text: string) => string =>
  filter.make(secrets)

/**
 * The end of what was written to a stream, such as stderr.
 *
 * @category models
 * @since 0.1.0
 */
export interface Tail {
  /** Takes what was read; a secret or an escape sequence may be split over chunks. */
  readonly push: (chunk: string) => void
  /** The last lines, redacted as one text and without escape sequences of terminals. */
  readonly text: () => string
}

/**
 * Makes a tail of at most `maxChars` characters (default 16,384) and `maxLines` lines (default 200). What it drops at
 * its beginning never leaves the rest of a secret behind.
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeTail = (options: {
  readonly redactor: Redactor
  readonly maxChars?: number | undefined
  readonly maxLines?: number | undefined
}): Tail => tail.make(options.redactor, options.maxChars ?? 16_384, options.maxLines ?? 200)
