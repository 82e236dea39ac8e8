import { assert, describe, it } from "@effect/vitest"
import { Redacted } from "effect"
import * as Redaction from "../src/Redaction.ts"

const R = Redaction.replacement
const patternsOnly = Redaction.make({ values: [] })

/** Has what each encoding treats differently: quotes, a backslash, URI characters, blanks, more than ASCII. */
const secrets = [
  "correct-horse",
  "hunter2!",
  "pä$$ \"w\\ö/rd?&=+#@",
  "line1\nline2\tend",
  "'();:%25[]{}<>|^`~*",
  "日本語のパスワード",
  "123456",
  "~~~???>>>"
]

const base64 = (text: string) => Buffer.from(text, "utf8").toString("base64")
const base64url = (text: string) => Buffer.from(text, "utf8").toString("base64url")
const hex = (text: string) => Buffer.from(text, "utf8").toString("hex")
const lowerHex = (text: string) => text.replace(/%[0-9A-F]{2}/g, (escape) => escape.toLowerCase())
const asUserInfo = (text: string) => {
  const url = new URL("https://u@host/")
  url.password = text
  return url.password
}
const ascii = (text: string) =>
  JSON.stringify(text).replace(/[^\x20-\x7e]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`)

const encodings: Record<string, (text: string) => string> = {
  "plain": (text) => text,
  "JSON": (text) => JSON.stringify(text).slice(1, -1),
  "JSON in ASCII": (text) => ascii(text).slice(1, -1),
  "JSON with escaped slashes": (text) => JSON.stringify(text).slice(1, -1).replaceAll("/", "\\/"),
  "JSON inside of JSON": (text) => JSON.stringify(JSON.stringify(text)).slice(3, -3),
  "encodeURIComponent": encodeURIComponent,
  "encodeURIComponent, lower": (text) => lowerHex(encodeURIComponent(text)),
  "encodeURI": encodeURI,
  "form": (text) => new URLSearchParams({ q: text }).toString().slice(2),
  "password of a URL": asUserInfo,
  "hex": hex,
  "HEX": (text) => hex(text).toUpperCase(),
  "base64": base64,
  "base64url": base64url,
  "base64, URI-encoded": (text) => encodeURIComponent(base64(text))
}

describe("known values", () => {
  for (const secret of secrets) {
    const redactor = Redaction.make({ values: [Redacted.make(secret)] })

    for (const [name, encode] of Object.entries(encodings)) {
      it(`finds ${JSON.stringify(secret)} as ${name}`, () => {
        const redacted = redactor.redact(`before ${encode(secret)} after`)
        assert.strictEqual(redacted.replace(/=+(?= )|(?:%3D)+(?= )/, ""), `before ${R} after`)
      })
    }

    for (const user of ["", "u", "ab", "opencode", "jürgen"]) {
      for (const after of ["", "\n", "xy"]) {
        it(`finds ${JSON.stringify(secret)} in Base64 after ${JSON.stringify(user)}, before ${JSON.stringify(after)}`, () => {
          for (const encode of [base64, base64url]) {
            const encoded = encode(`${user}:${secret}${after}`)
            // What is left are the digits that hold no bit of the secret.
            const bytes = Buffer.byteLength(`${user}:`)
            const left = encoded.slice(0, Math.floor(bytes * 8 / 6))
            const right = encoded.slice(Math.ceil((bytes + Buffer.byteLength(secret)) * 8 / 6))
            assert.strictEqual(redactor.redact(`x ${encoded} y`), `x ${left}${R}${right} y`)
          }
        })
      }
    }
  }

  it("does not look for values of fewer than six characters", () => {
    const redactor = Redaction.make({ values: ["abcde", "", "  abc  "] })
    assert.strictEqual(redactor.redact("abcde YWJjZGU= abc"), "abcde YWJjZGU= abc")
  })

  it("finds values that overlap, contain each other or follow each other", () => {
    const redactor = Redaction.make({ values: ["abcdefgh", "efghijkl", "cdefgh"] })
    assert.strictEqual(redactor.redact("<abcdefghijkl>"), `<${R}>`)
    assert.strictEqual(redactor.redact("<cdefgh abcdefgh>"), `<${R} ${R}>`)
  })

  it("knows a value without the line break at its end", () => {
    assert.strictEqual(Redaction.make({ values: ["from-a-file\n"] }).redact("=from-a-file="), `=${R}=`)
  })

  it("learns values", () => {
    const redactor = Redaction.make({ values: [] })
    assert.strictEqual(redactor.redact("the later-one"), "the later-one")
    redactor.add(Redacted.make("later-one"))
    assert.strictEqual(redactor.redact("the later-one"), `the ${R}`)
  })

  it("takes many long values", () => {
    const values = Array.from({ length: 200 }, (_, index) => `value-${index}-${"x".repeat(4000)}`)
    const redactor = Redaction.make({ values })
    assert.strictEqual(redactor.redact(`a ${values[123]} b ${base64(values[7] ?? "")}`), `a ${R} b ${R}`)
  })
})

const word = "Zk3vQ9xT".repeat(5)
const jwt = [base64url("{\"alg\":\"HS256\"}"), base64url("{\"sub\":\"1234567890\"}"), word].join(".")
const pem = (kind: string) => [`-----BEGIN ${kind}-----`, word, word, `-----END ${kind}-----`].join("\n")

/** Text, and the part of it that is secret. */
const planted: ReadonlyArray<readonly [text: string, secret: string]> = [
  ...[
    `sk-${word}`,
    `sk-ant-api03-${word}`,
    `sk-proj-${word}`,
    `ghp_${word.slice(0, 36)}`,
    `gho_${word.slice(0, 36)}`,
    `github_pat_${word}`,
    `AKIA${"QWERTYUIOP234567"}`,
    `AIza${word.slice(0, 35)}`,
    `xoxb-${word}`,
    jwt,
    pem("RSA PRIVATE KEY"),
    pem("OPENSSH PRIVATE KEY"),
    pem("PRIVATE KEY")
  ].flatMap((secret) => [
    [`before ${secret} after`, secret] as const,
    [JSON.stringify({ text: `line\n${secret}` }), JSON.stringify(secret).slice(1, -1)] as const,
    [`https://host/?q=%20${secret}`, secret] as const
  ]),
  ["Authorization: Bearer abcdef-short", "abcdef-short"],
  ["authorization: Bearer abcdefghij", "abcdefghij"],
  ["{\"Authorization\":\"Basic dXNlcjpwYXNz\"}", "Basic dXNlcjpwYXNz"],
  ["curl -H 'Authorization: Basic dXNlcjpwYXNz' x", "dXNlcjpwYXNz"],
  ["sent Basic dXNlcjpwYXNz to host", "dXNlcjpwYXNz"],
  ["sent bearer abc123def456 to host", "abc123def456"],
  ["x-api-key: abc123def456", "abc123def456"],
  ["OPENCODE_SERVER_PASSWORD=a b&c;d", "a b&c;d"],
  ["HOME=/root\nexport GITHUB_TOKEN=a'b;c d\nLANG=C", "a'b;c d"],
  ["https://host/path?x=1&token=abcdefgh&y=2", "abcdefgh"],
  ["next=https%3A%2F%2Fhost%3Ftoken%3Dabcdefgh end", "abcdefgh"],
  ["{\"password\":\"a\\\"b c\",\"x\":1}", "a\\\"b c"],
  ["{\"password\":\"ends with\\\\\",\"x\":1}", "ends with\\\\"],
  ["{\\\"password\\\":\\\"a\\\\\\\"b c\\\",\\\"x\\\":1}", "a\\\\\\\"b c"],
  ["{ apiKey: 'abc def', x: 1 }", "abc def"],
  ["{\"api_key\": \"abcdefgh\"}", "abcdefgh"],
  ["{\"refresh_token\":\"never closed", "never closed"],
  ["client_secret = \"abcdefgh\"", "abcdefgh"],
  ["AWS_SECRET_ACCESS_KEY=abc/def+ghi", "abc/def+ghi"],
  ["password: hunter", "hunter"],
  ["agent --password hunter --x", "hunter"],
  ["agent --api-token=abcdefgh --x", "abcdefgh"],
  ["clone https://user:p@ss:w@host/x", "p@ss:w"],
  [`clone https://${word}@host/x`, word]
]

