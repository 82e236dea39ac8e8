/**
 * What a host answers to an agent without asking a person: ordered rules as data, the first that matches decides.
 *
 * A policy decides only what an agent asks, by what the agent says about it. It is not a sandbox: an accepted program
 * does what it likes, and a link can change between the decision and the deed.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Glob from "effect/Glob"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { needsPerson, type RequestFacts, type RequestKind } from "./AgentRequest.ts"
import { type CommandFacts, conditionResult, readCommand, type Result, shown } from "./internal/condition.ts"
import * as pathScope from "./internal/pathScope.ts"

const optional = Schema.optionalKey

/**
 * What a policy says to a request; `ask` leaves it to a person.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Verdict = Schema.TaggedUnion({
  accept: {},
  /** Also accepts the same kind with the same command and directory, or the same path, for the rest of the session. */
  acceptForSession: {},
  decline: { reason: optional(Schema.String) },
  /** Declines and ends the turn. */
  cancel: {},
  ask: {}
})
/**
 * @category models
 * @since 0.1.0
 */
export type Verdict = typeof Verdict.Type

/**
 * When a rule applies: all fields that are present must hold, so `{}` always applies.
 *
 * A rule that accepts must be sure: every path and host of the request has to match, and a command or path that is not
 * read with certainty does not. A rule that declines, cancels or asks applies when any path or host matches; where it
 * cannot be ruled out because something is not read with certainty, the person is asked.
 *
 * @category models
 * @since 0.1.0
 */
export interface Condition {
  /** Any of these kinds, word for word. */
  readonly kinds?: ReadonlyArray<RequestKind>
  /** Any of these tool names, word for word. */
  readonly tools?: ReadonlyArray<string>
  /**
   * The command begins with any of these word lists; an empty one matches nothing. Only a single plain command is read,
   * `sh|bash -[l]c '…'` unwrapped. To accept, the command must run inside the session's directory, and one whose
   * program may run others (`sudo`, `xargs`, `find`, `npm`, `git -c …`) must equal the list as a whole. To decline,
   * cancel or ask, it is enough that such a command mentions the words.
   */
  readonly argvPrefix?: ReadonlyArray<ReadonlyArray<string>>
  /** The command is, as a whole, any of these word lists; otherwise like `argvPrefix`. */
  readonly argv?: ReadonlyArray<ReadonlyArray<string>>
  /**
   * Where the files are, seen from the session's directory; a request that names no path does not match. A glob that
   * begins with `/` is held against the absolute path, any other against the path below the directory; `*` also matches
   * names that begin with a dot.
   */
  readonly paths?: {
    readonly scope: "inside" | "outside" | "any"
    readonly globs?: ReadonlyArray<string>
  }
  /** Any of these host names; `*.example.com` stands for what is below `example.com`. Ports are not looked at. */
  readonly hosts?: ReadonlyArray<string>
  /** The depth of the subagent that asks: 0 for the agent itself. */
  readonly minDepth?: number
  readonly maxDepth?: number
  /** At least one of these applies. */
  readonly any?: ReadonlyArray<Condition>
  /** This does not apply. */
  readonly not?: Condition
}

const argvs = Schema.Array(Schema.Array(Schema.String))

/**
 * When a rule applies.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Condition: Schema.Codec<Condition> = Schema.Struct({
  kinds: optional(Schema.Array(Schema.String)),
  tools: optional(Schema.Array(Schema.String)),
  argvPrefix: optional(argvs),
  argv: optional(argvs),
  paths: optional(Schema.Struct({
    scope: Schema.Literals(["inside", "outside", "any"]),
    globs: optional(Schema.Array(Schema.String))
  })),
  hosts: optional(Schema.Array(Schema.String)),
  minDepth: optional(Schema.Number),
  maxDepth: optional(Schema.Number),
  any: optional(Schema.Array(Schema.suspend((): Schema.Codec<Condition> => Condition))),
  not: optional(Schema.suspend((): Schema.Codec<Condition> => Condition))
})

/**
 * One line of a policy. The name is what the event log shows.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Rule = Schema.Struct({
  name: optional(Schema.String),
  when: Condition,
  then: Verdict
})
/**
 * @category models
 * @since 0.1.0
 */
