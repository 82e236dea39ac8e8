/** Whether a condition of a policy holds for a request: yes, no, or not to be told. */
import * as Glob from "effect/Glob"
import type { ApprovalSubject, Condition } from "../ApprovalPolicy.ts"
import * as lexer from "./commandLexer.ts"
import * as pathScope from "./pathScope.ts"

export interface Result {
  readonly holds: "yes" | "no" | "unsure"
  /** What did not hold, for a person; empty for `yes`. */
  readonly why: string
}

export interface CommandFacts {
  /** Whether the request is about a command at all. */
  readonly present: boolean
  /** Absent where the command is not read with certainty. */
  readonly argv: ReadonlyArray<string> | undefined
}

interface Judge {
  readonly subject: ApprovalSubject
  readonly command: CommandFacts
  /** `true` for rules that accept: all must match, with certainty. `false`: any, and doubt is reported. */
  readonly sure: boolean
}

const maxDepth = 32

const yes: Result = { holds: "yes", why: "" }
const no = (why: string): Result => ({ holds: "no", why })
const unsure = (why: string): Result => ({ holds: "unsure", why })

/** A text of the agent's, shortened and without characters that could deceive the reader of a terminal. */
export const shown = (text: string): string => {
  const cut = text.length > 120 ? `${text.slice(0, 120)}…` : text
  return `"${cut.replace(/[^\x20-\x7e…]/g, (char) => `\\u{${char.charCodeAt(0).toString(16)}}`)}"`
}

const same = (a: ReadonlyArray<string>, b: ReadonlyArray<string>): boolean =>
  a.length === b.length && a.every((word, index) => word === b[index])

/** Reads the command of a request. Where both words and text are given, they must say the same. */
export const readCommand = ({ facts }: ApprovalSubject): CommandFacts => {
  if (facts.command === undefined && facts.argv === undefined) return { present: false, argv: undefined }
  const fromWords = facts.argv === undefined ? undefined : lexer.plainArgv(facts.argv)
  if (facts.command === undefined) return { present: true, argv: fromWords }
  const fromText = lexer.lexPlain(facts.command)
  if (facts.argv === undefined) return { present: true, argv: fromText }
  const agree = fromWords !== undefined && fromText !== undefined && same(fromWords, fromText)
  return { present: true, argv: agree ? fromText : undefined }
}

const judgeArgv = (
  { command, subject, sure }: Judge,
  wanted: ReadonlyArray<ReadonlyArray<string>>,
  whole: boolean
): Result => {
  if (!command.present) return no("it is not about a command")
  const argv = command.argv
  if (argv === undefined) return unsure("the command is not a single plain command that is read with certainty")
  const launcher = lexer.runsOthers(argv)
  const matches = wanted.some((list) =>
    list.length > 0 && (
      same(list, argv) ||
      (!whole && lexer.startsWith(argv, list) && !(sure && launcher)) ||
      (!sure && launcher && lexer.mentions(argv, list))
    )
  )
  if (!matches) {
    return no(
      sure && launcher && wanted.some((list) => lexer.startsWith(argv, list))
        ? `${shown(argv[0] ?? "")} may run other programs, so the rule must name the whole command`
        : `the command ${shown(argv.join(" "))} is none of those named`
    )
  }
  if (!sure || subject.facts.cwd === undefined) return yes
  return pathScope.judgeFor(subject, ".").inside ? yes : no("the command would run outside the session's directory")
}

const compiled = new WeakMap<ReadonlyArray<string>, ReadonlyArray<Glob.Glob>>()

const compile = (globs: ReadonlyArray<string>): ReadonlyArray<Glob.Glob> => {
  const known = compiled.get(globs)
  if (known !== undefined) return known
  const made = globs.map((glob) => Glob.make(glob, { dot: true }))
  compiled.set(globs, made)
  return made
}

const matchesGlob = (globs: ReadonlyArray<Glob.Glob>, { absolute, relative }: pathScope.View): boolean =>
  globs.some((glob) =>
    glob.pattern.startsWith("/")
      ? Glob.match(glob, absolute)
      : relative !== undefined && Glob.match(glob, relative)
  )

const pathMatches = (
  wanted: NonNullable<Condition["paths"]>,
  path: pathScope.PathFacts,
  sure: boolean
): Result["holds"] => {
  const { globs, scope } = wanted
  if (sure && !path.certain) return "no"
  if (scope === "inside" && !path.inside) {
    if (sure) return "no"
    if (!path.certain) return "unsure"
    // A rule that holds back also counts a path that only looks as if it were inside, or leads there.
    if (![path.lexical, ...path.real].some((view) => view.relative !== undefined)) return "no"
  }
  if (scope === "outside" && path.inside && (sure || path.lexical.relative !== undefined)) return "no"
  if (globs === undefined) return "yes"
  const tests = compile(globs)
  if (sure) return path.real.every((view) => matchesGlob(tests, view)) ? "yes" : "no"
  if ([path.lexical, ...path.real].some((view) => matchesGlob(tests, view))) return "yes"
  return path.certain ? "no" : "unsure"
}