const untouched = [
  "a task-management-system-for-teams and risk-assessment-of-everything",
  "Unexpected token: identifier",
  "max_tokens: 4096, tokens=12345678, \"inputTokens\":1234567",
  "{\"token\":null,\"password\":\"\"}",
  "PWD=/home/user/project\nOLDPWD=/home/user",
  "pwd: /home/user",
  "http://127.0.0.1:4096/session/ses_1?directory=/a@b",
  "ssh://git@host/repo.git",
  "basic understanding of bearer authentication",
  "https://host:8080/path",
  "the password is wrong; secrets are kept",
  "eyJhbGci is how it begins"
]

describe("patterns", () => {
  for (const [text, secret] of planted) {
    it(`redacts ${JSON.stringify(text.length > 90 ? `${text.slice(0, 90)}…` : text)}`, () => {
      assert.include(text, secret)
      assert.strictEqual(patternsOnly.redact(text), text.replace(secret, R))
    })
  }

  for (const text of untouched) {
    it(`leaves ${JSON.stringify(text)}`, () => assert.strictEqual(patternsOnly.redact(text), text))
  }

  it("changes nothing the second time", () => {
    for (const [text] of planted) {
      const once = patternsOnly.redact(text)
      assert.strictEqual(patternsOnly.redact(once), once)
    }
  })

  it("takes patterns of the caller, whatever their flags", () => {
    const redactor = Redaction.make({ values: [], patterns: [/corp-\d+/iy, /z*/] })
    assert.strictEqual(redactor.redact("a corp-1 b CORP-22"), `a ${R} b ${R}`)
  })

  // Work that grows with the square of a megabyte does not end within the limit of a test by orders of magnitude.
  const size = 1_000_000
  const fill = (unit: string) => unit.repeat(Math.ceil(size / unit.length))
  const adversarial = [
    "eyJ | eyJaaaaaaaa. | eyJaaaaaaaa.a  | sk- | ghp_ | xoxb- | AKIA | :// | ://a: | ://a:a | a:a@ | - | a |   | \n",
    "password | password= | password=\" | \\\"password\\\":\\\" | \\ | \" | token:  | --token  | -- | A_ | % | %3D | token%3A",
    "basic  | bearer  | authorization:  | -----BEGIN PRIVATE KEY----- | -----BEGIN  | -----BEGIN A"
  ].flatMap((units) => units.split(" | "))
  for (const unit of adversarial) {
    it(`is linear in a megabyte of ${JSON.stringify(unit)}`, () => {
      const text = fill(unit)
      assert.isAtMost(patternsOnly.redact(text).length, 3 * text.length)
      for (const before of ["eyJ", "password=\"", "://u:"]) {
        assert.isAtMost(patternsOnly.redact(before + text.slice(0, size / 4)).length, size)
      }
    })
  }

  it("is linear where known values share a long beginning", () => {
    const redactor = Redaction.make({ values: ["a".repeat(200) + "b", "a".repeat(199) + "c"] })
    const text = "a".repeat(size / 4)
    assert.strictEqual(redactor.redact(text), text)
  })
})