export type Rule = typeof Rule.Type

/**
 * Ordered rules, and what is said when none applies.
 *
 * @category schemas
 * @since 0.1.0
 */
export const ApprovalPolicy = Schema.Struct({
  name: optional(Schema.String),
  rules: Schema.Array(Rule),
  otherwise: Verdict
})
/**
 * @category models
 * @since 0.1.0
 */
export type ApprovalPolicy = typeof ApprovalPolicy.Type

/**
 * What a policy judges.
 *
 * @category models
 * @since 0.1.0
 */
export interface ApprovalSubject {
  readonly kind: RequestKind
  readonly facts: RequestFacts
  /** The session's directory, absolute: what `inside` means. */
  readonly cwd: string
  /** The chain of subagents that asks; absent or empty for the agent itself. */
  readonly agentPath?: ReadonlyArray<string>
  /**
   * Gives a path without symbolic links, `undefined` when nothing is there. Paths are then judged by what they lead
   * to; without it by their text alone, and a link that leaves the directory is not noticed. See `followLinks`.
   */
  readonly realPath?: (path: string) => string | undefined
}

/**
 * A verdict and what led to it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Decision {
  readonly verdict: Verdict
  /** The name of the rule, or `rules[i]`, or `otherwise`; absent when no policy may answer this kind. */
  readonly rule?: string
  /** One sentence for a person. */
  readonly why: string
}

/**
 * A policy of these rules; asks when none applies, unless told otherwise.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: {
  readonly name?: string
  readonly rules?: ReadonlyArray<Rule>
  readonly otherwise?: Verdict
}): ApprovalPolicy => ({
  ...(options.name === undefined ? undefined : { name: options.name }),
  rules: options.rules ?? [],
  otherwise: options.otherwise ?? { _tag: "ask" }
})

/**
 * The policy with these rules before its own.
 *
 * @category combinators
 * @since 0.1.0
 */
export const prepend = (policy: ApprovalPolicy, rules: ReadonlyArray<Rule>): ApprovalPolicy => ({
  ...policy,
  rules: [...rules, ...policy.rules]
})

/**
 * The rules of the first, then the second policy as it is; what the first said otherwise is dropped.
 *
 * @category combinators
 * @since 0.1.0
 */
export const concat = (first: ApprovalPolicy, second: ApprovalPolicy): ApprovalPolicy => prepend(second, first.rules)

/**
 * A condition that holds when at least one of these does.
 *
 * @category combinators
 * @since 0.1.0
 */
export const any = (conditions: ReadonlyArray<Condition>): Condition => ({ any: conditions })

/**
 * A condition that holds when this one does not; what is not certain stays so.
 *
 * @category combinators
 * @since 0.1.0
 */
export const not = (condition: Condition): Condition => ({ not: condition })

const reads: Rule = {
  name: "readInside",
  when: { kinds: ["read"], paths: { scope: "inside" } },
  then: { _tag: "accept" }
}

/**
 * Asks a person about everything.
 *
 * @category presets
 * @since 0.1.0
 */
export const askAlways: ApprovalPolicy = make({ name: "askAlways" })

/**
 * Accepts requests of kind `read` whose paths all lie in the session's directory, and asks about the rest. Commands are
 * asked about, also those that only read.
 *
 * @category presets
 * @since 0.1.0
 */
export const acceptReads: ApprovalPolicy = make({ name: "acceptReads", rules: [reads] })

/**
 * Accepts reads and edits whose paths all lie in the session's directory, and asks about the rest. An edit in `.git` is
 * asked about: hooks and settings there run as the user.
 *
 * @category presets
 * @since 0.1.0
 */
export const acceptEdits: ApprovalPolicy = make({
  name: "acceptEdits",
  rules: [
    reads,
    {
      name: "editGit",
      when: {
        kinds: ["edit"],
        paths: { scope: "inside", globs: ["**/.[gG][iI][tT]", "**/.[gG][iI][tT]/**"] }
      },
      then: { _tag: "ask" }
    },
    {
      name: "editInside",
      when: { kinds: ["edit"], paths: { scope: "inside" } },
      then: { _tag: "accept" }
    }
  ]
})

