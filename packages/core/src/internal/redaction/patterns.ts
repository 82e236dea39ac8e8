/**
 * Credentials that are known by their form.
 *
 * All of it is linear in the length of the text. What repeats without bound is either the last part of its expression,
 * so that it cannot fail afterwards, or begins where no other match can begin inside of the same run of characters.
 */
import * as Base64 from "effect/encoding/Base64"
import * as Result from "effect/Result"
import { replacement, type Span } from "./spans.ts"

/** Not in the middle of a word; the letter of an escape such as `\n` or `%20` is not a part of one. */
const begin = "(?:(?<![A-Za-z0-9])|(?<=\\\\[nrtbfv])|(?<=%[0-9A-Fa-f]{2})|(?<=\\\\u[0-9A-Fa-f]{4}))"

/** As `begin`, where an underscore and a hyphen belong to the word too. */
const beginRun = "(?:(?<![A-Za-z0-9_-])|(?<=\\\\[nrtbfv])|(?<=%[0-9A-Fa-f]{2})|(?<=\\\\u[0-9A-Fa-f]{4}))"

const tokens: ReadonlyArray<RegExp> = [
  new RegExp(`${begin}sk-[A-Za-z0-9_-]{16,}`, "g"),
  /[sr]k_(?:live|test)_[A-Za-z0-9]{10,}/g,
  /gh[pousr]_[A-Za-z0-9]{20,}/g,
  /github_pat_[A-Za-z0-9_]{20,}/g,
  /glpat-[A-Za-z0-9_-]{16,}/g,
  new RegExp(`${begin}(?:hf|npm|gsk)_[A-Za-z0-9]{30,}`, "g"),
  new RegExp(`${begin}xai-[A-Za-z0-9_-]{30,}`, "g"),
  /(?:AKIA|ASIA)[A-Z0-9]{16}/g,
  /AIza[A-Za-z0-9_-]{30,}/g,
  /ya29\.[A-Za-z0-9_-]{20,}/g,
  /xox[a-z]-[A-Za-z0-9-]{10,}/g,
  /xapp-[A-Za-z0-9-]{10,}/g,
  new RegExp(`${beginRun}eyJ[A-Za-z0-9_-]{8,}\\.[A-Za-z0-9_-]{8,}(?:\\.[A-Za-z0-9_-]*){0,3}`, "g")
]

const stick = (pattern: RegExp, text: string, at: number): RegExpExecArray | null => {
  pattern.lastIndex = at
  return pattern.exec(text)
}

const pemBegin = /-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----/g
const pemEnd = /-----END [A-Z0-9 ]{0,60}-----/y

/** Private keys. Without its end line, the rest of the text counts as the key. */
const findKeys = (text: string, found: Array<Span>) => {
  for (const match of text.matchAll(pemBegin)) {
    const next = text.indexOf("-----", match.index + match[0].length)
    const end = next === -1 ? text.length : next + (stick(pemEnd, text, next)?.[0].length ?? 0)
    found.push({ start: match.index, end })
    if (next === -1) return
  }
}