describe("redactJson", () => {
  const redactor = Redaction.make({ values: ["s3cret-value"] })

  it("redacts strings and keys, and leaves the rest as it is", () => {
    assert.deepStrictEqual(
      redactor.redactJson<unknown>({ "a s3cret-value": ["x s3cret-value y", 1, true, null, { deep: "s3cret-value" }] }),
      { [`a ${R}`]: [`x ${R} y`, 1, true, null, { deep: R }] }
    )
  })

  it("keeps the values of two keys that become the same", () => {
    assert.deepStrictEqual(
      redactor.redactJson<unknown>({ "s3cret-value": 1, "sk-": 0, [base64url("s3cret-value")]: 2 }),
      { [R]: 1, "sk-": 0, [`${R} 2`]: 2 }
    )
  })

  it("redacts what stands under the name of a secret", () => {
    assert.deepStrictEqual(
      redactor.redactJson<unknown>({
        env: { GITHUB_TOKEN: "abc", PWD: "/x", password: "p", token: 7 },
        headers: [{ name: "Authorization", value: "x y" }, { name: "accept", value: "*" }]
      }),
      {
        env: { GITHUB_TOKEN: R, PWD: "/x", password: R, token: 7 },
        headers: [{ name: "Authorization", value: R }, { name: "accept", value: "*" }]
      }
    )
  })

  it("keeps a key named __proto__ an own key", () => {
    const redacted = redactor.redactJson<unknown>(JSON.parse("{\"__proto__\":{\"a\":\"s3cret-value\"}}"))
    assert.strictEqual(JSON.stringify(redacted), `{"__proto__":{"a":"${R}"}}`)
  })

  it("ends in a value of any depth", () => {
    let value: unknown = "s3cret-value"
    for (let depth = 0; depth < 5000; depth++) value = [value]
    assert.notInclude(JSON.stringify(redactor.redactJson(value)), "s3cret")
  })
})