/**
 * Accepts everything that a policy may answer.
 *
 * @category presets
 * @since 0.1.0
 */
export const fullAccess: ApprovalPolicy = make({ name: "fullAccess", otherwise: { _tag: "accept" } })

/**
 * Declines everything that a policy may answer, and tells the agent why.
 *
 * @category presets
 * @since 0.1.0
 */
export const declineAll: ApprovalPolicy = make({
  name: "declineAll",
  otherwise: { _tag: "decline", reason: "This session declines every request for approval." }
})

/**
 * The presets by name, for a host that reads its policy from settings.
 *
 * @category presets
 * @since 0.1.0
 */
export const presets: {
  readonly askAlways: ApprovalPolicy
  readonly acceptReads: ApprovalPolicy
  readonly acceptEdits: ApprovalPolicy
  readonly fullAccess: ApprovalPolicy
  readonly declineAll: ApprovalPolicy
} = { askAlways, acceptReads, acceptEdits, fullAccess, declineAll }

/**
 * Whether a policy accepts whatever it may answer: an agent then need not ask at all.
 *
 * @category guards
 * @since 0.1.0
 */
export const acceptsAll = (policy: ApprovalPolicy): boolean =>
  policy.rules.length === 0 && policy.otherwise._tag === "accept"

const isAcceptance = (verdict: Verdict): boolean => verdict._tag === "accept" || verdict._tag === "acceptForSession"

const ruleName = (rule: Rule, index: number): string => rule.name ?? `rules[${index}]`

/** `log` takes one line for each rule that was looked at. */
const evaluate = (
  policy: ApprovalPolicy,
  subject: ApprovalSubject,
  log?: (line: string) => void
): Decision => {
  if (needsPerson(subject.kind)) {
    return { verdict: { _tag: "ask" }, why: `No policy answers a request of kind ${shown(subject.kind)} for a person.` }
  }
  const command = readCommand(subject)
  for (const [index, rule] of policy.rules.entries()) {
    const name = ruleName(rule, index)
    const accepting = isAcceptance(rule.then)
    const result: Result = conditionResult(rule.when, { subject, command, sure: accepting })
    log?.(`${name} (${rule.then._tag}): ${result.holds === "yes" ? "matched" : result.why}`)
    if (result.holds === "yes") {
      return { verdict: rule.then, rule: name, why: `Rule ${shown(name)} says ${rule.then._tag}.` }
    }
    if (result.holds === "unsure" && !accepting) {
      return {
        verdict: { _tag: "ask" },
        rule: name,
        why: `Rule ${shown(name)} says ${rule.then._tag} and cannot be ruled out: ${result.why}.`
      }
    }
  }
  return { verdict: policy.otherwise, rule: "otherwise", why: `No rule matched: otherwise ${policy.otherwise._tag}.` }
}

/**
 * Decides by the first rule that applies. Never throws: where judging fails, the person is asked. Kinds that need a
 * person are always asked, whatever the policy says.
 *
 * @category deciding
 * @since 0.1.0
 */
export const decide = (policy: ApprovalPolicy, subject: ApprovalSubject): Decision => {
  try {
    return evaluate(policy, subject)
  } catch {
    return { verdict: { _tag: "ask" }, why: "The policy could not be applied to this request." }
  }
}

/**
 * The way to the decision, for people: for each rule that was looked at, that it matched or what did not hold, and the
 * decision as the last line.
 *
 * @category deciding
 * @since 0.1.0
 */
export const explain = (policy: ApprovalPolicy, subject: ApprovalSubject): ReadonlyArray<string> => {
  const lines: Array<string> = []
  try {
    const decision = evaluate(policy, subject, (line) => lines.push(line))
    lines.push(`${decision.verdict._tag}: ${decision.why}`)
  } catch {
    lines.push("ask: The policy could not be applied to this request.")
  }
  return lines
}

/** The same text for the same value, whatever the order of its keys. */
const stable = (value: unknown): string =>
  JSON.stringify(value, (_, inner: unknown) =>
    typeof inner === "object" && inner !== null && !Array.isArray(inner)
      // Pairs, and not an object: there the order of numeric keys and `__proto__` would be special.
      ? { "": Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, entry]) => [key, entry]) }
      : inner)

