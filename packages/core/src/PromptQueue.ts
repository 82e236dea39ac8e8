/**
 * The prompts of a session that wait for their turn: in order, bounded, each to be taken back until it is sent.
 * Plain data, owned and updated in place by the session engine.
 *
 * @since 0.1.0
 */

/**
 * A bounded queue in order of arrival.
 *
 * @category models
 * @since 0.1.0
 */
export interface PromptQueue<A> {
  /** How many may wait; one more is refused. */
  readonly limit: number
  readonly waiting: Array<A>
}

/**
 * An empty queue.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <A>(limit: number): PromptQueue<A> => ({ limit, waiting: [] })

/**
 * Puts a prompt at the end. `false`: the queue is full and the prompt was not taken.
 *
 * @category combinators
 * @since 0.1.0
 */
export const offer = <A>(queue: PromptQueue<A>, prompt: A): boolean => {
  if (queue.waiting.length >= queue.limit) return false
  queue.waiting.push(prompt)
  return true
}

/**
 * Puts a prompt before all that wait, whatever the limit is: one that the session itself has to send first.
 *
 * @category combinators
 * @since 0.1.0
 */
export const offerFirst = <A>(queue: PromptQueue<A>, prompt: A): void => {
  queue.waiting.unshift(prompt)
}

/**
 * Takes the prompt that waited longest.
 *
 * @category combinators
 * @since 0.1.0
 */
export const take = <A>(queue: PromptQueue<A>): A | undefined => queue.waiting.shift()

/**
 * Takes a prompt out of the queue, wherever it stands. `false`: it was not there.
 *
 * @category combinators
 * @since 0.1.0
 */
export const remove = <A>(queue: PromptQueue<A>, prompt: A): boolean => {
  const index = queue.waiting.indexOf(prompt)
  if (index < 0) return false
  queue.waiting.splice(index, 1)
  return true
}

/**
 * How many wait.
 *
 * @category getters
 * @since 0.1.0
 */
export const size = <A>(queue: PromptQueue<A>): number => queue.waiting.length
