/**
 * Reads a command line only where every POSIX shell would read it the same way.
 *
 * A whitelist, not a parser: what is not known to be literal makes the whole command unread (`undefined`). What is read
 * is what `sh` and `bash` would pass to the program, which a fuzz test holds against both.
 */

/** Longer commands are not read: nobody writes a rule for them, and the work stays bounded. */
const maxLength = 16_384

const bare = /[A-Za-z0-9_./,:@%+=-]/

const printable = /^[\x20-\x7e]*$/

/** No leading `-` (zsh's modifier), `+`, `%` (a job) or `=` (zsh's path lookup), and no assignment. */
const program = /^[A-Za-z0-9_./][A-Za-z0-9_./+,:@-]*$/

const words = (text: string): ReadonlySet<string> => new Set(text.trim().split(/\s+/))

/** Words that open a construct in `sh`, `bash`, `zsh`, `ksh` or `fish`. */
const reserved = words(`
  if then else elif fi case esac for select while until do done in function time coproc
  foreach end repeat always nocorrect noglob namespace begin and or not switch
`)

/**
 * Builtins that run their arguments, evaluate them (`unset 'a[$(id)]'` runs `id`), or change what later words mean.
 * None of them is a program of its own, so a rule for one would promise what it cannot hold.
 */
const builtins = words(`
  . eval exec source command builtin trap alias unalias let declare typeset local export readonly unset read mapfile
  readarray getopts wait compgen complete compopt bind fc hash enable jobs set shopt history exit return break continue
  logout pushd popd dirs disown suspend bg fg times caller shift
  zmodload autoload functions emulate print vared zle zstyle sched zparseopts float integer setopt unsetopt whence
  where rehash bindkey zcompile limit unlimit
`)

/** The shells whose `-c` is read a second time. */
const wrappers = words("sh bash /bin/sh /bin/bash /usr/bin/sh /usr/bin/bash")

const shells = words("sh bash dash ash zsh ksh ksh93 mksh pdksh yash posh rbash fish csh tcsh nu xonsh elvish pwsh")

/**
 * The words of a command line, `undefined` where one is not literal. Says nothing yet about the first word.
 *
 * Bare words hold characters that mean nothing to any shell, single quotes hold all but `\'` and `\\` (which `fish`
 * reads differently), double quotes hold all but `$`, a backtick, `\` and `!`. Words are parted by spaces only.
 */
