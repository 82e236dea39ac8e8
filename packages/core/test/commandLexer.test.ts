import { assert, describe, it } from "@effect/vitest"
import { lexPlain, lexWords, mentions, plainArgv, runsOthers, startsWith } from "../src/internal/commandLexer.ts"

/** Commands that one program is sure to get as these words. */
const plain: ReadonlyArray<readonly [command: string, argv: ReadonlyArray<string>]> = [
  ["ls", ["ls"]],
  ["git status", ["git", "status"]],
  ["  git   status  ", ["git", "status"]],
  ["git log --format=%H -n 5", ["git", "log", "--format=%H", "-n", "5"]],
  ["git commit -m 'a; b && c | d'", ["git", "commit", "-m", "a; b && c | d"]],
  ["git commit -m \"it's done\"", ["git", "commit", "-m", "it's done"]],
  ["echo 'a'\"b\"c", ["echo", "abc"]],
  ["echo ''", ["echo", ""]],
  ["echo \"\" ''", ["echo", "", ""]],
  ["echo 'say \"hi\"'", ["echo", "say \"hi\""]],
  ["echo '$HOME' '`id`' '!!'", ["echo", "$HOME", "`id`", "!!"]],
  ["echo \"a;b|c&d>e<f(g)h*i?j[k]l{m}n~o#p\"", ["echo", "a;b|c&d>e<f(g)h*i?j[k]l{m}n~o#p"]],
  ["grep -rn 'foo.*bar' src", ["grep", "-rn", "foo.*bar", "src"]],
  ["grep '\\d' a", ["grep", "\\d", "a"]],
  ["cc A=b", ["cc", "A=b"]],
  ["/usr/bin/git status", ["/usr/bin/git", "status"]],
  ["./run.sh a@b:c,d+e%f", ["./run.sh", "a@b:c,d+e%f"]],
  ["cat ../x", ["cat", "../x"]],
  ["'git' \"status\"", ["git", "status"]],
  ["g\"i\"t status", ["git", "status"]],
  ["echo if then fi", ["echo", "if", "then", "fi"]],
  ["sudo rm x", ["sudo", "rm", "x"]],
  ["find . -name x -exec rm '{}' ';'", ["find", ".", "-name", "x", "-exec", "rm", "{}", ";"]],
  ["git -c core.pager=id log", ["git", "-c", "core.pager=id", "log"]],
  ["bash -c 'git status'", ["git", "status"]],
  ["bash -lc 'git status'", ["git", "status"]],
  ["/bin/sh -c \"git log -n 1\"", ["git", "log", "-n", "1"]],
  ["bash -c 'echo \"a b\"'", ["echo", "a b"]],
  ["bash script.sh", ["bash", "script.sh"]],
  ["bash -c 'bash script.sh'", ["bash", "script.sh"]]
]

/** Commands that are more than one, or that a shell might read in another way than they look. */
const tricky: ReadonlyArray<string> = [
  "",
  "   ",
  "''",
  "'' a",
  // operators
  "git status; id",
  "git status ;id",
  "git status && id",
  "git status || id",
  "git status & id",
  "git status&",
  "git status | sh",
  "git status |& sh",
  "git status\nid",
  "git status\r\nid",
  "git status\rid",
  "git\tstatus",
  "git status\0id",
  // substitutions and expansions
  "echo $(id)",
  "echo \"$(id)\"",
  "echo `id`",
  "echo \"`id`\"",
  "echo $HOME",
  "echo \"${HOME}\"",
  "echo $'a\\x3bb'",
  "echo $\"a\"",
  "echo $((1+1))",
  "echo <(id)",
  "echo >(id)",
  "echo \"a\\\"; id; \\\"b\"",
  "echo a\\;b",
  "echo a\\\nb",
  "echo \"!!\"",
  "echo !!",
  "! git status",
  "^a^b",
  "echo ^a",
  "echo 'a\\' '; id; '",
  "echo 'a\\\\'",
  // groups and constructs
  "(git status)",
  "{ git status; }",
  "{git,status}",
  "if true",
  "while id",
  "until id",
  "for a in b",
  "case a in",
  "select a",
  "then id",
  "do id",
  "time git status",
  "coproc id",
  "function f",
  "f() id",
  "[[ -f a ]]",
  "[ -f a ]",
  "not id",
  "noglob rm a",
  "- rm a",
  // redirections and heredocs
  "git status > a",
  "git status >> a",
  "git status 2>a",
  "git status &> a",
  "cat < a",
  "cat <<EOF",
  "cat <<< a",
  // assignments and other things before the program
  "A=b git status",
  "GIT_SSH_COMMAND=id git fetch",
  "PATH=. git status",
  "A+=b git status",
  "a[0]=b git status",
  "A='b' git status",
  "=ls",
  "ls =ls",
  "%1",
  "+x",
  // globs, tildes, comments
  "rm *",
  "rm a?",
  "rm [ab]",
  "rm {a,b}",
  "ls ~",
  "ls ~root",
  "ls a=~/b",
  "git status # x",
  "git status #",
  // builtins that run or evaluate their words
  "eval id",
  "'eval' id",
  "e\"val\" id",
  "exec id",
  "source a",
  ". a",
  "command id",
  "builtin eval id",
  "trap id EXIT",
  "alias git=id",
  "export A=b",
  "declare 'a[$(id)]=1'",
  "unset 'a[$(id)]'",
  "read 'a[$(id)]'",
  "let 'a[$(id)]'",
  "mapfile -C id",
  "hash -p /tmp/evil git",
  "enable -f /tmp/evil.so x",
  "jobs -x id",
  "fc -s",
  // shells in any form but the one that is read twice
  "bash -c 'git status; id'",
  "bash -c 'git status' x",
  "bash -c git status",
  "bash -c \"bash -c 'git status'\"",
  "bash -c 'sudo sh -c id; id'",
  "bash -c ''",
  "bash -c '-x'",
  "bash -c 'eval id'",
  "bash -c 'A=b id'",
  "bash -xc 'git status'",
  "bash -ic 'git status'",
  "bash -c -- 'git status'",
  "bash --rcfile a",
  "bash +x a",
  "./bash -c 'git status'",
  "/tmp/sh -c 'git status'",
  "zsh -c 'git status'",
  "dash -c 'git status'",
  "fish -c 'git status'",
  // quotes that do not close
  "echo 'a",
  "echo \"a",
  "echo 'a'b'",
  // look-alikes and invisible characters
  "g\u0456t status",
  "git st\u0430tus",
  "git\u00a0status",
  "git\u2003status",
  "git status \u037e id",
  "git status \uff1b id",
  "git status\u202e",
  "git status\u200b",
  "git st\u00e4tus",
  "echo \u2018a\u2019",
  "git status\u001b[2K",
  "git status\u007f",
  "git status\u2028id",
  `echo ${"a".repeat(20_000)}`
]

