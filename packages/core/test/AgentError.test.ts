import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Schema } from "effect"
import * as AgentError from "../src/AgentError.ts"

const shared = {
  statusCode: 503,
  requestId: "req_1",
  resetAt: 1_800_000_000_000,
  retryAfter: 30_000,
  excerpt: "{\"error\":\"boom\"}",
  stderrTail: "first line\nlast line",
  description: "It said no."
}

const bare: ReadonlyArray<AgentError.AgentErrorReason> = [
  new AgentError.NotInstalled({ binary: "opencode", tried: ["/usr/bin", "/opt/bin"] }),
  new AgentError.UnsupportedVersion({ found: "0.9.0", supported: ">=1.0.0" }),
  new AgentError.SpawnFailed({ command: "opencode serve" }),
  new AgentError.StartTimeout({ command: "opencode serve", waited: 15_000 }),
  new AgentError.ProcessExited({ command: "opencode serve", code: 3 }),
  new AgentError.Unavailable({ target: "opencode", attempts: 4 }),
  new AgentError.HandshakeFailed({}),
  new AgentError.ConnectionLost({ target: "opencode" }),
  new AgentError.ProtocolError({ method: "session/prompt" }),
  new AgentError.AuthRequired({ provider: "anthropic", how: "`opencode auth login`" }),
  new AgentError.RateLimited({}),
  new AgentError.QuotaExceeded({}),
  new AgentError.BudgetExceeded({ limit: 5, spent: 5.2, unit: "USD" }),
  new AgentError.Overloaded({}),
  new AgentError.ContextOverflow({ limit: 200_000 }),
  new AgentError.ModelNotFound({ model: "gpt-9", available: ["a", "b"] }),
  new AgentError.InvalidRequest({ field: "messages.0" }),
  new AgentError.UpstreamFailed({}),
  new AgentError.UpstreamSilent({ silentFor: 90_000 }),
  new AgentError.TurnLost({}),
  new AgentError.SessionNotFound({ sessionId: "ses_1" }),
  new AgentError.SessionBusy({ holder: "process 12" }),
  new AgentError.Unsupported({ operation: "fork", provider: "acp" }),
  new AgentError.RequestNotOpen({ requestId: "per_1", settledBy: "another client", decision: "once" }),
  new AgentError.StoreFailed({ operation: "write the event log", path: "/var/reins" }),
  new AgentError.InvalidConfig({ file: "reins.json", issue: "port is not a number" })
]

const codec = Schema.toCodecJson(AgentError.AgentErrorReason)
const roundTrip = (reason: AgentError.AgentErrorReason) =>
  Effect.flatMap(
    Schema.encodeEffect(codec)(reason),
    (json) => Schema.decodeUnknownEffect(codec)(JSON.parse(JSON.stringify(json)))
  )

/** The reason with every shared fact, built from its JSON form. */
const withShared = (reason: AgentError.AgentErrorReason) =>
  Effect.flatMap(
    Schema.encodeEffect(codec)(reason),
    (json) => Schema.decodeUnknownEffect(codec)({ ...shared, ...Object(json) })
  )

const texts = (reason: AgentError.AgentErrorReason) => [reason.message, reason.advice]

