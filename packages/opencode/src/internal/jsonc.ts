/** JSON with comments and trailing commas, as OpenCode reads its configuration. */

const comments = /"(?:[^"\\]|\\.)*"|\/\/[^\n]*|\/\*[\s\S]*?\*\//g
const commas = /"(?:[^"\\]|\\.)*"|,(?=\s*[}\]])/g

const blank = (token: string): string => token.startsWith("\"") ? token : " "

/** Throws a `SyntaxError` like `JSON.parse`. */
export const parse = (text: string): unknown =>
  JSON.parse(text.replace(/^\uFEFF/, "").replace(comments, blank).replace(commas, blank))
