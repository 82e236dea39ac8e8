// Completes package-lock.json after `npm install`: an optional package for another platform that the registry at hand
// does not carry is left out by npm, and `npm ci` then refuses the lock. Run it whenever dependencies change.
import { readFileSync, writeFileSync } from "node:fs"

const file = new URL("../package-lock.json", import.meta.url)
const lock = JSON.parse(readFileSync(file, "utf8"))

const first = (name, table, otherwise) => table.find(([pattern]) => pattern.test(name))?.[1] ?? otherwise

const os = (name) =>
  first(name, [
    [/android/, "android"],
    [/darwin/, "darwin"],
    [/win32|windows/, "win32"],
    [/freebsd/, "freebsd"],
    [/openharmony/, "openharmony"]
  ], "linux")

const cpu = (name) =>
  first(name, [
    [/arm64/, "arm64"],
    [/x64/, "x64"],
    [/ia32/, "ia32"],
    [/loong64/, "loong64"],
    [/ppc64/, "ppc64"],
    [/riscv64/, "riscv64"],
    [/s390x/, "s390x"]
  ], "arm")

const libc = (name) => first(name, [[/musl/, "musl"], [/-(gnu|glibc)/, "glibc"]], undefined)

let added = 0
for (const pkg of Object.values(lock.packages)) {
  for (const [name, version] of Object.entries(pkg.optionalDependencies ?? {})) {
    const key = `node_modules/${name}`
    if (lock.packages[key] !== undefined || !/^\d/.test(version)) continue
    lock.packages[key] = {
      version,
      cpu: [cpu(name)],
      ...(pkg.dev ? { dev: true } : {}),
      ...(libc(name) === undefined ? {} : { libc: [libc(name)] }),
      license: pkg.license,
      optional: true,
      os: [os(name)]
    }
    added++
  }
}
lock.packages = Object.fromEntries(Object.entries(lock.packages).sort(([a], [b]) => a < b ? -1 : a > b ? 1 : 0))
writeFileSync(file, `${JSON.stringify(lock, null, 2)}\n`)
console.log(`${added} packages added to package-lock.json`)