describe("AgentErrorReason", () => {
  it("has an example for each member", () => {
    assert.deepStrictEqual(bare.length, AgentError.AgentErrorReason.members.length)
    assert.strictEqual(new Set(bare.map((reason) => reason._tag)).size, bare.length)
  })

  for (const reason of bare) {
    it.effect(`${reason._tag} survives JSON, bare and with all shared facts`, () =>
      Effect.gen(function*() {
        for (const example of [reason, yield* withShared(reason)]) {
          const back = yield* roundTrip(example)
          assert.strictEqual(back._tag, reason._tag)
          assert.deepStrictEqual(texts(back), texts(example))
          assert.deepStrictEqual(yield* Schema.encodeEffect(codec)(back), yield* Schema.encodeEffect(codec)(example))
        }
      }))

    it.effect(`${reason._tag} speaks in whole sentences`, () =>
      Effect.gen(function*() {
        for (const example of [reason, yield* withShared(reason)]) {
          for (const text of texts(example)) {
            assert.match(text, /^[A-Z"`].{15,}[^.]\.$/)
            assert.notInclude(text, "undefined")
            assert.notInclude(text, "[object")
            assert.notInclude(text, "NaN")
          }
        }
        assert.include((yield* withShared(reason)).message, "It said no.")
      }))
  }

  it("says something else for each reason", () => {
    assert.strictEqual(new Set(bare.map((reason) => reason.message)).size, bare.length)
    assert.strictEqual(new Set(bare.map((reason) => reason.advice)).size, bare.length)
  })

  it("is retryable where the same may succeed later", () => {
    assert.deepStrictEqual(bare.filter((reason) => reason.retryable).map((reason) => reason._tag), [
      "StartTimeout",
      "ProcessExited",
      "Unavailable",
      "ConnectionLost",
      "RateLimited",
      "Overloaded",
      "UpstreamFailed",
      "UpstreamSilent",
      "SessionBusy"
    ])
    const status = (statusCode: number) => new AgentError.UpstreamFailed({ statusCode }).retryable
    assert.deepStrictEqual([400, 403, 408, 500, 529].map(status), [false, false, true, true, true])
    assert.isFalse(new AgentError.UpstreamFailed({ statusCode: 500, transient: false }).retryable)
  })

  it("tells when to try again", () => {
    assert.include(new AgentError.RateLimited({ retryAfter: 30_000 }).advice, "in 30 seconds")
    assert.include(new AgentError.QuotaExceeded({ resetAt: 1_800_000_000_000 }).advice, "2027-01-15T08:00:00.000Z")
  })

  it("says why with the error underneath when there are no other words", () => {
    const reason = new AgentError.SpawnFailed({ command: "x", cause: new Error("spawn x EACCES\n  at here") })
    assert.strictEqual(reason.message, "The command \"x\" could not be started: spawn x EACCES at here.")
  })

  it("never shows a credential that is known by its form", () => {
    const key = ["sk", "ant", "api03", "Zk3v".repeat(8)].join("-")
    const reason = new AgentError.SpawnFailed({
      command: `agent --api-key ${key}`,
      description: `bad key ${key}`,
      stderrTail: `key ${key}`,
      excerpt: `{"apiKey":"${key}"}`
    })
    const error = AgentError.make(reason)
    assert.notInclude(error.message, key)
    assert.notInclude(JSON.stringify(AgentError.toInfo(error)), key)
    assert.notInclude(AgentError.render(error), key)
  })
})

describe("AgentError", () => {
  const limited = AgentError.make(new AgentError.RateLimited({ retryAfter: 5_000 }), { provider: "opencode" })

  it.effect("is handled by its reason", () =>
    Effect.gen(function*() {
      const outcome = yield* Effect.fail(limited).pipe(
        Effect.catchReason("AgentError", "RateLimited", (reason) => Effect.succeed(reason.retryAfter))
      )
      assert.strictEqual(outcome, 5_000)
      const other = yield* AgentError.fail(new AgentError.TurnLost({})).pipe(
        Effect.catchReason("AgentError", "RateLimited", () => Effect.succeed("handled")),
        Effect.flip
      )
      assert.strictEqual(other.reason._tag, "TurnLost")
    }))

  it("shows what its reason says", () => {
    assert.strictEqual(limited.message, limited.reason.message)
    assert.strictEqual(limited.advice, limited.reason.advice)
    assert.strictEqual(limited.retryAfter, 5_000)
    assert.isTrue(limited.retryable)
    assert.strictEqual(limited.cause, limited.reason)
  })

  it.effect("survives JSON", () =>
    Effect.gen(function*() {
      const schema = Schema.toCodecJson(AgentError.AgentError)
      const json = JSON.parse(JSON.stringify(yield* Schema.encodeEffect(schema)(limited)))
      const back = yield* Schema.decodeUnknownEffect(schema)(json)
      assert.instanceOf(back, AgentError.AgentError)
      assert.strictEqual(back.reason._tag, "RateLimited")
      assert.strictEqual(back.cause, back.reason)
      assert.strictEqual(back.provider, "opencode")
    }))

  it("takes the context it lacks, and keeps what it has", () => {
    const error = AgentError.withContext(limited, { provider: "other", sessionId: "ses_1" })
    assert.strictEqual(error.provider, "opencode")
    assert.strictEqual(error.sessionId, "ses_1")
  })
})

describe("ErrorInfo", () => {
  for (const reason of bare) {
    it.effect(`keeps the tag and the facts of ${reason._tag}`, () =>
      Effect.gen(function*() {
        for (const example of [reason, yield* withShared(reason)]) {
          const error = AgentError.make(example, { provider: "opencode", sessionId: "ses_9" })
          const info = AgentError.toInfo(error)
          assert.notInclude(Object.values(info), undefined)
          yield* Schema.decodeUnknownEffect(AgentError.ErrorInfo)(JSON.parse(JSON.stringify(info)))
          const back = AgentError.fromInfo(info)
          assert.strictEqual(back.reason._tag, reason._tag)
          assert.deepStrictEqual(
            yield* Schema.encodeEffect(codec)(back.reason),
            yield* Schema.encodeEffect(codec)(example)
          )
          assert.deepStrictEqual(AgentError.toInfo(back), info)
        }
      }))
  }

  it("becomes UpstreamFailed where the tag or its facts are not known", () => {
    const info = { message: "The moon is down.", advice: "Wait.", retryable: false, statusCode: 599 }
    for (const _tag of ["MoonDown", "NotInstalled"]) {
      const error = AgentError.fromInfo({ ...info, _tag })
      assert.strictEqual(error.reason._tag, "UpstreamFailed")
      assert.include(error.message, "The moon is down.")
      assert.isFalse(error.retryable)
      assert.strictEqual(error.reason.statusCode, 599)
    }
  })

  it("leaves out numbers that JSON cannot carry", () => {
    const info = AgentError.fromReason(new AgentError.RateLimited({ retryAfter: Number.NaN }))
    assert.notProperty(info, "retryAfter")
    assert.include(info.advice, "in a minute")
  })
})

describe("render", () => {
  const error = AgentError.make(
    new AgentError.ProcessExited({
      command: "opencode serve",
      code: 1,
      stderrTail: "one\ntwo\n",
      description: "it crashed",
      cause: new Error("outer", { cause: new Error("inner") })
    }),
    { provider: "opencode" }
  )

  it("shows the sentence, what is underneath, the advice and the last output", () => {
    assert.deepStrictEqual(AgentError.render(error).split("\n"), [
      "The process \"opencode serve\" ended with code 1 while it was in use: it crashed.",
      "  Where: provider opencode",
      "  Cause: outer",
      "  Cause: inner",
      `  What to do: ${error.advice}`,
      "  Last output of the agent:",
      "    one",
      "    two"
    ])
  })

  it("shows the plain JSON form in the same way", () => {
    const lines = AgentError.render(error).split("\n").filter((line) => !line.startsWith("  Cause:"))
    assert.deepStrictEqual(AgentError.render(AgentError.toInfo(error)).split("\n"), lines)
  })
})

describe("fromUnknown", () => {
  it("passes an AgentError through, also inside of a Cause", () => {
    const error = AgentError.make(new AgentError.TurnLost({}))
    assert.strictEqual(AgentError.fromUnknown(error), error)
    assert.strictEqual(AgentError.fromUnknown(Cause.fail(error)), error)
    assert.strictEqual(AgentError.fromUnknown(error.reason).reason, error.reason)
  })

  it("makes a ProtocolError of anything else", () => {
    for (const thrown of [new TypeError("x is not a function"), "broken", { code: 1 }, undefined, null]) {
      const error = AgentError.fromUnknown(thrown)
      assert.strictEqual(error.reason._tag, "ProtocolError")
      assert.notInclude(error.message, "undefined")
      assert.notInclude(error.message, "[object")
    }
    assert.include(AgentError.fromUnknown(new TypeError("x is not a function")).message, "x is not a function")
  })
})
