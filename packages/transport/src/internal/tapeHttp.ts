/** An HTTP client that tells a tape what passes. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as HttpBody from "effect/http/HttpBody"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import type * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as Option from "effect/Option"
import type * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { Recorder } from "../WireTape.ts"
import * as utf8Decoder from "./utf8Decoder.ts"

/** Headers that exist to carry a secret; they are left out, not replaced. */
const secretHeader = /^(?:.*authorization|set-cookie2?|cookie2?|.*api-?key|.*-token|.*-secret)$/i

const headersOf = (headers: Readonly<Record<string, string | undefined>>): { [name: string]: string } => {
  const kept: { [name: string]: string } = {}
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined && !secretHeader.test(name)) kept[name] = value
  }
  return kept
}

const urlOf = (request: HttpClientRequest.HttpClientRequest): string =>
  Option.match(HttpClientRequest.toUrl(request), {
    onNone: () => request.url,
    onSome: (url) => {
      url.username = ""
      url.password = ""
      return url.href
    }
  })

/** JSON as a value, so that what lies under the name of a secret is known for one. */
const parsed = (text: string, type: string): Schema.Json => {
  if (!/\bjson\b/i.test(type)) return text
  try {
    return JSON.parse(text) as Schema.Json
  } catch {
    return text
  }
}

const bodyOf = (body: HttpBody.HttpBody): { readonly [name: string]: Schema.Json } => {
  switch (body._tag) {
    case "Empty":
      return {}
    case "Uint8Array":
      return { body: parsed(new TextDecoder().decode(body.body), body.contentType) }
    case "Raw":
      return typeof body.body === "string"
        ? { body: parsed(body.body, body.contentType ?? "") }
        : { omitted: "raw body" }
    case "FormData":
      return { omitted: "form data" }
    case "Stream":
      return { omitted: "streamed body" }
  }
}

const textual = (type: string): boolean =>
  type === "" || /^text\/|\b(?:json|xml|javascript|x-www-form-urlencoded)\b/i.test(type)

/** Read past the end of what is kept, in characters: a secret there is then found whole. */
const slack = 65_536

const endOf = (exit: Exit.Exit<unknown, unknown>): string =>
  Exit.isSuccess(exit) ? "done" : Cause.hasInterruptsOnly(exit.cause) ? "interrupted" : "failed"

const recorded = (
  response: HttpClientResponse.HttpClientResponse,
  recorder: Recorder,
  id: number
): HttpClientResponse.HttpClientResponse => {
  const type = response.headers["content-type"] ?? ""
  // Text, JSON and bytes of one response are read from one body, which is told once.
  let told = false
  const tell = (body: Schema.Json) => {
    if (told) return
    told = true
    recorder.record("in", "http", { id, body })
  }
  const tellBytes = (bytes: Uint8Array) => {
    if (!told) tell(textual(type) ? parsed(new TextDecoder().decode(bytes), type) : { bytes: bytes.length })
  }

  const events = (): HttpClientResponse.HttpClientResponse["stream"] =>
    Stream.suspend(() => {
      const decode = utf8Decoder.make()
      const text = recorder.text("in", "sse", { meta: { id } })
      return response.stream.pipe(
        Stream.mapArray((chunks) => {
          for (const chunk of chunks) text.push(decode(chunk))
          return chunks
        }),
        Stream.onExit((exit) =>
          Effect.sync(() => {
            text.end()
            recorder.record("in", "http", { id, end: endOf(exit) })
          })
        )
      )
    })

  const bytes = (): HttpClientResponse.HttpClientResponse["stream"] =>
    Stream.suspend(() => {
      const decode = utf8Decoder.make()
      const isText = textual(type)
      let size = 0
      let text = ""
      return response.stream.pipe(
        Stream.mapArray((chunks) => {
          for (const chunk of chunks) {
            size += chunk.length
            if (isText && text.length <= recorder.maxFrameChars + slack) text += decode(chunk)
          }
          return chunks
        }),
        Stream.onExit((exit) =>
          Effect.sync(() => {
            tell(isText ? parsed(text, type) : { bytes: size })
            recorder.record("in", "http", { id, end: endOf(exit) })
          })
        )
      )
    })

  const overrides = new Map<PropertyKey, () => unknown>([
    ["stream", /^text\/event-stream\b/i.test(type) ? events : bytes],
    ["text", () => Effect.tap(response.text, (text) => Effect.sync(() => tell(parsed(text, type))))],
    ["json", () => Effect.tap(response.json, (json) => Effect.sync(() => tell(json)))],
    ["urlParamsBody", () => Effect.tap(response.urlParamsBody, () => Effect.sync(() => tell({ omitted: "form" })))],
    [
      "arrayBuffer",
      () => Effect.tap(response.arrayBuffer, (buffer) => Effect.sync(() => tellBytes(new Uint8Array(buffer))))
    ],
    ["formData", () => Effect.tap(response.formData, () => Effect.sync(() => tell({ omitted: "form data" })))]
  ])
  // The response of each platform is a class with state of its own: it stays what it is behind a view.
  return new Proxy(response, {
    get: (target, key) => {
      const override = overrides.get(key)
      return override === undefined ? Reflect.get(target, key, target) : override()
    }
  })
}

/** Numbers exchanges over all clients of one recorder. */
const ids = new WeakMap<Recorder, { next: number }>()

const nextId = (recorder: Recorder): number => {
  const counter = ids.get(recorder) ?? { next: 1 }
  ids.set(recorder, counter)
  return counter.next++
}

export const make = <E, R>(client: HttpClient.HttpClient.With<E, R>, recorder: Recorder) =>
  HttpClient.transform(client, (effect, request) =>
    Effect.suspend(() => {
      const id = nextId(recorder)
      recorder.record("out", "http", {
        id,
        method: request.method,
        url: urlOf(request),
        headers: headersOf(request.headers),
        ...bodyOf(request.body)
      })
      return effect.pipe(
        Effect.onExit((exit) =>
          Effect.sync(() => {
            if (Exit.isFailure(exit)) recorder.record("in", "http", { id, end: endOf(exit) })
          })
        ),
        Effect.map((response) => {
          recorder.record("in", "http", { id, status: response.status, headers: headersOf(response.headers) })
          return recorded(response, recorder, id)
        })
      )
    }))
