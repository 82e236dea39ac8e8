/** Plays the conversations of a tape to sessions, in step with what their hosts do. */
import * as AgentError from "@reins/core/AgentError"
import { plainText } from "@reins/core/Prompt"
import type { Connection, ConnectOptions } from "@reins/core/Provider"
import type { Signal, Snapshot, SnapshotRequest } from "@reins/core/Signal"
import * as Arr from "effect/Array"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type { Json } from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { TapeConversation, TapePlay, TapeReader, TapeStep } from "../TapeProvider.ts"

type Step<Tag extends TapeStep["_tag"]> = Extract<TapeStep, { readonly _tag: Tag }>

/** Notices that wait for the session. */
const maxNotices = 64

const lost = (): AgentError.AgentError =>
  AgentError.make(
    new AgentError.ConnectionLost({ target: "a wire tape", description: "The connection to the tape ended." })
  )

/** A conversation and how far it was played; it outlives connections. */
class Playing {
  readonly conversation: TapeConversation
  readonly play: TapePlay
  readonly #submitted: ReadonlyArray<Step<"submitted">>
  readonly #answered: ReadonlyArray<Step<"answered">>
  readonly #interrupted: ReadonlyArray<Step<"interrupted">>
  readonly #returning: ReadonlySet<number>
  /** The prompts of the tape: the n-th of the host stands for the n-th of them. */
  readonly #keys: ReadonlyArray<string>
  readonly #toLive = new Map<string, string>()
  readonly #toTape = new Map<string, string>()
  /** What the host did: the calls of the tape that this stands for. */
  readonly #made = new Set<number>()
  readonly #returned = new Map<number, Step<"returned">>()
  readonly #attempts = new Map<string, number>()
  #interrupts = 0
  notices: Array<Signal> = []
  position = 0
  connection = 0
  /** Completes when the host did something, or the tape passed the end of a call. */
  #changed = Deferred.makeUnsafe<void>()

  constructor(conversation: TapeConversation) {
    this.conversation = conversation
    this.play = conversation.play()
    const { steps } = conversation
    const of = <Tag extends TapeStep["_tag"]>(tag: Tag) => steps.filter((step): step is Step<Tag> => step._tag === tag)
    this.#submitted = of("submitted")
    this.#answered = of("answered")
    this.#interrupted = of("interrupted")
    this.#returning = new Set(of("returned").map((step) => step.call))
    this.#keys = [...new Set(this.#submitted.map((step) => step.key))]
  }

