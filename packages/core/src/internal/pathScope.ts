/** Judges whether a path that an agent named lies in the session's directory. POSIX paths, case-sensitive. */

/** Gives the path without symbolic links; see `followLinks`. */
export type RealPath = (path: string) => string | undefined

/** One reading of a path. `relative` is absent outside the directory, and `""` for the directory itself. */
export interface View {
  readonly absolute: string
  readonly relative: string | undefined
}

/** What a path may mean: as it is written, and (where links can be resolved) what it leads to. */
export interface PathFacts {
  /** `false` where the path might mean something else to the tool that opens it. Such a path counts as outside. */
  readonly certain: boolean
  readonly inside: boolean
  readonly lexical: View
  /** What the operating system would open; the lexical view where links cannot be resolved. */
  readonly real: ReadonlyArray<View>
}

const maxLength = 4096

const maxLinks = 40

const normalize = (path: string): string => {
  const out: Array<string> = []
  for (const segment of path.split("/")) {
    if (segment === "" || segment === ".") continue
    if (segment === "..") out.pop()
    else out.push(segment)
  }
  return `/${out.join("/")}`
}

const join = (parent: string, segment: string): string => parent === "/" ? `/${segment}` : `${parent}/${segment}`

/** The absolute path without `.`, `..` and doubled slashes; links are not looked at. */
export const resolve = (base: string, path: string): string =>
  normalize(path.startsWith("/") ? path : `${base}/${path}`)

/** What of `path` lies below `root`, both normalised; by whole segments. */
export const below = (root: string, path: string): string | undefined => {
  if (path === root) return ""
  const prefix = root === "/" ? "/" : `${root}/`
  return path.startsWith(prefix) ? path.slice(prefix.length) : undefined
}

const view = (root: string, absolute: string): View => ({ absolute, relative: below(root, absolute) })

/**
 * Whether every tool would open the same file: printable ASCII, no `\` (a separator elsewhere) or `*`, nothing that
 * tools expand, strip or decode (`~`, `$`, quotes, `@/`, `file:`, `%2e`, spaces at the ends).
 */
const isCertain = (cwd: string, path: string): boolean => {
  // The directory's own name is the host's word; only what follows is the agent's.
  const rest = below(cwd, path) ?? path
  return path.length > 0 && path.length <= maxLength &&
    /^[\x20-\x7e]*$/.test(rest) && !/[\\*]/.test(rest) && path.trim() === path &&
    !/^(?:[~$"'`]|@[/.~]|[A-Za-z][A-Za-z0-9+.-]*:)/.test(rest) && !/%2[ef]/i.test(rest)
}

/** A host's function may throw or answer with a relative path: both mean that nothing is known. */
const guarded = (realPath: RealPath): RealPath => (path) => {
  try {
    const real = realPath(path)
    return real === undefined || !real.startsWith("/") ? undefined : normalize(real)
  } catch {
    return undefined
  }
}

/** Walks like the operating system: `..` after a link leaves the link's target, not the directory that holds it. */
const physical = (realPath: RealPath, base: string, path: string): string | undefined => {
  const start = path.startsWith("/") ? "/" : realPath(base)
  if (start === undefined) return undefined
  let current = start
  for (const segment of path.split("/")) {
    if (segment === "" || segment === ".") continue
    if (segment === "..") {
      current = normalize(`${current}/..`)
      continue
    }
    const next = join(current, segment)
    // Nothing there yet: a file to be made.
    current = realPath(next) ?? next
  }
  return current
}

/**
 * Judges one path. `cwd` is the directory that counts as inside, `base` the one that relative paths start from.
 *
 * With `realPath` a path is inside when what it leads to is, read both as the operating system does (`..` after links)
 * and as tools do that shorten `..` first. Without it a path is judged by its text alone.
 */
export const judge = (
  options: { readonly cwd: string; readonly base: string; readonly realPath?: RealPath | undefined },
  path: string
): PathFacts => {
  const cwd = normalize(options.cwd)
  const base = resolve(cwd, options.base)
  const absolute = resolve(base, path)
  const lexical = view(cwd, absolute)
  const certain = options.cwd.startsWith("/") && isCertain(cwd, path) && isCertain(cwd, options.base)
  if (!certain) return { certain, inside: false, lexical, real: [lexical] }
  if (options.realPath === undefined) {
    return { certain, inside: lexical.relative !== undefined, lexical, real: [lexical] }
  }
  const realPath = guarded(options.realPath)
  const root = realPath(cwd)
  const asOpened = physical(realPath, base, path)
  const asShortened = physical(realPath, base, absolute)
  if (root === undefined || asOpened === undefined || asShortened === undefined) {
    return { certain: false, inside: false, lexical, real: [lexical] }
  }
  const real = asOpened === asShortened ? [view(root, asOpened)] : [view(root, asOpened), view(root, asShortened)]
  return { certain, inside: real.every((view) => view.relative !== undefined), lexical, real }
}

/**
 * Makes a `RealPath` from a function that reads one link (`undefined` for what is no link, or is not there). Unlike the
 * usual `realpath` it also resolves a link whose target does not exist yet, through which a file can be made elsewhere.
 */
export const followLinks = (readLink: (path: string) => string | undefined): RealPath => (path) => {
  if (!path.startsWith("/")) return undefined
  const pending = path.split("/").reverse()
  let current = "/"
  let links = 0
  for (let segment = pending.pop(); segment !== undefined; segment = pending.pop()) {
    if (segment === "" || segment === ".") continue
    if (segment === "..") {
      current = normalize(`${current}/..`)
      continue
    }
    const next = join(current, segment)
    const target = readLink(next)
    if (target === undefined) {
      current = next
      continue
    }
    if (++links > maxLinks) return undefined
    if (target.startsWith("/")) current = "/"
    pending.push(...target.split("/").reverse())
  }
  return current
}

/** Judges a path that a request names: relative ones start from where it would run. */
export const judgeFor = (
  subject: {
    readonly cwd: string
    readonly facts: { readonly cwd?: string }
    readonly realPath?: RealPath
  },
  path: string
): PathFacts => judge({ cwd: subject.cwd, base: subject.facts.cwd ?? subject.cwd, realPath: subject.realPath }, path)
