/** Text of an agent made harmless for a terminal: nothing in it may move the cursor or hide what stands there. */

// oxlint-disable-next-line no-control-regex
const control = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g
/** Characters that reorder what is around them. */
const reordering = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g

const picture = (char: string): string => {
  const code = char.charCodeAt(0)
  return code < 0x20 ? String.fromCharCode(0x2400 + code) : code === 0x7f ? "\u2421" : "\ufffd"
}

/** Running text: lines and tabs stay, every other control character becomes visible. */
export const text = (value: string): string => value.replaceAll("\r\n", "\n").replace(control, picture)

/** What a person decides on: characters that reorder the line become visible too. */
export const exact = (value: string): string =>
  text(value).replace(
    reordering,
    (char) => `<U+${char.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}>`
  )

/** One line of at most `max` characters. */
export const line = (value: string, max = 200): string => {
  const flat = exact(value).trim().replace(/\s*\n\s*/g, " \u23ce ")
  return flat.length > max ? `${flat.slice(0, max - 1)}\u2026` : flat
}
