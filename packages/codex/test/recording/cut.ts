/** Takes out of a recording what differs from one to the next, and what is of this machine. */

/** A message as it is kept: what was sent to Codex, or what it said. */
export interface Line {
  readonly dir: ">>" | "<<"
  readonly m: Readonly<Record<string, unknown>>
}

/** What is told of the machine, and to nobody in particular. */
const left = new Set(["configWarning", "remoteControl/status/changed"])

/** Longest string, in characters: the output of a command may be a megabyte. */
const maxString = 4_000

/** Where the first of all times lies, in milliseconds since the epoch. */
const epoch = 1_700_000_000_000

const isMillis = (value: unknown): value is number => typeof value === "number" && value > 1_500_000_000_000
const isSeconds = (value: unknown): value is number =>
  typeof value === "number" && value > 1_500_000_000 && value < 10_000_000_000

/**
 * Ids are numbered in the order in which they appear, and so are times, by what they are the time of; a time that names
 * nothing gets one of its own for each line. Both keep the order in which the agent makes them.
 */
const numbered = (lines: ReadonlyArray<Line>): ReadonlyArray<Line> => {
  const ids = new Map<string, string>()
  const processes = new Map<string, string>()
  const times = new Map<string, number>()
  const idOf = (id: string): string => {
    const known = ids.get(id) ?? `00000000-0000-7000-8000-${(ids.size + 1).toString(16).padStart(12, "0")}`
    ids.set(id, known)
    return known
  }
  const processOf = (id: string): string => {
    const known = processes.get(id) ?? String(10_001 + processes.size)
    processes.set(id, known)
    return known
  }
  const timeOf = (key: string): number => {
    const known = times.get(key) ?? epoch + 10 * times.size
    times.set(key, known)
    return known
  }
  const text = (value: string): string =>
    (value.length > maxString ? `${value.slice(0, maxString)}…` : value)
      .replaceAll(/\b[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}\b/g, idOf)
      .replaceAll(/\/\d{4}\/\d\d\/\d\d\/rollout-[\dT-]{19}/g, "/2023/11/14/rollout-2023-11-14T22-13-20")
  const walk = (value: unknown, owner: string, path: string): unknown => {
    const name = path.slice(path.lastIndexOf("/") + 1)
    if (name === "processId" && typeof value === "string") return processOf(value)
    if (name === "durationMs" && typeof value === "number") return 10
    if (typeof value === "string") return text(value)
    if (isMillis(value)) return timeOf(`${owner} ${path}`)
    if (isSeconds(value)) return Math.floor(timeOf(`${owner} ${path}`) / 1_000)
    if (Array.isArray(value)) return value.map((entry, index) => walk(entry, owner, `${path}/${index}`))
    if (typeof value !== "object" || value === null) return value
    const id = "id" in value ? value.id : undefined
    const [within, from] = typeof id === "string" ? [id, ""] : [owner, path]
    return Object.fromEntries(
      Object.entries(value).map(([key, entry]) => [text(key), walk(entry, within, `${from}/${key}`)])
    )
  }
  return lines.map(({ dir, m }, index) => ({ dir, m: walk(m, `line ${index}`, "") as Line["m"] }))
}

/**
 * The text of a fixture: requests and notifications of both sides, and our answers; those of Codex are not read.
 * `places` are names of this machine, and what stands for them.
 */
export const cut = (
  lines: ReadonlyArray<Line>,
  places: ReadonlyArray<readonly [found: string, said: string]>
): string => {
  const clean = (line: string) =>
    places.reduce((text, [found, said]) => text.replaceAll(found, said), line)
      .replaceAll(/127\.0\.0\.1:\d{4,5}\b/g, "127.0.0.1:4010")
  const kept = lines.filter(({ dir, m: { method } }) => dir === ">>" || typeof method === "string" && !left.has(method))
  return numbered(kept).map((line) => `${clean(JSON.stringify(line))}\n`).join("")
}
