import { assert, describe, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"
import { existsSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { lexPlain, lexWords } from "../src/internal/commandLexer.ts"

const commands = 40_000

const random = (seed: number) => (): number => {
  seed = (seed + 0x6d2b79f5) | 0
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed)
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296
}

const mild = [
  "a",
  "b",
  "git",
  "status",
  "-n",
  "--x=y",
  "/",
  ".",
  "..",
  "1",
  "2",
  ":",
  ",",
  "@",
  "%",
  "+",
  "=",
  "-",
  "_",
  " ",
  " ",
  " ",
  " ",
  "  ",
  "'",
  "'",
  "\"",
  "\"",
  "''",
  "\"\"",
  "' '",
  "' b'",
  "\"a b\"",
  "'\"'",
  "\"'\"",
  "if",
  "zz"
]

const nasty = [
  ";",
  "&&",
  "||",
  "|",
  "&",
  "\n",
  "\t",
  "\r",
  "$",
  "$(",
  ")",
  "(",
  "`",
  "\\",
  "\\\\",
  "\\'",
  "\\\"",
  "<",
  ">",
  "<<",
  "2>",
  "*",
  "?",
  "[",
  "]",
  "{",
  "}",
  "{a,b}",
  "~",
  "#",
  " #",
  "!",
  "!!",
  "^",
  "=b",
  "A=b ",
  "a=~",
  "$'",
  "$\"",
  "${a}",
  "$a",
  "'$a'",
  "'`'",
  "'!'",
  "'#'",
  "'*'",
  "'\\'",
  "\"*\"",
  "\"#\"",
  "\"~\"",
  "\"(\"",
  "\";\"",
  "\"\\\"",
  "\"!\"",
  "\"$a\"",
  "if ",
  "then ",
  "time ",
  "eval ",
  ". ",
  "[[ ",
  "bash -c ",
  "sh -c '",
  "bash -lc \"",
  "fi",
  "\u0430",
  "\u00a0",
  "\u2028",
  "\u0000",
  "\u001b"
]

const generate = (next: () => number): string => {
  const harm = next() < 0.4 ? 0.25 : 0.02
  const length = 1 + Math.floor(next() * 12)
  let text = next() < 0.1 ? "bash -lc '" : ""
  const wrapped = text !== ""
  for (let i = 0; i < length; i++) {
    const from = next() < harm ? nasty : mild
    text += from[Math.floor(next() * from.length)] ?? ""
  }
  return wrapped && next() < 0.9 ? `${text}'` : text
}

/** Looked up here, because the shells themselves run with a `PATH` that finds nothing. */
const locate = (shell: string): string => {
  const found = (process.env["PATH"] ?? "").split(":").map((entry) => join(entry, shell)).find((path) =>
    existsSync(path)
  )
  assert.isDefined(found, `${shell} is needed by this test`)
  return found ?? shell
}

/** Runs the lines of a script, one command each, and gives the words that each command was called with. */
const run = (shell: string, env: Record<string, string>, lines: ReadonlyArray<string>) => {
  const directory = mkdtempSync(join(tmpdir(), "reins-lexer-"))
  try {
    const script = join(directory, "script")
    // Names that a glob would find, so that an expansion shows.
    const names = ["a", "aa", "ab", "b", "script", "zz"]
    for (const name of names) writeFileSync(join(directory, name), "")
    writeFileSync(script, `${lines.join("\n")}\n`)
    const result = spawnSync(locate(shell), [script], {
      cwd: directory,
      env: { LC_ALL: "C", HOME: "/home/elsewhere", ...env },
      input: "",
      encoding: "utf8",
      maxBuffer: 1 << 28,
      timeout: 60_000
    })
    assert.isUndefined(result.error, `${shell} did not run: ${String(result.error)}`)
    assert.deepStrictEqual(readdirSync(directory).sort(), names, `${shell} made a file`)
    const words = result.stdout.split("\0")
    const calls: Array<ReadonlyArray<string>> = []
    for (let at = 0; at < words.length - 1;) {
      const count = Number(words[at])
      calls.push(words.slice(at + 1, at + 1 + count))
      at += 1 + count
    }
    return { calls, stderr: result.stderr }
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

const compare = (
  what: string,
  texts: ReadonlyArray<string>,
  expected: (text: string) => ReadonlyArray<string> | undefined,
  got: { readonly calls: ReadonlyArray<ReadonlyArray<string>>; readonly stderr: string }
): void => {
  for (const [index, text] of texts.entries()) {
    assert.deepStrictEqual(
      got.calls[index],
      expected(text),
      `${what}, command ${JSON.stringify(text)}, ${got.stderr.slice(0, 200)}`
    )
  }
  assert.strictEqual(got.calls.length, texts.length, `${what}: a command ran something else`)
}

const show = "printf '%s\\0' \"$#\" \"$@\""

/** What puts a program's own name before its words. */
const ownName = "set -- \"${0##*/}\" \"$@\""

describe("commandLexer against real shells", () => {
  const seed = Number(process.env["REINS_SEED"] ?? Date.now() % 1_000_000_007)
  const next = random(seed)
  const all = new Set<string>()
  for (let i = 0; i < commands; i++) all.add(generate(next))
  const words = [...all].filter((text) => lexWords(text) !== undefined)
  const plain = words.filter((text) => lexPlain(text) !== undefined)
  const builtins = new Set(
    spawnSync("bash", ["-c", "compgen -b"], { encoding: "utf8" }).stdout.split("\n")
  )
  /** Whether a shell can look up the first word without running anything that exists. */
  const isHarmless = (text: string): boolean => {
    const first = lexWords(text)?.[0] ?? "/"
    return /^[A-Za-z0-9_]/.test(first) && !first.includes("/") && !builtins.has(first)
  }
  const byName = plain.filter(isHarmless)
  const wrapped = plain.flatMap((text) => {
    const [shell, option, script, ...rest] = lexWords(text) ?? []
    return shell === "bash" && option === "-lc" && script !== undefined && rest.length === 0
      ? [{ text, script }]
      : []
  }).filter(({ script }) => isHarmless(script))

  it("the sample is worth something", () => {
    assert.isAtLeast(all.size, 20_000, `seed ${seed}`)
    assert.isAtLeast(plain.length, 2000, `seed ${seed}`)
    assert.isAtLeast(byName.length, 1000, `seed ${seed}`)
    assert.isAtLeast(wrapped.length, 100, `seed ${seed}`)
  })

  for (const shell of ["bash", "dash"]) {
    it(`${shell} passes on the words that were read`, () => {
      const lines = [`p() { ${show}; }`, ...words.map((text) => `p ${text}`)]
      compare(`${shell}, seed ${seed}`, words, lexWords, run(shell, {}, lines))
    })
  }

  it("bash runs the program that was read, with those words", () => {
    const texts = byName.slice(0, 2500)
    const lines = [`command_not_found_handle() { ${show}; }`, ...texts]
    compare(`bash, seed ${seed}`, texts, lexWords, run("bash", { PATH: "/nonexistent" }, lines))
  })

  it("bash -c runs the program that was read, with those words", () => {
    const readAs = new Map(wrapped.slice(0, 1000).map(({ script, text }) => [script, lexPlain(text)]))
    const texts = [...readAs.keys()]
    const lines = [`command_not_found_handle() { ${show}; }`, ...texts]
    const expected = (text: string) => readAs.get(text)
    compare(`bash -c, seed ${seed}`, texts, expected, run("bash", { PATH: "/nonexistent" }, lines))
  })

  it("dash runs the program that was read, with those words", () => {
    const bin = mkdtempSync(join(tmpdir(), "reins-lexer-bin-"))
    try {
      const program = join(bin, ".program")
      writeFileSync(program, `#!${locate("dash")}\n${ownName}\n${show}\n`, { mode: 0o755 })
      const texts = byName.slice(0, 400)
      for (const name of new Set(texts.map((text) => lexWords(text)?.[0] ?? ""))) symlinkSync(program, join(bin, name))
      compare(`dash, seed ${seed}`, texts, lexWords, run("dash", { PATH: bin }, texts))
    } finally {
      rmSync(bin, { recursive: true, force: true })
    }
  })
})