describe("makeTail", () => {
  const secret = "s3cret/välue?"
  const redactor = Redaction.make({ values: [secret] })

  const texts = [
    ...Object.values(encodings).map((encode) => `out ${encode(secret)} end`),
    ...planted.map(([text]) => text)
  ]
  for (const text of texts) {
    it(`redacts over the join of chunks: ${JSON.stringify(text.slice(0, 60))}`, () => {
      for (let at = 0; at <= text.length; at++) {
        const tail = Redaction.makeTail({ redactor })
        tail.push(text.slice(0, at))
        tail.push(text.slice(at))
        assert.strictEqual(tail.text(), redactor.redact(text))
      }
    })
  }

  it("never shows a part of a secret at its bound, however the text lies", () => {
    const value = "0123456789ABCDEFGHIJ"
    const redactor = Redaction.make({ values: [value] })
    for (let after = 0; after < 60; after++) {
      const tail = Redaction.makeTail({ redactor, maxChars: 40 })
      tail.push(`head ${value}${".".repeat(after)}`)
      assert.notMatch(tail.text(), /[0-9A-J]/)
      assert.isAtMost(tail.text().length, 40)
    }
  })

  /** Pushes filler, the text, filler; after each push nothing of the secret may be seen. */
  const stream = (text: string, needles: ReadonlyArray<string>, chunk: number, redactor: Redaction.Redactor) => {
    const tail = Redaction.makeTail({ redactor, maxChars: 2_000 })
    const all = `${"filler filler\n".repeat(900)}${text}\n${"more more\n".repeat(3_500)}`
    for (let at = 0; at < all.length; at += chunk) {
      tail.push(all.slice(at, at + chunk))
      const seen = tail.text()
      for (const needle of needles) assert.isFalse(seen.includes(needle), `at ${at}: ${seen.slice(0, 200)}`)
      assert.isAtMost(seen.length, 2_000)
    }
  }

  it("never shows the rest of a secret whose beginning was dropped", () => {
    const value = `starts-${Array.from({ length: 2_000 }, (_, index) => `part${index}`).join("-")}`
    const known = Redaction.make({ values: [value] })
    for (const chunk of [499, 5_003]) {
      stream(`x ${value} y`, ["part"], chunk, known)
      stream(
        `x ${base64(`user:${value}`)} y`,
        [base64(value).slice(400, 420), base64(`x${value}`).slice(400, 420)],
        chunk,
        known
      )
      stream(`{"password":"${value}"}`, ["part"], chunk, patternsOnly)
      stream(`MY_PASSWORD=${value} ${value}`, ["part"], chunk, patternsOnly)
    }
  })

  it("never shows the rest of a credential that is longer than all that is kept", () => {
    for (const chunk of [499, 4_096, 100_000]) {
      stream(
        `-----BEGIN PRIVATE KEY-----\n${`${word}\n`.repeat(1_500)}-----END PRIVATE KEY-----`,
        [word.slice(0, 16)],
        chunk,
        patternsOnly
      )
      stream(`{"password":"${word.repeat(1_500)}","x":1}`, [word.slice(0, 16)], chunk, patternsOnly)
      stream(`{"password":"a b"} `.repeat(3_000), ["a b"], chunk, patternsOnly)
    }
  })

  it("hides the beginning of a value whose rest has not come", () => {
    const value = "0123456789ABCDEFGHIJ"
    for (let length = 6; length <= value.length; length++) {
      const tail = Redaction.makeTail({ redactor: Redaction.make({ values: [value] }) })
      tail.push(`head ${value.slice(0, length)}`)
      assert.strictEqual(tail.text(), `head ${R}`)
    }
  })

  it("redacts what it holds already when a value is learnt later", () => {
    const late = Redaction.make({ values: [] })
    const tail = Redaction.makeTail({ redactor: late })
    tail.push(`${"x\n".repeat(20_000)}the late-value is here\n${"y\n".repeat(50)}`)
    assert.include(tail.text(), "the late-value is here")
    late.add("late-value")
    assert.notInclude(tail.text(), "late-value")
    tail.push("the late-value again\n")
    assert.include(tail.text(), `the ${R} again`)
  })

  it("keeps the last lines and characters", () => {
    const lines = Redaction.makeTail({ redactor, maxLines: 3 })
    for (let line = 1; line <= 50; line++) lines.push(`line ${line}\n`)
    assert.strictEqual(lines.text(), "line 48\nline 49\nline 50\n")
    const chars = Redaction.makeTail({ redactor, maxChars: 20 })
    for (let line = 1; line <= 50; line++) chars.push(`line ${line}\n`)
    assert.strictEqual(chars.text(), "line 49\nline 50\n")
    const long = Redaction.makeTail({ redactor, maxChars: 20 })
    long.push("ab".repeat(100_000))
    assert.strictEqual(long.text(), "ab".repeat(10))
  })

  it("keeps 16,384 characters and 200 lines unless told otherwise", () => {
    const tail = Redaction.makeTail({ redactor })
    for (let line = 0; line < 5_000; line++) tail.push("short\n")
    assert.strictEqual(tail.text(), "short\n".repeat(200))
    for (let line = 0; line < 50; line++) tail.push(`${"long ".repeat(200)}\n`)
    assert.isAtMost(tail.text().length, 16_384)
    assert.isAtLeast(tail.text().length, 15_000)
  })

  it("drops escape sequences of terminals, wherever a chunk ends", () => {
    const text =
      "a\u001b[1;31mred\u001b[0m \u001b]8;;http://x\u0007link\u001b]8;;\u001b\\ \u001b(Bb\r\nprogress 1\rprogress 2\u0008\n"
    for (let at = 0; at <= text.length; at++) {
      const tail = Redaction.makeTail({ redactor })
      tail.push(text.slice(0, at))
      tail.push(text.slice(at))
      assert.strictEqual(tail.text(), "ared link b\nprogress 1\nprogress 2\n")
    }
  })

  it("finds a secret with colours inside of it", () => {
    const tail = Redaction.makeTail({ redactor })
    tail.push(`x ${secret.slice(0, 4)}\u001b[32m${secret.slice(4)}\u001b[0m y`)
    assert.strictEqual(tail.text(), `x ${R} y`)
  })

  it("does not wait for ever for the end of an escape sequence", () => {
    const tail = Redaction.makeTail({ redactor })
    tail.push("\u001b]0;")
    for (let count = 0; count < 100; count++) tail.push("title ".repeat(20))
    assert.include(tail.text(), "title")
  })
})