describe("commandLexer", () => {
  it("reads a plain command as its words", () => {
    for (const [command, argv] of plain) assert.deepStrictEqual(lexPlain(command), argv, command)
  })

  it("leaves every other command unread", () => {
    assert.isAtLeast(tricky.length, 60)
    for (const command of tricky) assert.isUndefined(lexPlain(command), JSON.stringify(command))
  })

  it("leaves a command unread when an operator is put anywhere outside quotes", () => {
    const words = ["git", "status", "-s"]
    for (
      const operator of [
        ";",
        "&",
        "|",
        "<",
        ">",
        "(",
        ")",
        "$",
        "`",
        "\\",
        "*",
        "?",
        "[",
        "]",
        "{",
        "}",
        "~",
        "#",
        "!",
        "^",
        "\n",
        "\t"
      ]
    ) {
      for (let at = 0; at <= words.length; at++) {
        for (const glue of ["", " "]) {
          const command = [...words.slice(0, at), operator, ...words.slice(at)].join(glue === "" ? "" : " ")
          assert.isUndefined(lexPlain(command), JSON.stringify(command))
        }
      }
    }
  })

  it("reads words without judging the first one", () => {
    assert.deepStrictEqual(lexWords("eval id"), ["eval", "id"])
    assert.isUndefined(lexWords("eval $a"))
  })

  it("holds words that come parted to the same rules", () => {
    assert.deepStrictEqual(plainArgv(["git", "commit", "-m", "a; $b"]), ["git", "commit", "-m", "a; $b"])
    assert.deepStrictEqual(plainArgv(["bash", "-lc", "git status"]), ["git", "status"])
    assert.isUndefined(plainArgv(["bash", "-lc", "git status | sh"]))
    assert.isUndefined(plainArgv(["git", "st\u0430tus"]))
    assert.isUndefined(plainArgv(["git", "a\nb"]))
    assert.isUndefined(plainArgv(["A=b", "git"]))
    assert.isUndefined(plainArgv([]))
  })

  it("knows what runs others", () => {
    for (
      const command of [
        "sudo ls",
        "/usr/bin/sudo ls",
        "SUDO ls",
        "doas ls",
        "env ls",
        "env A=b ls",
        "xargs rm",
        "find . -name a",
        "sh a",
        "bash a.sh",
        "zsh a",
        "nohup ls",
        "timeout 5 ls",
        "watch ls",
        "strace ls",
        "ssh host ls",
        "docker run a",
        "kubectl exec a",
        "npx a",
        "npm test",
        "node a.js",
        "python3.12 -c a",
        "python -m a",
        "perl -e a",
        "ruby -e a",
        "awk a b",
        "sed -n 1p a",
        "make all",
        "tar --to-command=id -xf a",
        "rsync -e id a b",
        "vim a",
        "less a",
        "parallel a",
        "busybox ls",
        "printf -v a b",
        "test a",
        "git",
        "git -c core.pager=id log",
        "git --exec-path=/tmp log",
        "git -C /tmp status",
        "git co a",
        "git bisect run id",
        "git submodule foreach id",
        "git rebase -x id",
        "git grep -Oid a",
        "git difftool -x id",
        "git fetch --upload-pack=id",
        "git config alias.a b",
        "git clone a",
        "git diff --ext-diff",
        "git log --outp=a",
        "git diff --output=a",
        "git push --exec=id",
        "git merge -s evil a"
      ]
    ) {
      const argv = lexPlain(command)
      assert.isDefined(argv, command)
      assert.isTrue(runsOthers(argv ?? []), command)
    }
    for (
      const command of [
        "ls -la",
        "git status -s",
        "git log --oneline",
        "git diff --stat",
        "git log -- a",
        "cat a",
        "echo a",
        "grep a b",
        "tsc -b"
      ]
    ) {
      assert.isFalse(runsOthers(lexPlain(command) ?? ["sudo"]), command)
    }
  })

  it("compares words, never letters", () => {
    assert.isTrue(startsWith(["git", "status", "-s"], ["git", "status"]))
    assert.isFalse(startsWith(["git", "statusx"], ["git", "status"]))
    assert.isFalse(startsWith(["git"], ["git", "status"]))
    assert.isFalse(startsWith(["git"], []))
    assert.isTrue(mentions(["env", "git", "push"], ["git", "push"]))
    assert.isFalse(mentions(["env", "git", "x", "push"], ["git", "push"]))
    assert.isFalse(mentions(["git"], []))
  })
})