const commandIdentity = (subject: ApprovalSubject, command: CommandFacts): unknown =>
  command.argv === undefined
    ? { text: subject.facts.command, words: subject.facts.argv }
    : { argv: command.argv }

/** Kinds that say themselves what is done to a path. */
const pathKinds: ReadonlySet<string> = new Set(["read", "edit", "externalDirectory"])

/**
 * What `acceptForSession` pins: the kind with the same argv and directory, or with the same paths, or with the same tool
 * and input. `undefined` when the request names nothing that could be recognised, or its kind needs a person.
 *
 * @category grants
 * @since 0.1.0
 */
export const grantKey = (subject: ApprovalSubject): string | undefined => {
  const { facts, kind } = subject
  if (needsPerson(kind)) return undefined
  try {
    const base = pathScope.resolve(subject.cwd, facts.cwd ?? "")
    const paths = facts.paths === undefined || facts.paths.length === 0
      ? undefined
      : facts.paths.map((path) => pathScope.resolve(base, path)).sort()
    const hosts = facts.hosts === undefined || facts.hosts.length === 0 ? undefined : [...facts.hosts].sort()
    const command = readCommand(subject)
    if (command.present) return stable([kind, commandIdentity(subject, command), base, paths, hosts])
    if (paths !== undefined && pathKinds.has(kind)) return stable([kind, "paths", paths])
    if (paths === undefined && hosts === undefined && facts.url === undefined && facts.input === undefined) {
      return undefined
    }
    return stable([kind, "tool", facts.tool, facts.input, paths, hosts, facts.url])
  } catch {
    return undefined
  }
}

const suggested = (subject: ApprovalSubject): Rule | undefined => {
  const { facts, kind } = subject
  const command = readCommand(subject)
  if (command.present) {
    return command.argv === undefined ? undefined : {
      name: `${kind}: ${command.argv.join(" ")}`,
      when: { kinds: [kind], argv: [command.argv] },
      then: { _tag: "accept" }
    }
  }
  if (!pathKinds.has(kind) || facts.paths === undefined || facts.paths.length === 0) return undefined
  const judged = facts.paths.map((path) => pathScope.judgeFor(subject, path))
  const inside = judged.every((path) => path.inside)
  const globs = judged.flatMap((path) =>
    path.real.map((view) => Glob.escape(inside ? view.relative ?? view.absolute : view.absolute))
  )
  return {
    name: `${kind}: ${globs.join(" ")}`,
    when: { kinds: [kind], paths: { scope: inside ? "inside" : "any", globs } },
    then: { _tag: "accept" }
  }
}

/**
 * A rule that accepts exactly this request from now on, for the host to store: the whole argv of a plain command, or the
 * paths of a read or an edit. `undefined` where the request is not read with certainty.
 *
 * @category grants
 * @since 0.1.0
 */
export const suggestedRule = (subject: ApprovalSubject): Rule | undefined => {
  if (needsPerson(subject.kind)) return undefined
  try {
    const rule = suggested(subject)
    // Offered only if it does what it says.
    return rule !== undefined && isAcceptance(evaluate(make({ rules: [rule] }), subject).verdict) ? rule : undefined
  } catch {
    return undefined
  }
}

/**
 * Makes an `ApprovalSubject.realPath` from a function that reads one link: it gives the target as it is stored, and
 * `undefined` for what is no link or is not there. Unlike `realpath`, a link to nothing is followed too, because a file
 * can be made through it. At most 40 links are followed.
 *
 * @category constructors
 * @since 0.1.0
 */
export const followLinks: (
  readLink: (path: string) => string | undefined
) => (path: string) => string | undefined = pathScope.followLinks

/**
 * The policy of the sessions that are opened here; `askAlways` where a host gives none.
 *
 * @category services
 * @since 0.1.0
 */
export const Current: Context.Reference<ApprovalPolicy> = Context.Reference<ApprovalPolicy>(
  "@reins/core/ApprovalPolicy/Current",
  { defaultValue: () => askAlways }
)

/**
 * Gives sessions this policy.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (policy: ApprovalPolicy): Layer.Layer<never> => Layer.succeed(Current, policy)
