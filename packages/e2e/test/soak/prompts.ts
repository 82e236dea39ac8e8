/** The prompts of a soak: `<kind> S-<number>`, and what the model answers. */
export const kinds = ["text", "text", "long", "tool", "tool", "wait", "refused", "busy"] as const
export type Kind = typeof kinds[number]

export const nameOf = (text: string): { readonly kind: string; readonly name: string } | undefined => {
  const found = /(text|long|tool|wait|refused|busy) (S-\d+)/.exec(text)
  return found === null ? undefined : { kind: found[1] ?? "", name: found[2] ?? "" }
}

export const answerTo = (name: string): string => `This is the answer to ${name}, which is long enough to be cut.`