/** Where only the first group is secret. */
const groups: ReadonlyArray<RegExp> = [
  /:\/\/[^\s/?#:@"'<>\\]*:([^\s/?#"'<>\\]+)@/dg,
  /:\/\/([^\s/?#:@"'<>\\]{20,})@/dg
]

const scheme = /\b(bearer|basic)(?:[ \t]{1,4}|%20|\+)([A-Za-z0-9._~+/=-]{6,}(?:%3[Dd]){0,2})/gi

/** Credentials of Basic authorization have a colon; a word that follows "basic" seldom does. */
const isBasic = (token: string): boolean => {
  const digits = token.replaceAll("-", "+").replaceAll("_", "/").replace(/[^A-Za-z0-9+/].*$/, "")
  const decoded = Base64.decodeString(digits.slice(0, digits.length - digits.length % 4))
  return Result.isSuccess(decoded) && decoded.success.includes(":")
}

const findSchemes = (text: string, found: Array<Span>) => {
  for (const match of text.matchAll(scheme)) {
    const token = match[2] ?? ""
    const secret = match[1]?.toLowerCase() === "basic"
      ? isBasic(token)
      : /[0-9._~+/=-]/.test(token) || token.length > 20
    const end = match.index + match[0].length
    if (secret) found.push({ start: end - token.length, end })
  }
}

const names = "authorization|pass(?:word|wd|phrase|code)|pwd|(?:client|app|shared)?[_-]?secret|token|" +
  "(?:api|access|private|secret|signing|encryption)[_-]?key(?:[_-]?id)?|credential"

const name = new RegExp(`(${names})`, "gi")
const nameAtEnd = new RegExp(`(?:${names})$`, "i")

/** Whether a key, a variable or a header of this name holds a secret. */
export const isSecretName = (text: string): boolean =>
  text.length <= 256 && nameAtEnd.test(text) && !/(?:^|_)(?:OLD)?PWD$/.test(text)

const isPassword = (word: string): boolean => /^p/i.test(word) || /^auth/i.test(word)

/** Between a name and its value: a closing quote, `=`, `:` or their URI-encoded forms, an opening quote. */
const separator = /(?:\\{0,7}["'`]|%22)?[ \t]{0,8}(?:=>|[:=]|%3[AaDd])[ \t]{0,8}(?:(\\{0,7})(["'`])|%22)?/y
const flagSeparator = /[ \t]{1,4}()(["'])?/y
const knownScheme = /(?:bearer|basic|digest|token|negotiate|ntlm|apikey|hawk)(?:[ \t]{1,4}|%20)/iy
const bare = /[^\s"'`&;,)}\]<>|\\]+/y
const restOfLine = /[^\r\n]+/y
const placeholder = /^(?:null|true|false|undefined|none|nil|\$\{?[A-Za-z_]+\}?)$/i

/** Where a quoted value ends. A quote closes when it has as many backslashes as the one that opened. */
const closing = (text: string, from: number, quote: string, depth: number): number => {
  let slashes = 0
  for (let at = from; at < text.length; at++) {
    const char = text[at]
    if (char === "\\") {
      slashes++
      continue
    }
    if (char === "\n" || char === "\r") return at
    if (char === quote && slashes % (2 * (depth + 1)) === depth) return at - slashes % (2 * (depth + 1))
    slashes = 0
  }
  return text.length
}

/** How much of the text before a name is looked at, in characters. */
const lookBack = 96

const startsLine = (text: string, at: number): boolean =>
  /(?:^|[\r\n])(?:export |set )?[A-Z0-9_]*$/.test(text.slice(Math.max(0, at - lookBack), at))

const isFlag = (text: string, at: number): boolean =>
  /(?:^|[\s"'])--?[A-Za-z0-9-]*$/.test(text.slice(Math.max(0, at - lookBack), at))

const findAssignments = (text: string, found: Array<Span>) => {
  name.lastIndex = 0
  for (let match = name.exec(text); match !== null; match = name.exec(text)) {
    const word = match[0]
    const after = match.index + word.length
    const plain = stick(separator, text, after)
    const between = plain ?? (isFlag(text, match.index) ? stick(flagSeparator, text, after) : null)
    if (between === null) continue
    let start = after + between[0].length
    const quote = between[2]
    let end: number
    let loose = false
    if (quote !== undefined) {
      end = closing(text, start, quote, between[1]?.length ?? 0)
    } else {
      const schemed = /^auth/i.test(word) ? stick(knownScheme, text, start)?.[0].length ?? 0 : 0
      const line = word === word.toUpperCase() && between[0] === "=" && startsLine(text, match.index)
      start += schemed
      end = start + (stick(line ? restOfLine : bare, text, start)?.[0].length ?? 0)
      loose = schemed === 0 && plain !== null && between[0].includes(":")
    }
    if (isSecretValue(word, text.slice(start, end), loose)) found.push({ start, end })
    name.lastIndex = Math.max(after, end)
  }
}

/** `loose` is a value that may also be prose: without quotes, after a colon. */
const isSecretValue = (word: string, value: string, loose: boolean): boolean => {
  if (value === "" || value.startsWith(replacement) || placeholder.test(value)) return false
  if (/^pwd$/i.test(word) && /^[/~.]/.test(value)) return false
  if (isPassword(word) && !/^auth/i.test(word)) return value.length > 1
  if (value.length < 6) return false
  return !loose || value.length >= 20 || (/[0-9]/.test(value) && !/^[0-9.]+$/.test(value))
}

/** Adds the places of what looks like a credential. */
export const find = (text: string, found: Array<Span>): void => {
  for (const pattern of tokens) {
    for (const match of text.matchAll(pattern)) {
      found.push({ start: match.index, end: match.index + match[0].length })
    }
  }
  for (const pattern of groups) {
    for (const match of text.matchAll(pattern)) {
      const [start, end] = match.indices?.[1] ?? [0, 0]
      if (!text.startsWith(replacement, start)) found.push({ start, end })
    }
  }
  findKeys(text, found)
  findSchemes(text, found)
  findAssignments(text, found)
}