const judgePaths = ({ subject, sure }: Judge, wanted: NonNullable<Condition["paths"]>): Result => {
  const paths = subject.facts.paths ?? []
  if (paths.length === 0) return no("it names no path")
  const what = wanted.globs === undefined ? wanted.scope : `${wanted.scope} and of ${wanted.globs.join(" ")}`
  let doubt: string | undefined
  for (const path of paths) {
    const holds = pathMatches(wanted, pathScope.judgeFor(subject, path), sure)
    if (sure && holds !== "yes") return no(`the path ${shown(path)} is not certainly ${what}`)
    if (!sure && holds === "yes") return yes
    if (holds === "unsure") doubt ??= path
  }
  if (sure) return yes
  return doubt === undefined ? no(`no path is ${what}`) : unsure(`the path ${shown(doubt)} is not read with certainty`)
}

const hostName = (host: string): string | undefined => {
  const name = host.toLowerCase().replace(/:[0-9]{1,5}$/, "").replace(/\.$/, "")
  return /^[a-z0-9_-]+(?:\.[a-z0-9_-]+)*$/.test(name) ? name : undefined
}

const hostMatches = (pattern: string, name: string): boolean =>
  pattern.startsWith("*.")
    ? name.endsWith(`.${hostName(pattern.slice(2)) ?? " "}`)
    : hostName(pattern) === name

const judgeHosts = ({ subject, sure }: Judge, wanted: ReadonlyArray<string>): Result => {
  const hosts = subject.facts.hosts ?? []
  if (hosts.length === 0) return no("it names no host")
  let doubt: string | undefined
  for (const host of hosts) {
    const name = hostName(host)
    const holds = name !== undefined && wanted.some((pattern) => hostMatches(pattern, name))
    if (sure && !holds) return no(`the host ${shown(host)} is none of ${wanted.join(", ")}`)
    if (!sure && holds) return yes
    if (name === undefined) doubt ??= host
  }
  if (sure) return yes
  return doubt === undefined
    ? no(`no host is one of ${wanted.join(", ")}`)
    : unsure(`the host ${shown(doubt)} is not read with certainty`)
}

const judgeAny = (judge: Judge, conditions: ReadonlyArray<Condition>, depth: number): Result => {
  let doubt: Result | undefined
  for (const condition of conditions) {
    const result = evaluate(condition, judge, depth)
    if (result.holds === "yes") return yes
    if (result.holds === "unsure") doubt ??= result
  }
  return doubt ?? no("none of the alternatives holds")
}

const judgeNot = (judge: Judge, condition: Condition, depth: number): Result => {
  // To be sure that something does not hold, it must be looked for in the broad sense, and the other way round.
  const result = evaluate(condition, { ...judge, sure: !judge.sure }, depth)
  if (result.holds === "unsure") return result
  return result.holds === "yes" ? no("what it excludes holds") : yes
}

const checks = (condition: Condition, judge: Judge, depth: number): ReadonlyArray<() => Result> => {
  const { subject } = judge
  const { any, argv, argvPrefix, hosts, kinds, maxDepth, minDepth, not, paths, tools } = condition
  const tool = subject.facts.tool
  const level = subject.agentPath?.length ?? 0
  const out: Array<() => Result> = []
  if (kinds !== undefined) {
    out.push(() =>
      kinds.includes(subject.kind) ? yes : no(`the kind ${shown(subject.kind)} is none of ${kinds.join(", ")}`)
    )
  }
  if (tools !== undefined) {
    out.push(() =>
      tool !== undefined && tools.includes(tool)
        ? yes
        : no(tool === undefined ? "it names no tool" : `the tool ${shown(tool)} is none of ${tools.join(", ")}`)
    )
  }
  if (minDepth !== undefined) {
    out.push(() => level >= minDepth ? yes : no(`the depth ${level} is below ${minDepth}`))
  }
  if (maxDepth !== undefined) {
    out.push(() => level <= maxDepth ? yes : no(`the depth ${level} is above ${maxDepth}`))
  }
  if (argvPrefix !== undefined) out.push(() => judgeArgv(judge, argvPrefix, false))
  if (argv !== undefined) out.push(() => judgeArgv(judge, argv, true))
  if (paths !== undefined) out.push(() => judgePaths(judge, paths))
  if (hosts !== undefined) out.push(() => judgeHosts(judge, hosts))
  if (any !== undefined) out.push(() => judgeAny(judge, any, depth + 1))
  if (not !== undefined) out.push(() => judgeNot(judge, not, depth + 1))
  return out
}

const evaluate = (condition: Condition, judge: Judge, depth: number): Result => {
  if (depth > maxDepth) return unsure("the condition is nested too deeply")
  let doubt: Result | undefined
  for (const check of checks(condition, judge, depth)) {
    const result = check()
    if (result.holds === "no") return result
    if (result.holds === "unsure") doubt ??= result
  }
  return doubt ?? yes
}

/** Whether `condition` holds, and if not, the first of its fields that does not. */
export const conditionResult = (condition: Condition, judge: Judge): Result => evaluate(condition, judge, 0)
