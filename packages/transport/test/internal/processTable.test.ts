import { assert, describe, it } from "@effect/vitest"
import type { ProcessRow } from "../../src/internal/processTable.ts"
import * as processTable from "../../src/internal/processTable.ts"

const stat = (pid: number, comm: string, state = "S") =>
  `${pid} (${comm}) ${state} 10 11 12 34816 99 4194304 1 2 3 4 5 6 7 8 20 0 1 0 777 1000 200 18446744073709551615`

const row = (pid: number, ppid: number, sid: number, startTime = pid): ProcessRow => ({
  pid,
  ppid,
  pgid: sid,
  sid,
  startTime
})

const tableOf = (...rows: ReadonlyArray<ProcessRow>) => new Map(rows.map((one) => [one.pid, one]))
const pids = (rows: ReadonlyArray<ProcessRow>) => rows.map((one) => one.pid).sort((a, b) => a - b)

// The host is 5, in the session 2 of a shell.
const shell = row(2, 1, 2)
const host = row(5, 2, 2)

describe("processTable", () => {
  it("reads a stat whose command holds parentheses, spaces, newlines and a false state", () => {
    for (const comm of ["node", "a b", "((sd-pam))", ") R 1 2 3 (", "x\n) Z 1", ""]) {
      assert.deepStrictEqual(processTable.parseStat(stat(42, comm)), {
        pid: 42,
        ppid: 10,
        pgid: 11,
        sid: 12,
        startTime: 777
      })
    }
  })

  it("takes zombies, dead and unreadable rows for nothing", () => {
    for (const text of [stat(42, "x", "Z"), stat(42, "x", "X"), "", "42", "42 (x", "42 (x) S 1 2"]) {
      assert.isUndefined(processTable.parseStat(text))
    }
  })

  it("reads the rows of ps, without zombies", () => {
    const rows = processTable.parsePs([
      "    1     0     1     1 Ss   Sat Nov 21 09:00:00 2026",
      "  770     1   770     0 Z    Sat Nov 21 10:00:00 2026",
      "  771     1   770 ffff8 S+   Sat Nov 21 10:00:01 2026",
      "nonsense"
    ].join("\n"))
    assert.deepStrictEqual(pids(rows), [1, 771])
    assert.deepStrictEqual(rows[1], {
      pid: 771,
      ppid: 1,
      pgid: 770,
      sid: 0,
      startTime: Date.parse("Sat Nov 21 10:00:01 2026")
    })
  })

  it("follows parents, and the sessions that members lead", () => {
    const table = tableOf(
      shell,
      host,
      row(100, 5, 100),
      row(101, 100, 101),
      row(102, 1, 101),
      row(103, 102, 103),
      row(200, 1, 200)
    )
    assert.deepStrictEqual(pids(processTable.membersOf(table, { pid: 100, startTime: 100 }, [], 5)), [101, 102, 103])
  })

  it("finds the orphans of a dead root by its session, and of dead members by theirs", () => {
    const table = tableOf(shell, host, row(150, 1, 100), row(151, 1, 101))
    const collected = [row(101, 100, 101)]
    assert.deepStrictEqual(pids(processTable.membersOf(table, { pid: 100, startTime: 100 }, collected, 5)), [150, 151])
  })

  it("knows an orphan by its session alone, and by its group alone", () => {
    const table = tableOf(shell, host, { ...row(150, 1, 100), pgid: 150 }, { ...row(151, 1, 101), sid: 7 })
    const collected = [row(101, 100, 101)]
    assert.deepStrictEqual(pids(processTable.membersOf(table, { pid: 100, startTime: 100 }, collected, 5)), [150, 151])
  })

  it("leaves alone who was given the pid, the session or the group of a dead one", () => {
    const reused = tableOf(
      shell,
      host,
      row(100, 1, 100, 9_000),
      row(150, 100, 100),
      row(101, 1, 101, 9_000),
      row(160, 101, 101)
    )
    const collected = [row(101, 100, 101)]
    assert.deepStrictEqual(processTable.membersOf(reused, { pid: 100, startTime: 100 }, collected, 5), [])
  })

  it("never takes the host, nor who only shares its session", () => {
    const table = tableOf(shell, host, row(6, 2, 2), row(100, 5, 2), row(101, 100, 2))
    assert.deepStrictEqual(pids(processTable.membersOf(table, { pid: 100, startTime: 100 }, [row(101, 100, 2)], 5)), [
      101
    ])
    assert.deepStrictEqual(pids(processTable.membersOf(table, { pid: 2, startTime: 2 }, [], 5)), [6])
  })
})
