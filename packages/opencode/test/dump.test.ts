import { it } from "@effect/vitest"
import * as fs from "node:fs"
import { replay, signalsOf } from "./fixtures/replay.ts"
it("dump", () => {
  const out: Array<string> = []
  for (const f of fs.readdirSync(new URL("fixtures", import.meta.url)).filter((f) => f.endsWith(".jsonl"))) {
    const name = f.replace(".jsonl", "")
    out.push(`===== ${name}`)
    try {
      for (const s of signalsOf(name)) {
        const { native: _, ...r } = s as never as Record<string, unknown>
        out.push("  " + JSON.stringify(r).slice(0, 420))
      }
      const r = replay(
        name,
        name.startsWith("05") || name === "06f2-cut-midstream-forever"
          ? {
            interruptBefore: (x) =>
              JSON.stringify(x).includes("MessageAborted") ||
              (name.startsWith("06f2") && JSON.stringify(x).includes("completed"))
          }
          : {}
      )
      out.push(
        "  ENGINE " + r.events.filter((e) => e._tag !== "ItemDelta").map((e) =>
          e._tag +
          (e._tag === "Notice" ? `(${e.code})` : e._tag === "ItemCompleted" ? `(${e.item._tag}:${e.status})` : "")
        ).join(" ")
      )
      out.push(
        "  SETTLED " + JSON.stringify(r.settled.map((s) => [s.outcome, s.evidence.map((e) => e.source + ":" + e.fact)]))
      )
    } catch (e) {
      out.push("  FAIL " + String((e as Error).stack))
    }
  }
  fs.writeFileSync("/tmp/dump.txt", out.join("\n"))
})