  readonly changed = Effect.suspend(() => Deferred.await(this.#changed))

  change(): void {
    const waiting = this.#changed
    this.#changed = Deferred.makeUnsafe()
    Deferred.doneUnsafe(waiting, Effect.void)
  }

  diverge(text: string): void {
    if (this.notices.length >= maxNotices) return
    this.notices.push({ _tag: "notice", level: "warning", code: "tapeDiverged", text })
    this.change()
  }

  /** Whether the host did what the frames after this step come from. */
  isDue(step: TapeStep): boolean {
    return "call" in step && step._tag !== "returned" ? this.#made.has(step.call) : true
  }

  pass(step: Step<"returned">): void {
    this.#returned.set(step.call, step)
    this.change()
  }

  /** Waits until the tape has passed the end of a call of the host. */
  returned(
    step: { readonly call: number } | undefined
  ): Effect.Effect<Step<"returned"> | undefined, AgentError.AgentError> {
    const { connection } = this
    return Effect.gen({ self: this }, function*() {
      if (step === undefined) return undefined
      this.#made.add(step.call)
      this.change()
      while (this.#returning.has(step.call)) {
        const returned = this.#returned.get(step.call)
        if (returned !== undefined) return returned.error === undefined ? returned : yield* returned.error
        if (this.connection !== connection) return yield* lost()
        yield* this.changed
      }
      return undefined
    })
  }

  /** A signal of the tape in the keys of the host. */
  live<S extends Signal>(signal: S): S {
    const turn = signal.turn === undefined ? undefined : this.#toLive.get(signal.turn)
    const key = signal._tag === "prompt" ? this.#toLive.get(signal.key) : undefined
    const prompt = signal._tag === "turnStarted" && signal.prompt !== undefined
      ? this.#toLive.get(signal.prompt)
      : undefined
    if (turn === undefined && key === undefined && prompt === undefined) return signal
    return {
      ...signal,
      ...(turn === undefined ? undefined : { turn }),
      ...(key === undefined ? undefined : { key }),
      ...(prompt === undefined ? undefined : { prompt })
    }
  }

  readonly submit: Connection["submit"] = (submission) =>
    Effect.suspend(() => {
      const key = this.#toTape.get(submission.key) ?? this.#keys[this.#toTape.size]
      if (key === undefined) {
        return AgentError.fail(
          new AgentError.InvalidRequest({
            field: "prompt",
            description: `the tape holds ${this.#keys.length} prompts of this conversation, and this is one more`
          })
        )
      }
      this.#toTape.set(submission.key, key)
      this.#toLive.set(key, submission.key)
      const attempt = this.#attempts.get(key) ?? 0
      this.#attempts.set(key, attempt + 1)
      const step = this.#submitted.filter((step) => step.key === key)[attempt]
      if (step?.text !== undefined && step.text !== plainText(submission.input)) {
        this.diverge(`The prompt is another than on the tape, which has: ${step.text.slice(0, 200)}`)
      }
      return Effect.asVoid(this.returned(step))
    })

  readonly settle: Connection["settle"] = (request, answer) =>
    Effect.suspend(() => {
      this.play.answered?.(request.key)
      const step = this.#answered.find((step) => step.request === request.key)
      const word = answer._tag === "acceptForSession" ? "accept" : answer._tag
      if (step === undefined) this.diverge(`The request "${request.subject}" was not answered on the tape.`)
      else if (!step.as.includes(word)) {
        this.diverge(`The request "${request.subject}" was answered otherwise on the tape: ${step.as.join(", ")}.`)
      }
      return Effect.map(this.returned(step), (returned) => returned?.gone === true ? "gone" : "delivered")
    })

  readonly interrupt: Connection["interrupt"] = Effect.suspend(() => {
    const step = this.#interrupted[this.#interrupts++]
    if (step === undefined) this.diverge("The turn was not interrupted on the tape, which goes on.")
    return Effect.asVoid(this.returned(step))
  })

  snapshot(request: SnapshotRequest): Snapshot {
    const tape = (key: string) => this.#toTape.get(key) ?? key
    const live = (key: string) => this.#toLive.get(key) ?? key
    const read = this.play.snapshot({ prompts: request.prompts.map(tape), turns: request.turns.map(tape) })
    // A prompt that was sent for the last time is there, however far the tape was played.
    const isComing = (key: string) => {
      const made = this.#attempts.get(key) ?? 0
      return made > 0 && made >= this.#submitted.filter((step) => step.key === key).length
    }
    return {
      ...read,
      prompts: Object.fromEntries(
        Object.entries(read.prompts).map(([key, fate]) =>
          [live(key), fate === "absent" && isComing(key) ? "held" : fate] as const
        )
      ),
      turns: Object.fromEntries(Object.entries(read.turns).map(([key, verdict]) => [live(key), verdict])),
      signals: read.signals.map((signal) => this.live(signal)),
      requests: read.requests.map((signal) => this.live(signal))
    }
  }
}

/**
 * The signals of one connection. The tape is played as the session takes them, so what a snapshot says is never ahead of
 * what was told.
 */
const signals = (playing: Playing, speed: number): Stream.Stream<Signal, AgentError.AgentError> => {
  const { steps } = playing.conversation
  const begin = Effect.map(Clock.currentTimeMillis, (now) => {
    let from = steps[playing.position - 1]?.t ?? 0
    let since = now

    /** Waits until a step is due; tells whether the host kept it waiting. */
    const due = Effect.fnUntraced(function*(step: TapeStep) {
      if (speed > 0) {
        const wait = since + (step.t - from) / speed - (yield* Clock.currentTimeMillis)
        if (wait > 0) yield* Effect.sleep(wait)
      } else yield* Effect.yieldNow
      if (playing.isDue(step)) return
      while (!playing.isDue(step) && playing.notices.length === 0) yield* playing.changed
      from = step.t
      since = yield* Clock.currentTimeMillis
    })

    return Effect.gen(function*() {
      for (;;) {
        const { notices } = playing
        if (Arr.isArrayNonEmpty(notices)) {
          playing.notices = []
          return notices
        }
        const step = steps[playing.position]
        if (step === undefined) {
          // An agent that has nothing more to say is silent.
          yield* playing.changed
          continue
        }
        yield* due(step)
        if (!playing.isDue(step)) continue
        playing.position++
        if (step._tag === "returned") playing.pass(step)
        if (step._tag === "lost") return yield* step.error
        if (step._tag !== "received") continue
        const told = playing.play.receive(step.frames).map((signal) => playing.live(signal))
        if (Arr.isArrayNonEmpty(told)) return told
      }
    })
  })
  return Stream.fromPull(begin)
}

const same = (one: Json, other: Json): boolean => JSON.stringify(one) === JSON.stringify(other)

/** Connects sessions to the conversations of one tape. */
export const make = (
  reader: TapeReader,
  conversations: ReadonlyArray<TapeConversation>,
  speed: number
): (options: ConnectOptions) => Effect.Effect<Connection, AgentError.AgentError, Scope.Scope> => {
  const all: Array<Playing> = []

  const find = ({ cursor }: ConnectOptions): Playing | undefined => {
    const known = cursor === undefined ? undefined : all.find((one) => same(one.conversation.cursor, cursor))
    if (known !== undefined) return known
    const next = conversations.find((one) =>
      all.every((playing) => playing.conversation !== one) && (cursor === undefined || same(one.cursor, cursor))
    )
    if (next === undefined) return undefined
    const playing = new Playing(next)
    all.push(playing)
    return playing
  }

  return Effect.fnUntraced(function*(options) {
    const playing = find(options)
    if (playing === undefined) {
      return yield* AgentError.make(
        options.cursor === undefined
          ? new AgentError.InvalidRequest({
            field: "tape",
            description: `the tape holds ${conversations.length} conversations, and all of them are played`
          })
          : new AgentError.SessionNotFound({
            sessionId: options.sessionId,
            description: "The tape does not hold this conversation."
          })
      )
    }
    const first = playing.connection === 0
    const step = playing.conversation.steps[playing.position]
    if (step?._tag === "connected") playing.position++
    playing.play.connect(first ? playing.conversation.known : step?._tag === "connected" ? step.known : undefined)
    const connection = ++playing.connection
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        if (playing.connection === connection) playing.connection++
        playing.change()
      })
    )
    return {
      how: first ? playing.conversation.how : { _tag: "resumed" },
      cursor: playing.conversation.cursor,
      signals: signals(playing, speed),
      submit: playing.submit,
      ...(reader.capabilities.steer ? { steer: playing.submit } : undefined),
      interrupt: playing.interrupt,
      settle: playing.settle,
      snapshot: (request) => Effect.sync(() => playing.snapshot(request)),
      configure: () => Effect.void
    }
  })
}
