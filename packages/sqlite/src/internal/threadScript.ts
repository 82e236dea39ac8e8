/**
 * What runs in the thread of a database, as text: a host that is bundled into one file still has it, while a module of
 * its own would be missing there.
 *
 * It takes requests in order and answers each, with whether a transaction is open then. Nothing else runs in it.
 */
export const threadScript = `"use strict"
const { parentPort, workerData } = require("node:worker_threads")
const { DatabaseSync } = require("node:sqlite")

const told = (cause) => ({
  message: cause instanceof Error ? cause.message : String(cause),
  code: cause?.code,
  errcode: cause?.errcode,
  errstr: cause?.errstr
})

let db
try {
  db = new DatabaseSync(workerData.filename, { readOnly: workerData.readonly, timeout: 0 })
  parentPort.postMessage({ result: undefined, isTransaction: false })
} catch (cause) {
  parentPort.postMessage({ error: told(cause), isTransaction: false })
  parentPort.close()
}

const statements = new Map()

const prepare = (sql) => {
  const statement = db.prepare(sql)
  // Asked for always: a number that does not fit would be an error otherwise, in the middle of a result.
  statement.setReadBigInts(true)
  return statement
}

/** Statements are kept prepared; the one that was used longest ago leaves. */
const prepared = (sql) => {
  const known = statements.get(sql)
  statements.delete(sql)
  const statement = known ?? prepare(sql)
  statements.set(sql, statement)
  if (statements.size > workerData.kept) statements.delete(statements.keys().next().value)
  return statement
}

/** Integers beyond what a number holds come as bigint when they are asked for, else as the nearest number. */
const plain = (row) => {
  for (const name in row) {
    if (typeof row[name] === "bigint") row[name] = Number(row[name])
  }
  return row
}

parentPort.on("message", ({ sql, params, keep, exact, raw }) => {
  if (sql === undefined) {
    try {
      db.close()
    } finally {
      parentPort.close()
    }
    return
  }
  try {
    const statement = keep ? prepared(sql) : prepare(sql)
    let result
    if (statement.columns().length > 0) {
      result = statement.all(...params)
      if (!exact) for (const row of result) plain(row)
    } else {
      const changed = statement.run(...params)
      result = raw ? changed : []
    }
    parentPort.postMessage({ result, isTransaction: db.isTransaction })
  } catch (cause) {
    parentPort.postMessage({ error: told(cause), isTransaction: db.isTransaction })
  }
})
`