export const lexWords = (command: string): ReadonlyArray<string> | undefined => {
  if (command.length > maxLength || !printable.test(command)) return undefined
  const out: Array<string> = []
  let word: string | undefined
  let at = 0
  while (at < command.length) {
    const char = command.charAt(at)
    if (char === " ") {
      if (word !== undefined) out.push(word)
      word = undefined
      at++
    } else if (char === "'" || char === "\"") {
      const end = command.indexOf(char, at + 1)
      if (end < 0) return undefined
      const inner = command.slice(at + 1, end)
      if (char === "'" ? /\\(?:\\|$)/.test(inner) : /[$`\\!]/.test(inner)) return undefined
      word = (word ?? "") + inner
      at = end + 1
    } else if (bare.test(char) && !(char === "=" && word === undefined)) {
      word = (word ?? "") + char
      at++
    } else {
      return undefined
    }
  }
  if (word !== undefined) out.push(word)
  return out.length === 0 ? undefined : out
}

/** Whether the first word can only be the name of a program (or of a harmless builtin such as `echo`). */
const startsPlain = (argv: ReadonlyArray<string>): boolean => {
  const first = argv[0]
  return first !== undefined && program.test(first) && !reserved.has(first) && !builtins.has(first)
}

const nameOf = (argv: ReadonlyArray<string>): string => {
  const path = argv[0] ?? ""
  const name = path.slice(path.lastIndexOf("/") + 1).toLowerCase()
  return name.endsWith(".exe") ? name.slice(0, -4) : name
}

const isShellWithOptions = (argv: ReadonlyArray<string>): boolean =>
  shells.has(nameOf(argv)) && argv.some((word, index) => index > 0 && (word.startsWith("-") || word.startsWith("+")))

/**
 * The argv of words that are already parted, `sh -c '…'` and `bash -lc '…'` unwrapped once. `undefined` where a word is
 * not printable ASCII, the first one is not a plain program, or a shell is given options in any other form.
 */
export const plainArgv = (argv: ReadonlyArray<string>): ReadonlyArray<string> | undefined => {
  if (!startsPlain(argv) || !argv.every((word) => printable.test(word))) return undefined
  if (!isShellWithOptions(argv)) return argv
  const [shell, option, script] = argv
  if (argv.length !== 3 || shell === undefined || script === undefined || !wrappers.has(shell)) return undefined
  if (option !== "-c" && option !== "-lc") return undefined
  const inner = lexWords(script)
  return inner !== undefined && startsPlain(inner) && !isShellWithOptions(inner) ? inner : undefined
}

/** The argv of a single plain command, `undefined` for everything that is not read with certainty. */
export const lexPlain = (command: string): ReadonlyArray<string> | undefined => {
  const argv = lexWords(command)
  return argv === undefined ? undefined : plainArgv(argv)
}

/** Programs that run, or can be told by an argument to run, something other than themselves. */
const launchers = words(`
  sudo doas su runuser pkexec env xargs parallel find fd fdfind nice ionice nohup timeout time watch strace ltrace perf
  valgrind gdb lldb setsid stdbuf unbuffer chrt taskset numactl setarch chroot unshare nsenter fakeroot flock script
  expect screen tmux at batch crontab systemd-run start-stop-daemon xvfb-run dbus-run-session proxychains torify
  entr watchexec nodemon concurrently cross-env dotenv direnv mise asdf busybox toybox ld.so
  ssh scp sftp mosh rsync socat nc ncat netcat telnet docker podman nerdctl kubectl oc helm lxc vagrant ansible
  ansible-playbook terraform
  npx npm pnpm pnpx yarn bun bunx deno node nodejs ts-node tsx corepack
  python pypy pip pipx pipenv poetry uv uvx hatch tox nox conda mamba ipython
  perl ruby irb rake bundle gem rbenv php composer lua luajit rscript r julia java jshell scala groovy kotlin swift
  tclsh wish osascript powershell cmd erl elixir iex mix ghci runghc stack cabal guile racket sbcl
  make gmake bmake just task ninja meson cmake bazel buck cargo rustup go gradle gradlew mvn mvnw ant sbt dotnet nix
  nix-shell nix-build
  gcc cc g++ clang ld
  awk gawk mawk nawk sed gsed ed ex vi vim nvim view emacs nano pico less more most man info tar gtar bsdtar zip cpio
  split sort rg ag bat tcpdump wget m4 dc sqlite sqlite3 psql mysql mariadb redis-cli mongosh openssl
  gh hg svn jj open xdg-open mail mailx code test printf
`)

/** What of `git` does nothing but its own work; an alias, or a word of a later version, is not among them. */
const gitCommands = words(`
  status log diff show add commit branch ls-files ls-tree rev-parse rev-list blame shortlog describe switch checkout
  restore rm mv reset stash tag cat-file merge-base check-ignore diff-tree
`)

/** Options by which those run a helper, an editor, or write a file. */
const gitOptions = ["--ext-diff", "--textconv", "--output", "--edit", "--filters"]

/** `git` also takes an option shortened, and `--output-indicator-new` beside `--output`. */
const isGitOption = (word: string): boolean => {
  const option = word.split("=", 1)[0] ?? ""
  return option.length > 2 && gitOptions.some((known) => known.startsWith(option) || option.startsWith(known))
}

const gitRunsOthers = (argv: ReadonlyArray<string>): boolean => {
  const sub = argv[1]
  return sub === undefined || !gitCommands.has(sub) || argv.some((word, index) => index > 1 && isGitOption(word))
}

/**
 * Whether this argv may run something other than its own program: `sudo`, `xargs`, `find`, a shell, an interpreter, a
 * task runner, an editor, or `git` with an option before its command, an unknown command, or one that takes a program.
 * A rule matches such an argv only as a whole. The list is not complete: a policy is not a sandbox.
 */
export const runsOthers = (argv: ReadonlyArray<string>): boolean => {
  const name = nameOf(argv)
  if (name === "git") return gitRunsOthers(argv)
  const unversioned = name.replace(/-?[0-9][0-9.]*$/, "")
  return shells.has(name) || shells.has(unversioned) || launchers.has(name) || launchers.has(unversioned)
}

/** Whether `prefix` occurs in `argv` as consecutive words; an empty one does not. */
export const mentions = (argv: ReadonlyArray<string>, prefix: ReadonlyArray<string>): boolean =>
  prefix.length > 0 && argv.some((_, at) => prefix.every((word, index) => argv[at + index] === word))

/** Whether `argv` begins with `prefix`; an empty one begins nothing. */
export const startsWith = (argv: ReadonlyArray<string>, prefix: ReadonlyArray<string>): boolean =>
  prefix.length > 0 && prefix.every((word, index) => argv[index] === word)
